"""What the consumer does with a batch, without a broker."""

from __future__ import annotations

from tests.messaging.counting import BUGGY, REFUSED, RETRY, UNWRITABLE, Counting, Kept, kept

DEAD = "upgrades.registry.dead.v1"


async def test_a_bad_one_among_many_costs_the_others_one_more_handling(counting: Counting) -> None:
    versions = [f"1.{number}.0" for number in range(64)]
    records = [kept(version, offset) for offset, version in enumerate(versions)]
    records[40] = kept(BUGGY, 40)
    await counting.consumer.take(records)
    assert await counting.counted() == versions[:40] + versions[41:]
    assert (await counting.sent()).count(DEAD) == 1
    # Those before it twice and those after it once; the bad one together, alone in its turn, and no more.
    assert counting.calls == 40 * 2 + 2 + 23


async def test_what_only_the_commit_refuses_is_found_by_halving(counting: Counting) -> None:
    """No handler stumbles over it: which one it was is found by asking for less at a time."""
    versions = [f"1.{number}.0" for number in range(16)]
    records = [kept(version, offset) for offset, version in enumerate(versions)]
    records[5] = kept(UNWRITABLE, 5)
    await counting.consumer.take(records)
    assert await counting.counted() == versions[:5] + versions[6:]
    assert (await counting.sent()).count(DEAD) == 1


async def test_the_order_of_a_batch_is_kept_when_it_is_redone(counting: Counting) -> None:
    mixed = ["1.0.0", REFUSED, "1.1.0", BUGGY, "1.2.0", "1.3.0"]
    await counting.consumer.take([kept(version, offset) for offset, version in enumerate(mixed)])
    assert await counting.counted() == ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]


async def test_what_passes_is_waited_for(counting: Counting) -> None:
    counting.fail_with = [ConnectionResetError("gone"), TimeoutError(), RETRY]
    await counting.consumer.take([kept("1.0.0", 0)])
    assert await counting.counted() == ["1.0.0"]
    assert DEAD not in await counting.sent()


async def test_a_file_that_is_not_there_is_a_bug_and_blocks_nobody(counting: Counting) -> None:
    counting.fail_with = [FileNotFoundError("no such file")]
    await counting.consumer.take([kept("1.0.0", 0)])
    assert await counting.sent() == [DEAD]


async def test_a_dead_letter_is_written_once_and_another_record_at_its_place_too(counting: Counting) -> None:
    bad = Kept(b"key", b"no JSON", (), 5)
    for _ in range(3):
        await counting.consumer.take([bad])
    assert await counting.sent() == [DEAD]
    # The embedded broker forgets and counts from 0 again.
    await counting.consumer.take([Kept(b"key", b"another", (), 5)])
    assert await counting.sent() == [DEAD, DEAD]


async def test_many_dead_letters_are_one_transaction(counting: Counting) -> None:
    """What others put among good ones must not delay those by a commit each."""
    records = [Kept(b"key", b"no JSON", (), number) for number in range(200)]
    await counting.consumer.take([*records, kept("1.0.0", 200), *records[:20]])
    assert await counting.counted() == ["1.0.0"]
    assert (await counting.sent()).count(DEAD) == 200
    [[transactions]] = await counting.rows(
        "select count(distinct handled_at) from inbox where source like '%/0'"
    )
    assert transactions == 1
