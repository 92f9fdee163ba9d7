"""A service as small as can be, of the pieces that all services share: it counts the releases of a System.

Run as a program it is that service in a process of its own, to be killed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from sqlalchemy import text

from shared.contracts.envelope import Headers, seal, to_body
from shared.contracts.releases import PublishRelease, Release, ReleasePublished
from shared.contracts.values import Actor, Message
from shared.errors import conflict
from shared.messaging.consumer import Consumer
from shared.messaging.inbox import Inbox
from shared.messaging.relay import Relay
from shared.settings import KafkaSettings
from shared.storage.database import Database, Transaction
from shared.storage.tables import MESSAGE_TABLES
from tests.support.keys import VERIFIER, token_headers

LIBRARY = Actor(id="library@upgradepath.example", role="library")
REFUSED = "0.0.0"
BUGGY = "0.0.1"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

Pause = Callable[[PublishRelease], Awaitable[None]]


class CountingTransaction(Transaction):
    """The service's own table: every release that it counted, in the order in which it did."""

    async def count(self, system: str, version: str) -> int:
        await self.session.execute(
            text("insert into counted (system, version) values (:system, :version)"),
            {"system": system, "version": version},
        )
        found = await self.session.execute(
            text("select count(*) from counted where system = :system"), {"system": system}
        )
        number: int = found.scalar_one()
        return number


class TinyService:
    """Inbox, consumer and relay over a database of its own."""

    def __init__(
        self,
        name: str,
        url: str,
        settings: KafkaSettings,
        pause: Pause | None = None,
        instance: str | None = None,
    ) -> None:
        self.name = name
        self.pause = pause
        self.database = Database(name, url, CountingTransaction, pool_size=4)
        self.inbox = Inbox(self.database, {PublishRelease: self.publish})
        self.consumer = Consumer(name, self.inbox, settings, instance, tokens=VERIFIER)
        self.relay = Relay(self.database, settings)

    async def publish(self, command: PublishRelease, tx: CountingTransaction) -> ReleasePublished:
        await tx.lock("system", command.system)
        if command.version == REFUSED:
            raise conflict("never this one", field="version", value=command.version, cure="take another")
        if command.version == BUGGY:
            raise RuntimeError("a bug in the handler")
        revision = await tx.count(command.system, command.version)
        if self.pause is not None:
            await self.pause(command)
        published = ReleasePublished(
            release=release(command.system, command.version), revision=revision, change="minor"
        )
        tx.send(published)
        return published

    async def create_tables(self) -> None:
        async with self.database.engine.begin() as connection:
            await connection.run_sync(MESSAGE_TABLES.create_all)
            await connection.execute(
                text(
                    "create table if not exists counted ("
                    "id bigint generated always as identity primary key, system text, version text)"
                )
            )

    async def counted(self, system: str) -> list[str]:
        """The versions that were counted, in the order in which they were."""
        async with self.database.transaction() as tx:
            rows = await tx.session.execute(
                text("select version from counted where system = :system order by id"), {"system": system}
            )
            return [version for (version,) in rows]

    async def counted_at_least(self, system: str, count: int) -> bool:
        return len(await self.counted(system)) >= count

    async def unsent(self) -> int:
        async with self.database.transaction() as tx:
            count: int = (await tx.session.execute(text("select count(*) from outbox"))).scalar_one()
            return count

    @asynccontextmanager
    async def running(self) -> AsyncIterator[TinyService]:
        await self.relay.start()
        await self.consumer.start()
        try:
            yield self
        finally:
            await self.consumer.stop()
            await self.relay.stop()
            await self.database.close()


def release(system: str, version: str) -> Release:
    return Release.model_validate(
        {
            "system": system,
            "version": version,
            "package": "0" * 64,
            "summary": "A release",
            "published_at": EPOCH,
            "published_by": LIBRARY.id,
        }
    )


def publish(system: str, number: int) -> PublishRelease:
    return PublishRelease(actor=LIBRARY, system=system, version=f"1.{number}.0", package="0" * 64)


def wire(message: Message, name: str) -> tuple[bytes, bytes, Headers]:
    """Key, body and headers of a message that `name` makes unique."""
    envelope = seal(message, source=f"/tests/{name}", now=EPOCH)
    return envelope.subject.encode(), to_body(message), token_headers(message, envelope)


def program(name: str, url: str, settings: KafkaSettings, instance: str | None = None) -> list[str]:
    """The command line of a tiny service in a process of its own."""
    words = (sys.executable, __file__, name, url, settings.model_dump_json(), instance or "")
    return [*words]


async def _main(name: str, url: str, settings: str, instance: str) -> None:
    kafka = KafkaSettings.model_validate_json(settings)
    async with TinyService(name, url, kafka, instance=instance or None).running():
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
