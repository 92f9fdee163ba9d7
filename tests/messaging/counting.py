"""A command that counts, a command that is refused, and records as a broker would give them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from shared.contracts.envelope import Envelope, Received, seal, to_body
from shared.contracts.releases import PublishRelease
from shared.contracts.values import Actor
from shared.errors import Retry, conflict
from shared.messaging.consumer import Consumer
from shared.messaging.inbox import Inbox
from shared.settings import KafkaSettings
from shared.storage.database import Database, Transaction
from shared.storage.messages import InboxEntry
from shared.storage.tables import MESSAGE_TABLES
from tests.support.keys import VERIFIER, token_headers

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LIBRARY = Actor(id="library@upgradepath.example", role="library")
REFUSED, BUGGY, UNWRITABLE = "0.0.0", "0.0.1", "0.0.2"


@dataclass
class Kept:
    """A record as aiokafka gives it."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    offset: int
    topic: str = "upgrades.release.commands.v1"
    partition: int = 0
    timestamp: int = 0
    timestamp_type: int = 0


class Counting:
    """A service's inbox and consumer, without a broker."""

    def __init__(self, url: str) -> None:
        self.database: Database[Transaction] = Database("registry", url, Transaction)
        self.inbox: Inbox[Transaction] = Inbox(self.database, {PublishRelease: self.publish})
        self.consumer = Consumer("registry", self.inbox, KafkaSettings(), tokens=VERIFIER)
        self.calls = 0
        self.fail_with: list[Exception] = []
        self.together: asyncio.Barrier | None = None

    async def create_tables(self) -> None:
        async with self.database.engine.begin() as connection:
            await connection.run_sync(MESSAGE_TABLES.create_all)
            await connection.execute(text("create table counted (version text)"))

    async def publish(self, command: PublishRelease, tx: Transaction) -> PublishRelease:
        self.calls += 1
        if self.together is not None and self.calls <= 2:
            await self.together.wait()
        if self.fail_with:
            raise self.fail_with.pop(0)
        if command.version == REFUSED:
            raise conflict("never", field="version", value=command.version, cure="take another")
        if command.version == BUGGY:
            raise RuntimeError("a bug")
        if command.version == UNWRITABLE:
            tx.remember(InboxEntry("no database keeps a \0", "1", "", "{}"))
        await tx.session.execute(text("insert into counted values (:version)"), {"version": command.version})
        tx.send(command)
        return command

    async def counted(self) -> list[str]:
        return [row[0] for row in await self.rows("select version from counted")]

    async def sent(self) -> list[str]:
        """The CloudEvents types in the outbox, in order."""
        rows = await self.rows("select convert_from(body, 'UTF8'), topic from outbox order by id")
        return [topic for _, topic in rows]

    async def rows(self, query: str) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await tx.session.execute(text(query)))


def command(version: str) -> PublishRelease:
    return PublishRelease(actor=LIBRARY, system="auth-system", version=version, package="0" * 64)


def envelope(message: PublishRelease, name: str | None = None) -> Envelope:
    return seal(message, source=f"/tests/{name or message.version}", now=EPOCH)


def received(version: str, name: str | None = None) -> Received:
    message = command(version)
    return Received(envelope(message, name), message, hashlib.sha256(to_body(message)).hexdigest())


def kept(version: str, offset: int = 0, name: str | None = None) -> Kept:
    message = command(version)
    return Kept(b"auth-system", to_body(message), token_headers(message, envelope(message, name)), offset)


RETRY = Retry("the content store does not answer")
