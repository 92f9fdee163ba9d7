"""Making the topics with their settings, and finding out which of them differ."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, TopicAlreadyExistsError, for_code

from shared.contracts.topics import Topic, all_topics
from shared.messaging.client_arguments import client_arguments
from shared.settings import KafkaSettings

RECORD_BYTES_MAX = 1024 * 1024
"""What a topic takes at most, with its headers. Anything large lies in the content store anyway."""
DEAD_RECORD_BYTES_MAX = RECORD_BYTES_MAX + 64 * 1024
"""A dead letter is the original and more: where it was and what is wrong with it."""
_SET_HERE = 1
"""The protocol's word for a setting that was given to this very topic, and is no default."""


@dataclass(frozen=True)
class ConfigDifference:
    """A setting of a topic that is not as declared; `found` is none where the broker does not tell it."""

    name: str
    found: str | None
    wanted: str


@dataclass(frozen=True)
class TopicState:
    """What became of one topic, or would.

    A `differs` is never mended: partition counts are fixed once made. `outdated` settings are.
    """

    topic: Topic
    state: Literal["made", "altered", "was there", "missing", "outdated", "differs"]
    partitions: int
    differences: tuple[ConfigDifference, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A topic as it is at the broker. `set_here` are the settings that somebody gave this very topic."""

    partitions: int
    replicas: int
    settings: dict[str, str]
    set_here: dict[str, str]


async def create_topics(settings: KafkaSettings, pools: Iterable[str] = ()) -> list[TopicState]:
    """Make every topic that is missing, also those of these pools, and give the others their settings again.

    Raises KafkaError when the broker refuses or is not there.
    """
    topics = all_topics(pools)
    found = await _found(settings, topics)
    before = [_state(topic, found.get(topic.name)) for topic in topics]
    done: dict[str, Literal["made", "altered"]] = {}
    missing = [state.topic for state in before if state.state == "missing"]
    outdated = [state for state in before if state.differences]
    if missing or outdated:
        async with _admin(settings) as admin:
            if missing:
                answer = await admin.create_topics([_new(topic, settings) for topic in missing])
                _raise_for([(code, name, said) for name, code, *said in answer.topic_errors])
                done["missing"] = "made"
            if outdated and await _alter(admin, outdated, found):
                done["outdated"] = "altered"
    return [
        replace(
            state,
            state=done.get(state.state, state.state),
            partitions=state.partitions or state.topic.partitions,
        )
        for state in before
    ]


async def describe_topics(settings: KafkaSettings, pools: Iterable[str] = ()) -> list[TopicState]:
    """How each topic stands at the broker, which is what `create_topics` would do."""
    topics = all_topics(pools)
    found = await _found(settings, topics)
    return [_state(topic, found.get(topic.name)) for topic in topics]


async def partition_counts(settings: KafkaSettings, names: Iterable[str]) -> dict[str, int]:
    """How many partitions each of these topics has; one that is not there is left out."""
    async with _admin(settings) as admin:
        return {entry["topic"]: len(entry["partitions"]) for entry in await _described(admin, names)}


async def _described(admin: AIOKafkaAdminClient, names: Iterable[str]) -> list[dict[str, Any]]:
    there = set(await admin.list_topics())
    known = [name for name in names if name in there]
    described: list[dict[str, Any]] = await admin.describe_topics(known) if known else []
    return described


async def _found(settings: KafkaSettings, topics: Iterable[Topic]) -> dict[str, _Found]:
    names = [topic.name for topic in topics]
    async with _admin(settings) as admin:
        described = {entry["topic"]: entry["partitions"] for entry in await _described(admin, names)}
        # The embedded broker knows the question for all settings only.
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in described]
        answers = await admin.describe_configs(asked) if asked else []
    entries = {name: settings for answer in answers for _, _, _, name, settings in answer.resources}
    return {
        name: _Found(
            len(partitions),
            len(partitions[0]["replicas"]),
            {entry[0]: entry[1] for entry in entries[name]},
            {entry[0]: entry[1] for entry in entries[name] if entry[3] == _SET_HERE},
        )
        for name, partitions in described.items()
    }


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_arguments(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _raise_for(answers: Iterable[tuple[int, str, object]]) -> None:
    for code, name, said in answers:
        error = for_code(code)
        if code != 0 and error is not TopicAlreadyExistsError:
            raise error(f"{name}: {said}")


def _state(topic: Topic, found: _Found | None) -> TopicState:
    if found is None:
        return TopicState(topic, "missing", 0)
    wanted = _settings(topic, found.replicas)
    differences = tuple(
        ConfigDifference(name, found.settings.get(name), value)
        for name, value in wanted.items()
        if found.settings.get(name) != value
    )
    if found.partitions != topic.partitions:
        return TopicState(topic, "differs", found.partitions, differences)
    return TopicState(topic, "outdated" if differences else "was there", found.partitions, differences)


async def _alter(
    admin: AIOKafkaAdminClient, outdated: Iterable[TopicState], found: dict[str, _Found]
) -> bool:
    """False for a broker that can alter nothing, as the embedded one."""
    try:
        answers = await admin.alter_configs([_altered(one, found) for one in outdated])
    except IncompatibleBrokerVersion:
        return False
    for answer in answers:
        _raise_for([(code, name, said) for code, said, _, name in answer.resources])
    return True


def _altered(state: TopicState, found: dict[str, _Found]) -> ConfigResource:
    """All settings of the topic: what is left out here would lose what somebody else has given it."""
    known = found[state.topic.name]
    settings = {**known.set_here, **_settings(state.topic, known.replicas)}
    return ConfigResource(ConfigResourceType.TOPIC, state.topic.name, settings)


def _new(topic: Topic, settings: KafkaSettings) -> NewTopic:
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions,
        replication_factor=settings.replication_factor,
        topic_configs=_settings(topic, settings.replication_factor),
    )


def _settings(topic: Topic, replicas: int) -> dict[str, str]:
    bytes_max = DEAD_RECORD_BYTES_MAX if topic.holds_dead_letters else RECORD_BYTES_MAX
    return {
        "retention.ms": str(topic.retention_ms),
        "cleanup.policy": "delete",
        "max.message.bytes": str(bytes_max),
        # With any other value the broker expands each record into its own heap, and a bomb is everybody's:
        # so it looks at a batch without keeping it, and our readers bound what they expand.
        "compression.type": "producer",
        # A sender whose clock is an hour ahead would be refused, and what one sends whose clock is a month
        # behind would be deleted at once: the broker's own clock is the only one that it asks.
        "message.timestamp.type": "LogAppendTime",
        # Acknowledged by all means little when one replica alone may be all.
        "min.insync.replicas": str(max(1, replicas - 1)),
    }
