"""The notifier, wired."""

from services.notifier.api import router
from services.notifier.handlers import handlers
from services.notifier.settings import NotifierSettings
from services.notifier.shares import Shares
from services.notifier.store import NotifierTransaction
from shared.application import Part, Service
from shared.messaging.inbox import Inbox
from shared.messaging.reminder import Reminder
from shared.storage.database import Database


def build(settings: NotifierSettings) -> Service:
    """The notifier as `settings` say. Nothing is started yet."""
    database = Database(
        "notifier",
        settings.database_url,
        NotifierTransaction,
        pool_size=settings.database_pool,
        answer_within_s=settings.database_answer_within_s,
    )
    shares = Shares(database)
    parts: list[Part] = [shares]
    if settings.kafka.embedded:
        parts.append(Reminder(database, NotifierTransaction.reminders))
    inbox = Inbox(database, handlers(shares.wake))
    return Service("notifier", settings, database, inbox, router(database), parts)
