"""The registry's tables and queries."""

from services.registry.store.checks import PackageCheck
from services.registry.store.tables import CHECKS, TABLES
from services.registry.store.transaction import RegistryTransaction

__all__ = ["CHECKS", "TABLES", "PackageCheck", "RegistryTransaction"]
