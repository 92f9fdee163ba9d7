"""A message counts on its own topic alone; on another one neither its body nor a proof of it is read."""

import pytest

from services.participants import participants
from shared.contracts.catalogue import MESSAGES
from shared.contracts.envelope import Unreadable
from shared.contracts.refusals import CommandRefused
from shared.contracts.stages import RunExecutorStage
from shared.contracts.topics import TOPICS, Topic, is_topic_of, pool_topics
from shared.contracts.values import Message
from shared.identity import proofs
from shared.identity.keys import PublicKeys
from shared.identity.tokens import NOBODY
from shared.messaging.people import People
from shared.messaging.record_reader import RecordReader
from tests.messaging.counting import Kept

OF_A_POOL = pool_topics("acme")
PLACED = [message for message in MESSAGES if message is not CommandRefused]


def bare(topic: Topic, *kinds: str) -> Kept:
    """A record of no body and no proof: whoever reads on stumbles over another fault."""
    headers: list[tuple[str, bytes | None]] = [("ce_type", kind.encode()) for kind in kinds]
    return Kept(b"key", None, headers, 0, topic=topic.name)


async def said(topic: Topic, *kinds: str) -> str:
    reader = RecordReader("planner", {}, proofs.Verifier(PublicKeys({})), People(NOBODY))
    ((_, found),) = await reader.read_all([bare(topic, *kinds)])
    assert isinstance(found, Unreadable)
    return str(found)


@pytest.mark.parametrize("message", PLACED, ids=lambda message: message.__name__)
async def test_on_every_other_topic_it_is_refused_first(message: type[Message]) -> None:
    """Would catch a command that comes by an event's topic, past the access list of its own."""
    for topic in (*TOPICS, *OF_A_POOL):
        own = is_topic_of(message.topic, topic.name)
        told = await said(topic, message.type_name())
        assert ("belongs on" in told) is not own, (topic.name, told)


async def test_the_last_of_two_types_counts_as_where_it_is_read() -> None:
    """Would catch a check of one header and a reading of another."""
    own, other = RunExecutorStage, next(each for each in PLACED if each.topic != RunExecutorStage.topic)
    assert "belongs on" in await said(own.topic, own.type_name(), other.type_name())
    assert "belongs on" not in await said(own.topic, other.type_name(), own.type_name())


def test_every_message_is_read_where_it_is_sent() -> None:
    """Would catch a topic of a pool, or a new one, on which nothing of its own is taken any more."""
    for participant in participants(("acme",)):
        for message in participant.reads:
            if message is not CommandRefused and participant.pool is None:
                assert is_topic_of(message.topic, message.topic.name)
    assert {topic.name for topic in OF_A_POOL if is_topic_of(RunExecutorStage.topic, topic.name)} == {
        "upgrades.executor.acme.commands.v1"
    }
