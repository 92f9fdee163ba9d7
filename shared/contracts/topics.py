"""The topics: their names, partitions and what is kept. Partition counts never change once made."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

DAY_MS = 24 * 60 * 60 * 1000
FOREVER = -1
_DEAD = ".dead.v1"


@dataclass(frozen=True)
class Topic:
    """A topic and the settings that `upgradepath topics create` gives it."""

    name: str
    key: str
    retention_ms: int
    partitions: int = 4
    pool: str | None = None
    """The worker pool whose own topic it is."""

    @property
    def holds_dead_letters(self) -> bool:
        return self.name.endswith(_DEAD)

    def group(self, service: str) -> str:
        """The consumer group with which `service` reads this topic: `upgrades.<service>.<noun>`.

        Of a pool's topic it is `upgrades.pool.<noun>`: no name of a pool makes it a service's group.
        """
        noun = self.name.removeprefix("upgrades.").rsplit(".", 1)[0]
        return f"upgrades.pool.{noun}" if self.pool is not None else f"upgrades.{service}.{noun}"


def _topic(name: str, key: str, days: int | None) -> Topic:
    return Topic(f"upgrades.{name}.v1", key, FOREVER if days is None else days * DAY_MS)


RELEASE_COMMANDS = _topic("release.commands", "system", 30)
RELEASE_EVENTS = _topic("release.events", "system", None)
PROJECT_COMMANDS = _topic("project.commands", "project", 30)
PROJECT_EVENTS = _topic("project.events", "project", None)
VERSION_MAP_COMMANDS = _topic("version-map.commands", "project", 30)
VERSION_MAP_EVENTS = _topic("version-map.events", "project", None)
NOTIFICATION_EVENTS = _topic("notification.events", "project", None)
RUN_COMMANDS = _topic("run.commands", "project", 30)
RUN_EVENTS = _topic("run.events", "project", None)
EXECUTOR_COMMANDS = _topic("executor.commands", "project", 30)
VALIDATOR_COMMANDS = _topic("validator.commands", "project", 30)
STAGE_RESULTS = _topic("stage.results", "project", 30)
AUDIT_EVENTS = _topic("audit.events", "service", None)

SERVICES = ("registry", "notifier", "planner", "executor", "validator")


def dead_letters(service: str) -> Topic:
    """Where `service` puts what it could not read, with the original bytes and the reason.

    A pool's worker is a service of its own here: `executor.acme`.
    """
    return Topic(f"upgrades.{service}{_DEAD}", "as the original", 90 * DAY_MS)


DEAD_LETTERS = tuple(dead_letters(service) for service in SERVICES)

TOPICS: tuple[Topic, ...] = (
    RELEASE_COMMANDS,
    RELEASE_EVENTS,
    PROJECT_COMMANDS,
    PROJECT_EVENTS,
    VERSION_MAP_COMMANDS,
    VERSION_MAP_EVENTS,
    NOTIFICATION_EVENTS,
    RUN_COMMANDS,
    RUN_EVENTS,
    EXECUTOR_COMMANDS,
    VALIDATOR_COMMANDS,
    STAGE_RESULTS,
    AUDIT_EVENTS,
    *DEAD_LETTERS,
)

POOLED = ("executor", "validator")
"""The services of which a pool has workers of its own."""


def in_pool(topic: Topic, pool: str | None) -> Topic:
    """The commands topic of a pool's workers: `upgrades.executor.<pool>.commands.v1`."""
    if pool is None:
        return topic
    upgrades, service, *rest = topic.name.split(".")
    return replace(topic, name=".".join((upgrades, service, pool, *rest)), pool=pool)


def is_topic_of(topic: Topic, name: str) -> bool:
    """True when a topic of that name is this one, or that of a pool's workers in its place."""
    if topic.name == name:
        return True
    parts = name.split(".")
    pooled = len(parts) == len(topic.name.split(".")) + 1 and parts[1] in POOLED
    return pooled and in_pool(topic, parts[2]).name == name


def principal_of(service: str, pool: str | None) -> str:
    """Who a worker of the pool is to the others: `executor.acme`."""
    return service if pool is None else f"{service}.{pool}"


def pool_topics(pool: str) -> tuple[Topic, ...]:
    """The topics that a pool has for itself."""
    commands = (in_pool(topic, pool) for topic in (EXECUTOR_COMMANDS, VALIDATOR_COMMANDS))
    return (*commands, *(dead_letters(principal_of(service, pool)) for service in POOLED))


def all_topics(pools: Iterable[str] = ()) -> tuple[Topic, ...]:
    """Every topic of a system with these pools."""
    return (*TOPICS, *(topic for pool in pools for topic in pool_topics(pool)))


_SEGMENT_DAYS = 7
"""Kafka deletes by whole segments, and one may hold a week of a quiet partition."""


def _days_at_most(topics: Iterable[Topic]) -> float:
    return (
        max(topic.retention_ms for topic in topics if topic.retention_ms != FOREVER) / DAY_MS + _SEGMENT_DAYS
    )


COMES_AGAIN_WITHIN_DAYS = _days_at_most(set(TOPICS) - set(DEAD_LETTERS)) + _days_at_most(DEAD_LETTERS)
"""After a message was handled it may come again for so long, unless its topic is kept forever: on the last
day of a dead letter somebody sends it to its topic anew, and there it lies once more."""
