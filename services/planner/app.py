"""The planner, wired."""

from functools import partial

from services.planner.api import router
from services.planner.exports import add_exports
from services.planner.gauges import open_runs
from services.planner.handlers import handlers
from services.planner.settings import PlannerSettings
from services.planner.store import PlannerTransaction
from services.planner.timers import Timers
from shared.application import Part, Service
from shared.clients.content import ContentStore
from shared.http.limits import Slots
from shared.messaging.inbox import Inbox
from shared.messaging.reminder import Reminder
from shared.storage.database import Database


def build(settings: PlannerSettings) -> Service:
    """The planner as `settings` say. Nothing is started yet."""
    database = Database(
        "planner",
        settings.database_url,
        PlannerTransaction,
        pool_size=settings.database_pool,
        answer_within_s=settings.database_answer_within_s,
    )
    inbox = Inbox(database, handlers(settings.pools))
    parts: list[Part] = [Timers(database)]
    if settings.kafka.embedded:
        parts.append(Reminder(database, PlannerTransaction.open_messages))
    waits = Slots(settings.http.waits, settings.http.actor_waits)
    routes = router(inbox, database, ContentStore(settings.content_url), waits)
    add_exports(routes, database, settings.keys().signer.key)
    if settings.pools:
        # One that is new has not heard whether deploys are frozen.
        parts.append(Reminder(database, partial(PlannerTransaction.holds, pools=settings.pools)))
    return Service("planner", settings, database, inbox, routes, parts, [open_runs(database)])
