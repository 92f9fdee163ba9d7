"""One at a time for each key, in the order of asking: nobody who asks a lot keeps others waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from shared.errors import Retry


@dataclass
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0


class Queues:
    """A queue per key of at most `waiting_max`; `what` is said where it is full: "files wait"."""

    def __init__(self, what: str, waiting_max: int) -> None:
        self._what = what
        self._waiting_max = waiting_max
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """The key's turn. Raises `Retry` when too many of the key wait already."""
        turn = self._turns.setdefault(key, _Turn())
        if turn.wanted >= self._waiting_max:
            raise Retry(f"{turn.wanted} {self._what} already, of {key}: send this one later")
        turn.wanted += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                self._turns.pop(key, None)
