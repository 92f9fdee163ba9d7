"""The notifier's tables and queries."""

from services.notifier.store.tables import TABLES
from services.notifier.store.transaction import NotifierTransaction

__all__ = ["TABLES", "NotifierTransaction"]
