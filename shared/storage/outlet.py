"""From a commit to the relay of the same process: what was committed need not be read again to be sent."""

import asyncio
from collections.abc import Callable, Sequence

from shared.storage.messages import Outgoing

_WAITING_MAX = 20_000
"""Messages; beyond that the table holds them, and the memory does not."""

_LITTLE = 5000
"""Messages: whoever can choose adds no more while as many wait."""

Numbered = tuple[int, Outgoing]
"""A row of the outbox: its id, and the message."""


class Outlet:
    """What this process has committed and its relay has not sent yet, in the order of the commits.

    It is believed only while every unsent row of the outbox is this process's own. A commit sees rows that
    others left behind, by their epoch, and says so; then, and whenever a commit's outcome is unknown, the
    relay reads the outbox until nothing is left in it.
    """

    def __init__(self) -> None:
        self.epoch = 0
        """Of this process's leadership, written to its rows; 0 while it does not lead."""
        self.must_read = True
        """The outbox holds what is not waiting here."""
        self.wake: Callable[[], None] = _nobody_relays
        self._missed = False
        self._waiting: list[Numbered] = []
        self._room = asyncio.Event()
        self._room.set()

    def lead(self, epoch: int) -> None:
        """This process leads from now on; what is there already is to be read."""
        self.epoch = epoch
        self.miss()

    def resign(self, epoch: int) -> None:
        """That leadership is over."""
        if self.epoch == epoch:
            self.epoch, self._waiting = 0, []
            self._room.set()

    def committed(self, epoch: int, ids: Sequence[int], messages: Sequence[Outgoing], others: bool) -> None:
        """These are durable, under these ids and in this order; `others`: rows of others were before them."""
        full = len(self._waiting) > _WAITING_MAX
        if epoch == 0 or epoch != self.epoch or others or self.must_read or full:
            self.miss()
        else:
            self._waiting.extend(zip(ids, messages, strict=True))
            if len(self._waiting) >= _LITTLE:
                self._room.clear()
            self.wake()

    def miss(self) -> None:
        """The outbox may hold what is not waiting here."""
        self.must_read = self._missed = True
        self.wake()

    def take(self) -> list[Numbered]:
        """Everything that waits; it waits no more."""
        taken, self._waiting = self._waiting, []
        self._room.set()
        return taken

    async def room(self) -> None:
        """Returns once little waits here: who writes much can keep to the pace of the sending."""
        await self._room.wait()

    def begin_reading(self) -> None:
        """The outbox is about to be read; what waits here is in it."""
        self._waiting, self._missed = [], False
        self._room.set()

    def read_to_the_end(self) -> None:
        """Nothing was left, so commits may come this way again, unless one has come meanwhile."""
        self.must_read = self._missed

    def oldest(self) -> int | None:
        """The smallest id that waits here."""
        return min((number for number, _ in self._waiting), default=None)


def _nobody_relays() -> None:
    """Another process will, or this one once its relay has started."""
