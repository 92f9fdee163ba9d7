"""The notifier's tables and queries."""

from services.notifier.store.fanout import Fanout, fanouts_wait
from services.notifier.store.tables import TABLES
from services.notifier.store.transaction import NotifierTransaction

__all__ = ["TABLES", "Fanout", "NotifierTransaction", "fanouts_wait"]
