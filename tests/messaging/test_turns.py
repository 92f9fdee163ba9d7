"""What comes meanwhile is handled together, in its order, and nobody returns before it is."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.messaging.turns import Turns


class Handler:
    """Handles when it is let, and keeps what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.let = asyncio.Event(), asyncio.Event()
        self.fails = 0

    async def __call__(self, records: Sequence[int]) -> None:
        self.batches.append(list(records))
        self.begun.set()
        await self.let.wait()
        if self.fails:
            self.fails -= 1
            raise ConnectionError("once")


async def _begun(handler: Handler, turns: Turns[int]) -> list[asyncio.Task[None]]:
    """One batch under way, and three that have come meanwhile."""
    tasks = [asyncio.create_task(turns.take([number, number])) for number in range(4)]
    await handler.begun.wait()
    return tasks


async def test_what_comes_meanwhile_is_handled_together() -> None:
    handler = Handler()
    tasks = await _begun(handler, Turns(handler))
    handler.let.set()
    await asyncio.gather(*tasks)
    assert [number for batch in handler.batches for number in batch] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(handler.batches) <= 2


async def test_who_is_cancelled_in_its_turn_leaves_the_others_theirs() -> None:
    handler = Handler()
    tasks = await _begun(handler, Turns(handler))
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    handler.let.set()
    await asyncio.gather(*tasks[1:])
    assert handler.batches[-1] == [1, 1, 2, 2, 3, 3]


async def test_a_failure_is_one_askers_and_the_others_try_again() -> None:
    handler = Handler()
    handler.fails = 1
    tasks = await _begun(handler, Turns(handler))
    handler.let.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcome for outcome in outcomes if outcome is not None] == [outcomes[0]]
    assert isinstance(outcomes[0], ConnectionError)
    assert [number for batch in handler.batches for number in batch].count(3) == 2
