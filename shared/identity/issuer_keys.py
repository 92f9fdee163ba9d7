"""Keys at an address, read in the background: no request and no message waits for an issuer.

They are read again after a while, and sooner when a token names a key that is not among them; but never more
often than every `AGAIN_AFTER_S`: whoever sends made-up key ids must not make us a load on the issuer.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from shared import background
from shared.identity.key_fetching import Unreadable
from shared.identity.key_sources import KEPT_H, HeldKeys, KeySource
from shared.identity.keys import UnusableKey
from shared.identity.published_keys import published_keys

log = logging.getLogger(__name__)

READ_EVERY_S = 300.0
"""A key that its issuer has taken away counts for so long at the most, while the issuer can be reached."""
AGAIN_AFTER_S = 30.0
WAITED_FOR_S = 3.0
"""Whoever comes with a key that is not known yet waits so long for a reading that is under way."""


class KeysAtUrl(HeldKeys):
    """The keys that `fetch` reads; before its first success there are none."""

    def __init__(
        self,
        where: str,
        fetch: Callable[[], Awaitable[str]],
        kept_s: float = KEPT_H * 3600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(where, kept_s, clock)
        self._fetch = fetch
        self._tried_s: float | None = None
        self._wanted = asyncio.Event()
        self._reading: asyncio.Event | None = None

    async def refresh(self) -> None:
        """Read them now; a failure is kept as the trouble, and the last keys go on."""
        self._wanted.clear()
        self._tried_s = self._clock()
        self._reading = done = self._reading or asyncio.Event()
        try:
            self.take(*published_keys(await self._fetch()))
        except (Unreadable, UnusableKey) as error:
            self.miss(str(error))
        finally:
            self._reading = None
            done.set()

    async def refresh_again_and_again(self) -> None:
        """The work of the background; ends by being cancelled."""
        while True:
            try:
                await self.refresh()
            except Exception as error:  # a bug in reading one issuer's keys must not end the reading for good
                log.exception("reading the keys of %s broke", self.where)
                self.miss(type(error).__name__)
            await asyncio.sleep(AGAIN_AFTER_S)
            if self._why is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(READ_EVERY_S - AGAIN_AFTER_S):
                        await self._wanted.wait()

    async def look_for(self, kid: str) -> None:
        """Somebody names this key: have the keys read again if it is not there and it is not too soon."""
        if kid in self.keys().by_kid:
            return
        if self._reading is None and not self._is_too_soon():
            # From now on the others wait for this reading, too; the background does it.
            self._reading = asyncio.Event()
            self._wanted.set()
        if (reading := self._reading) is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAITED_FOR_S):
                    await reading.wait()

    def _is_too_soon(self) -> bool:
        return self._tried_s is not None and self._clock() - self._tried_s < AGAIN_AFTER_S


class KeyRefresher:
    """The part of a service that keeps its issuers' keys fresh."""

    def __init__(self, sources: Sequence[KeySource]) -> None:
        self._sets = [source for source in sources if isinstance(source, KeysAtUrl)]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns at once: an issuer that does not answer keeps nobody from starting."""
        self._tasks = [
            asyncio.create_task(each.refresh_again_and_again(), name=f"keys of {each.where}")
            for each in self._sets
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            await background.end(task)
        self._tasks = []


async def read_once(sources: Sequence[KeySource]) -> None:
    """Read what is at an address now, for a program that ends soon; what fails, its `trouble` says."""
    await asyncio.gather(*(source.refresh() for source in sources if isinstance(source, KeysAtUrl)))
