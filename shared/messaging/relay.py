"""The outbox relay: what was committed is sent, in order, and deleted once acknowledged."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared import background
from shared.crash_points import reached
from shared.messaging.backoff import delays_s
from shared.settings import KafkaSettings
from shared.storage.database import Database, is_passing
from shared.storage.messages import OUTBOX_CHANNEL, read_headers

log = logging.getLogger(__name__)

_CHUNK_ROWS = 1000
_POLL_S = 1.0
_STOP_WITHIN_S = 2.0
_LEADER_LOCK = 4_711_002
# Of the leader's session, which changes nothing but deletes what was sent: what a power cut brings back is
# sent again. By its key the outbox is read fast, however many rows have come and gone.
_SETTINGS = "set synchronous_commit = off; set enable_seqscan = off; set plan_cache_mode = force_generic_plan"
# In one round trip: delete what was acknowledged, and read what comes next.
_NEXT = (
    "with gone as (delete from outbox where id = any($1::bigint[]))"
    " select id, topic, key, body, headers::text from outbox where id <> all($1::bigint[])"
    f" order by id limit {_CHUNK_ROWS}"
)
_HUNG_AFTER_S = 20.0


class Relay:
    """One active relay per service: the one whose session holds the advisory lock.

    Rows are read `ORDER BY id` among the unsent. Ids can become visible out of order between
    transactions, but two writers of one key exclude each other by that subject's lock, so a key's rows
    are always seen in the order of their commits.
    """

    def __init__(
        self, database: Database[Any], settings: KafkaSettings, hung_after_s: float = _HUNG_AFTER_S
    ) -> None:
        self.database = database
        self.settings = settings
        self._hung_after_s = hung_after_s
        self._wake = asyncio.Event()
        self._delays_s = delays_s()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.database.on_sent.append(self._wake.set)
        self._task = asyncio.create_task(self._run(), name=f"relay of {self.database.service}")

    async def stop(self) -> None:
        await background.end(self._task)
        if self._wake.set in self.database.on_sent:
            self.database.on_sent.remove(self._wake.set)

    async def _run(self) -> None:
        while True:
            delay_s = _POLL_S
            try:
                await self._lead()
            except (KafkaError, TimeoutError) as error:
                log.warning("the broker does not take messages, they wait in the outbox: %r", error)
                delay_s = next(self._delays_s)
            except Exception as error:
                # Whatever it is, an outbox that nobody sends is worse than one that is tried again.
                log.warning("the outbox cannot be sent: %r", error, exc_info=not is_passing(error))
                delay_s = next(self._delays_s)
            await asyncio.sleep(delay_s)

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
            try:
                await driver.execute(_SETTINGS)
                await driver.add_listener(OUTBOX_CHANNEL, self._on_notify)
                async with _producer(self.settings) as producer:
                    while True:
                        await self._send_all(producer, driver)
                        await self._until_woken(connection)
            finally:
                # The session goes back to no pool: its lock must end with it.
                await connection.invalidate()

    async def _until_woken(self, connection: AsyncConnection) -> None:
        try:
            async with asyncio.timeout(_POLL_S):
                await self._wake.wait()
        except TimeoutError:
            # Only a living session is notified; a dead one has lost the lock without a word: ask.
            await connection.execute(text("select 1"))

    def _on_notify(self, *_: object) -> None:
        self._wake.set()

    async def _send_all(self, producer: AIOKafkaProducer, driver: Any) -> None:
        sent: list[int] = []
        while True:
            self._wake.clear()
            rows = await driver.fetch(_NEXT, sent)
            if sent:
                reached("outbox", "deleted")
            if not rows:
                return
            reached("produce", "before")
            pending = [
                await producer.send(topic, value=body, key=key, headers=read_headers(headers))
                for _, topic, key, body, headers in rows
            ]
            # Nothing of this chunk is deleted unless all of it was acknowledged: it is sent again as a
            # whole and in order, and every reader has an inbox.
            for outcome in await asyncio.gather(*pending, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
            reached("produce", "after")
            self._delays_s = delays_s()
            sent = [row["id"] for row in rows]


@asynccontextmanager
async def _producer(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        acks="all",
        enable_idempotence=not settings.embedded,
        linger_ms=0,
        max_batch_size=128 * 1024,
        max_request_size=4 * 1024 * 1024,
        request_timeout_ms=30_000,
    )
    try:
        await producer.start()
        yield producer
    finally:
        await _give_up(producer)


async def _give_up(producer: AIOKafkaProducer) -> None:
    """Stop without waiting for a broker that is away: what was not acknowledged is in the outbox."""
    stopping = asyncio.ensure_future(producer.stop())
    done, _ = await asyncio.wait([stopping], timeout=_STOP_WITHIN_S)
    if done:
        stopping.result()
        return
    stopping.cancel()
    sender: Any = producer._sender
    await sender.close()
    await producer.client.close()
