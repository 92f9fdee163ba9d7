"""A message counts once, whatever door it comes by and how often; its verdict is remembered."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import Reject
from shared.messaging.inbox import OtherBytes, Stumbled
from tests.messaging.counting import REFUSED, Counting, command, envelope, received


async def test_a_repeat_is_skipped_alone_and_in_a_batch(counting: Counting) -> None:
    batch = [received("1.0.0"), received("1.1.0"), received("1.0.0")]
    await counting.inbox.handle_together(batch)
    await counting.inbox.handle_together(batch)
    await counting.inbox.handle_alone(batch[0])
    assert await counting.counted() == ["1.0.0", "1.1.0"]
    assert len(await counting.sent()) == 2


async def test_a_batch_that_breaks_leaves_nothing(counting: Counting) -> None:
    bad = received(REFUSED)
    with pytest.raises(Stumbled) as stumbled:
        await counting.inbox.handle_together([received("1.0.0"), bad, received("1.1.0")])
    assert stumbled.value.received is bad
    assert isinstance(stumbled.value.__cause__, Reject)
    assert await counting.counted() == []
    assert await counting.sent() == []
    assert await counting.rows("select * from inbox") == []


async def test_the_same_id_with_other_bytes_is_never_skipped_silently(counting: Counting) -> None:
    await counting.inbox.handle_alone(received("1.0.0", "one"))
    other = received("1.0.0", "one")
    with pytest.raises(OtherBytes, match="for two messages"):
        await counting.inbox.handle_alone(type(other)(other.envelope, command("2.0.0"), "f" * 64))
    with pytest.raises(Reject) as refused:
        await counting.inbox.perform(other.envelope, command("2.0.0"), "f" * 64)
    assert refused.value.refusals[0].field == "Idempotency-Key"


async def test_over_http_a_repeat_gets_the_same_verdict(counting: Counting) -> None:
    message = command("1.0.0")
    answers = [await counting.inbox.perform(envelope(message), message, "d" * 64) for _ in range(3)]
    assert answers == [message.model_dump(mode="json")] * 3
    assert counting.calls == 1


async def test_two_at_the_same_moment_get_one_verdict(counting: Counting) -> None:
    counting.together = asyncio.Barrier(2)
    message = command("1.0.0")
    answers = await asyncio.gather(
        *(counting.inbox.perform(envelope(message), message, "d" * 64) for _ in range(2))
    )
    assert answers[0] == answers[1]
    assert await counting.counted() == ["1.0.0"]
    assert len(await counting.sent()) == 1


async def test_a_refusal_over_http_is_told_there_and_on_no_topic(counting: Counting) -> None:
    message = command(REFUSED)
    for _ in range(2):
        with pytest.raises(Reject, match="never"):
            await counting.inbox.perform(envelope(message), message, "d" * 64)
    assert counting.calls == 1
    assert await counting.sent() == []


async def test_a_refusal_on_a_topic_is_answered_each_time_with_the_same_bytes(counting: Counting) -> None:
    for _ in range(2):
        await counting.inbox.handle_alone(received(REFUSED))
    await counting.inbox.handle_together([received(REFUSED)])
    rows = await counting.rows("select topic, body from outbox")
    assert len(rows) == 3
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0].topic == "upgrades.release.events.v1"
    assert counting.calls == 1
