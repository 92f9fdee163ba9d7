"""Who reads and writes what: reads as the handlers say, writes as the topics' rooms are given."""

from collections.abc import Iterable

from services.executor.handlers import HANDLERS as EXECUTOR_HANDLERS
from services.notifier.handlers import handlers as notifier_handlers
from services.planner.handlers import HANDLERS as PLANNER_HANDLERS
from services.registry.handlers import handlers as registry_handlers
from services.validator.handlers import HANDLERS as VALIDATOR_HANDLERS
from shared.contracts.documents import Participant
from shared.contracts.notifications import NotificationClosed, NotificationReady
from shared.contracts.refusals import CommandRefused
from shared.contracts.runs import PlanReady, RunChanged
from shared.contracts.topics import (
    AUDIT_EVENTS,
    EXECUTOR_COMMANDS,
    NOTIFICATION_EVENTS,
    PROJECT_COMMANDS,
    PROJECT_EVENTS,
    RELEASE_COMMANDS,
    RELEASE_EVENTS,
    RUN_COMMANDS,
    RUN_EVENTS,
    STAGE_RESULTS,
    VALIDATOR_COMMANDS,
    VERSION_MAP_COMMANDS,
    VERSION_MAP_EVENTS,
    Topic,
    dead_letters,
    in_pool,
    principal_of,
)
from shared.messaging.inbox import Handlers
from shared.repository_urls import PUBLIC_ONLY

OUTSIDE = Participant(
    "outside",
    reads=(NotificationReady, NotificationClosed, PlanReady, RunChanged, CommandRefused),
    writes=(RELEASE_COMMANDS, PROJECT_COMMANDS, RUN_COMMANDS),
)
"""The Systems Library, Innopo Platform and whoever else is let in by the broker."""


def participants(pools: Iterable[str] = ()) -> tuple[Participant, ...]:
    """The five services, the workers of these pools and the world outside."""
    pools = tuple(pools)
    pooled = (in_pool(topic, pool) for pool in pools for topic in (EXECUTOR_COMMANDS, VALIDATOR_COMMANDS))
    return (
        _service(
            "registry",
            registry_handlers(_idle, PUBLIC_ONLY),
            RELEASE_EVENTS,
            PROJECT_EVENTS,
            VERSION_MAP_EVENTS,
        ),
        _service("notifier", notifier_handlers(_idle), NOTIFICATION_EVENTS),
        _service(
            "planner",
            PLANNER_HANDLERS,
            RUN_EVENTS,
            EXECUTOR_COMMANDS,
            VALIDATOR_COMMANDS,
            VERSION_MAP_COMMANDS,
            *pooled,
        ),
        _service("executor", EXECUTOR_HANDLERS, STAGE_RESULTS),
        _service("validator", VALIDATOR_HANDLERS, STAGE_RESULTS),
        *(worker for pool in pools for worker in _workers(pool)),
        OUTSIDE,
    )


def _service(name: str, handlers: Handlers, *writes: Topic, pool: str | None = None) -> Participant:
    principal = principal_of(name, pool)
    return Participant(principal, tuple(handlers), (*writes, AUDIT_EVENTS, dead_letters(principal)), pool)


def _workers(pool: str) -> tuple[Participant, ...]:
    return (
        _service("executor", EXECUTOR_HANDLERS, STAGE_RESULTS, pool=pool),
        _service("validator", VALIDATOR_HANDLERS, STAGE_RESULTS, pool=pool),
    )


def _idle() -> None:
    """Nobody is to be woken: the tables are only read."""
