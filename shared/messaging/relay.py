"""The outbox relay: what was committed is sent, in order, and deleted once acknowledged."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from aiokafka.errors import KafkaError
from sqlalchemy import text

from shared import background
from shared.crash_points import around, inside
from shared.identity.proofs import Signer
from shared.messaging.backoff import delays_s
from shared.messaging.portions import Pauses
from shared.messaging.publisher import Publisher, publishing
from shared.settings import KafkaSettings
from shared.storage.database import Database, is_passing
from shared.storage.messages import OUTBOX_CHANNEL, Outgoing, read_headers
from shared.storage.outlet import Numbered

log = logging.getLogger(__name__)

_CHUNK_ROWS = 1000
_POLL_S = 1.0
_DELETE_ROWS = 500
_DELETE_AFTER_S = 0.05
_STOP_WITHIN_S = 2.0
_LEADER_LOCK = 4_711_002
# Of the leader's session, which changes nothing but deletes what was sent: what a power cut brings back is
# sent again. By its key the outbox is read fast, however many rows have come and gone.
_SETTINGS = "set synchronous_commit = off; set enable_seqscan = off; set plan_cache_mode = force_generic_plan"
_DELETE = "delete from outbox where id = any($1::bigint[])"
# In one round trip: delete what was acknowledged, and read what comes next.
_NEXT = (
    f"with gone as ({_DELETE})"
    " select id, topic, key, body, headers::text from outbox where id <> all($1::bigint[])"
    f" order by id limit {_CHUNK_ROWS}"
)
_OLDEST = "select min(id) from outbox"
_HUNG_AFTER_S = 20.0
_SIGNED_AT_ONCE = 192
"""Signatures take 40 µs each: others want the event loop, too."""


class Relay:
    """One active relay per service: the one whose session holds the advisory lock.

    What its own process commits it sends from memory, right after the commit. What others have committed,
    or a crash has left, it reads `ORDER BY id`. Ids can become visible out of order between transactions, but
    two writers of one key exclude each other by that subject's lock, so a key's rows are always seen in the
    order of their commits; and a commit that saw others' rows is not sent before these (`Outlet`).

    What needs the service's proof is signed on its way, so whatever put it into the outbox holds no key.
    """

    def __init__(
        self,
        database: Database[Any],
        settings: KafkaSettings,
        hung_after_s: float = _HUNG_AFTER_S,
        signer: Signer | None = None,
    ) -> None:
        self.database = database
        self.settings = settings
        self._hung_after_s = hung_after_s
        self._signer = signer
        self._outlet = database.outlet
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._sent: list[int] = []
        """What was acknowledged and is not deleted yet."""
        self._looked_at_s = 0.0
        self._delays_s = delays_s()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._outlet.wake = self._wake.set
        self._task = asyncio.create_task(self._run(), name=f"relay of {self.database.service}")

    async def stop(self) -> None:
        """What waits is sent first, if the broker takes it soon."""
        self._stopping.set()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_STOP_WITHIN_S)
        await background.end(self._task)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            delay_s = _POLL_S
            try:
                await self._lead()
            except KafkaError as error:
                log.warning("the broker does not take messages, they wait in the outbox: %r", error)
                delay_s = next(self._delays_s)
            except Exception as error:
                # Whatever it is, an outbox that nobody sends is worse than one that is tried again.
                log.warning("the outbox cannot be sent: %r", error, exc_info=not is_passing(error))
                delay_s = next(self._delays_s)
            await _happens(self._stopping, delay_s)

    async def _lead(self) -> None:
        """Hold the lock and send, until something breaks: then everything is made anew."""
        async with self.database.connection() as connection:
            taken = await connection.execute(text(f"select pg_try_advisory_lock({_LEADER_LOCK})"))
            if not taken.scalar_one():
                return
            # One that hangs says nothing, and keeps its session: the server ends that, and another leads.
            await connection.execute(text(f"set idle_session_timeout = '{self._hung_after_s:g}s'"))
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            epoch = 0
            try:
                await driver.execute(_SETTINGS)
                await driver.add_listener(OUTBOX_CHANNEL, lambda *_: self._outlet.miss())
                epoch = await driver.fetchval("select nextval('outbox_epochs')")
                async with publishing(self.settings) as publisher:
                    self._sent = []
                    self._outlet.lead(epoch)
                    await self._relay(publisher, driver)
            finally:
                self._outlet.resign(epoch)
                # The session goes back to no pool: its lock must end with it.
                await connection.invalidate()

    async def _relay(self, publisher: Publisher, driver: Any) -> None:
        """Send until told to stop, and then what waits."""
        while True:
            self._wake.clear()
            if self._outlet.must_read:
                await self._send_what_is_there(publisher, driver)
            elif taken := self._outlet.take():
                await self._send_from_memory(publisher, driver, taken)
            elif self._sent:
                if self._stopping.is_set() or not await _happens(self._wake, _DELETE_AFTER_S):
                    await self._delete(driver)
            elif self._stopping.is_set():
                return
            else:
                await _happens(self._wake, _POLL_S)
            if time.monotonic() - self._looked_at_s >= _POLL_S:
                await self._look_around(driver)

    async def _send_what_is_there(self, publisher: Publisher, driver: Any) -> None:
        self._outlet.begin_reading()
        gone, self._sent = self._sent, []
        async with around("outbox-read"):
            rows = await driver.fetch(_NEXT, gone)
        if not rows:
            self._outlet.read_to_the_end()
            return
        messages: list[Numbered] = []
        pauses = Pauses()
        for number, topic, key, body, headers in rows:
            messages.append((number, (topic, key, body, read_headers(headers))))
            await pauses.look()
        with inside("left"):
            await self._send(publisher, messages)

    async def _send_from_memory(self, publisher: Publisher, driver: Any, taken: Sequence[Numbered]) -> None:
        if len(self._sent) < _DELETE_ROWS:
            await self._send(publisher, taken)
            return
        both = (self._delete(driver), self._send(publisher, taken))
        for outcome in await asyncio.gather(*both, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _send(self, publisher: Publisher, numbered: Sequence[Numbered]) -> None:
        # Nothing of this is deleted unless all of it was acknowledged: it is sent again as a whole and in
        # order, and every reader has an inbox.
        async with around("produce"):
            await publisher.publish(await self._signed(numbered))
        self._delays_s = delays_s()
        self._sent += [number for number, _ in numbered]

    async def _signed(self, numbered: Sequence[Numbered]) -> list[Outgoing]:
        messages = [message for _, message in numbered]
        if self._signer is None:
            return messages
        signed: list[Outgoing] = []
        for at in range(0, len(messages), _SIGNED_AT_ONCE):
            some = messages[at : at + _SIGNED_AT_ONCE]
            headers = self._signer.all_signed([(topic, body, own) for topic, _, body, own in some])
            signed += [(*message[:3], own) for message, own in zip(some, headers, strict=True)]
            if len(messages) > _SIGNED_AT_ONCE:
                await asyncio.sleep(0)
        return signed

    async def _delete(self, driver: Any) -> None:
        gone, self._sent = self._sent, []
        async with around("outbox-delete"):
            await driver.execute(_DELETE, gone)

    async def _look_around(self, driver: Any) -> None:
        """Is there an older row than any that is known here? It also shows that the session lives."""
        self._looked_at_s = time.monotonic()
        oldest = await driver.fetchval(_OLDEST)
        known = [number for number in (min(self._sent, default=None), self._outlet.oldest()) if number]
        if oldest is not None and (not known or oldest < min(known)):
            self._outlet.miss()


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    """Whether it does."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
