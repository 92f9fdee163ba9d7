"""The outbox relay: what was committed is sent, in order, and deleted once acknowledged."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared import background
from shared.crash_points import reached
from shared.messaging.backoff import delays_s
from shared.settings import KafkaSettings
from shared.storage.database import Database, is_passing
from shared.storage.messages import OUTBOX_CHANNEL
from shared.storage.tables import OutboxRow

log = logging.getLogger(__name__)

_CHUNK_ROWS = 1000
_POLL_S = 1.0
_STOP_WITHIN_S = 2.0
_LEADER_LOCK = 4_711_002


class Relay:
    """One active relay per service: the one whose session holds the advisory lock.

    Rows are read `ORDER BY id` among the unsent. Ids can become visible out of order between
    transactions, but two writers of one key exclude each other by that subject's lock, so a key's rows
    are always seen in the order of their commits.
    """

    def __init__(self, database: Database[Any], settings: KafkaSettings) -> None:
        self.database = database
        self.settings = settings
        self._wake = asyncio.Event()
        self._delays_s = delays_s()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"relay of {self.database.service}")

    async def stop(self) -> None:
        await background.end(self._task)

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
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            try:
                await driver.add_listener(OUTBOX_CHANNEL, self._on_notify)
                async with _producer(self.settings) as producer:
                    while True:
                        await self._send_all(producer)
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

    async def _send_all(self, producer: AIOKafkaProducer) -> None:
        while True:
            self._wake.clear()
            async with self.database.engine.connect() as connection:
                rows = (
                    await connection.execute(
                        select(OutboxRow.__table__).order_by(OutboxRow.id).limit(_CHUNK_ROWS)  # type: ignore[attr-defined,arg-type]
                    )
                ).all()
            if not rows:
                return
            reached("produce", "before")
            pending = []
            for row in rows:
                headers = [
                    (name, None if value is None else base64.b64decode(value)) for name, value in row.headers
                ]
                pending.append(await producer.send(row.topic, value=row.body, key=row.key, headers=headers))
            # Nothing of this chunk is deleted unless all of it was acknowledged: it is sent again as a
            # whole and in order, and every reader has an inbox.
            for outcome in await asyncio.gather(*pending, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
            reached("produce", "after")
            self._delays_s = delays_s()
            async with self.database.engine.begin() as connection:
                await connection.execute(text("set local synchronous_commit = off"))
                await connection.execute(delete(OutboxRow).where(OutboxRow.id.in_([row.id for row in rows])))  # type: ignore[union-attr]
            reached("outbox", "deleted")


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
