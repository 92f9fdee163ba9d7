"""The registry's tables and queries."""

from services.registry.store.tables import TABLES
from services.registry.store.transaction import PackageCheck, RegistryTransaction

__all__ = ["TABLES", "PackageCheck", "RegistryTransaction"]
