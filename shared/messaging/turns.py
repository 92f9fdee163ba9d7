"""One batch of a lane at a time: what several topics bring meanwhile shares the next commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

R = TypeVar("R")


class Turns(Generic[R]):
    """Collects what comes while something is being handled.

    Two batches of one service side by side would outrun each other where they concern the same Project, and
    each would pay for a commit of its own.
    """

    def __init__(self, handle: Callable[[Sequence[R]], Awaitable[None]]) -> None:
        self._handle = handle
        self._waiting: list[tuple[Sequence[R], asyncio.Event]] = []
        self._turn = asyncio.Lock()

    async def take(self, records: Sequence[R]) -> None:
        """Returns once these are handled. What handling raises, one of the waiting gets."""
        mine = (records, asyncio.Event())
        self._waiting.append(mine)
        try:
            async with self._turn:
                if not mine[1].is_set():
                    together = list(self._waiting)
                    await self._handle([record for some, _ in together for record in some])
                    for _, done in together:
                        done.set()
        finally:
            self._waiting.remove(mine)
