"""The registry, wired."""

from services.registry.api import BYTE_BODIES, router
from services.registry.checking import PackageGate
from services.registry.exports import add_exports
from services.registry.handlers import handlers
from services.registry.order_trials import DifferenceOf
from services.registry.proving import TrialOf
from services.registry.settings import RegistrySettings
from services.registry.signatures import SignatureCheck
from services.registry.store import CHECKS, RegistryTransaction
from shared.application import Part, Service
from shared.clients.content import ContentStore
from shared.http.limits import Slots
from shared.messaging.inbox import Inbox
from shared.messaging.reminder import Reminder
from shared.storage.database import Database


def build(
    settings: RegistrySettings,
    difference_of: DifferenceOf | None = None,
    trial_of: TrialOf | None = None,
) -> Service:
    """The registry as `settings` say. Nothing is started yet.

    `difference_of` tries orders of migrations; without it a late one is refused. `trial_of` tries whether
    migrations make their fragment; without it each Run finds that out.
    """
    database = Database(
        "registry",
        settings.database_url,
        RegistryTransaction,
        pool_size=settings.database_pool,
        answer_within_s=settings.database_answer_within_s,
    )
    content = ContentStore(settings.content_url)
    signatures = SignatureCheck(content, settings.trust, settings.keys().signer.key)
    gate = PackageGate(database, content, difference_of, trial_of, signatures)
    inbox = Inbox(database, handlers(gate.wake, settings.repository_rules))
    parts: list[Part] = [gate]
    if settings.kafka.embedded:
        parts.append(Reminder(database, RegistryTransaction.reminders))
    waits = Slots(settings.http.waits, settings.http.actor_waits)
    routes = router(inbox, database, gate, content, verdict_wait_s=settings.verdict_wait_s, waits=waits)
    add_exports(routes, database, content, settings.keys().signer.key)
    return Service(
        "registry",
        settings,
        database,
        inbox,
        routes,
        parts,
        own_prunes=[CHECKS],
        byte_bodies=BYTE_BODIES,
    )
