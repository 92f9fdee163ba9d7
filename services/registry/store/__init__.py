"""The registry's tables and queries."""

from services.registry.store.tables import TABLES, PackageCheckRow
from services.registry.store.transaction import RegistryTransaction

__all__ = ["TABLES", "PackageCheckRow", "RegistryTransaction"]
