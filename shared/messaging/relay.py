"""The outbox relay: what was committed is sent, in order, and deleted once acknowledged."""

import asyncio
import base64
import contextlib
import logging
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from sqlalchemy import delete, select, text

from shared.settings import KafkaSettings
from shared.storage.database import OUTBOX_CHANNEL, Database, is_passing
from shared.storage.tables import OutboxRow

log = logging.getLogger(__name__)

_CHUNK_ROWS = 1000
_POLL_S = 1.0
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
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"relay of {self.database.service}")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._lead()
            except (KafkaError, TimeoutError) as error:
                log.warning("the broker does not take messages, they wait in the outbox: %r", error)
            except Exception as error:
                if not is_passing(error):
                    raise
                log.warning("the outbox cannot be read: %r", error)
            await asyncio.sleep(_POLL_S)

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
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._wake.wait(), _POLL_S)
                        # A dead session would have lost the lock without a word: ask.
                        await connection.execute(text("select 1"))
            finally:
                # The session goes back to no pool: its lock must end with it.
                await connection.invalidate()

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
            pending = []
            for row in rows:
                headers = [(name, base64.b64decode(value)) for name, value in row.headers]
                pending.append(await producer.send(row.topic, value=row.body, key=row.key, headers=headers))
            # Nothing of this chunk is deleted unless all of it was acknowledged: it is sent again as a
            # whole and in order, and every reader has an inbox.
            await asyncio.gather(*pending)
            async with self.database.engine.begin() as connection:
                await connection.execute(text("set local synchronous_commit = off"))
                await connection.execute(delete(OutboxRow).where(OutboxRow.id.in_([row.id for row in rows])))  # type: ignore[union-attr]


def _producer(settings: KafkaSettings) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        acks="all",
        enable_idempotence=not settings.embedded,
        linger_ms=0,
        max_batch_size=128 * 1024,
        max_request_size=4 * 1024 * 1024,
        request_timeout_ms=30_000,
    )
