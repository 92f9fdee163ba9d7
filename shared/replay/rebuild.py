"""Rebuilding a service's database from the topics: into an empty one, in one transaction.

No relay runs here and no handler is called, so nothing can be sent or decided: rows are restored from what
was told. The inbox is filled from each event's cause, so that what comes again is known.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from shared.clients.database_urls import database_of, with_database
from shared.clients.databases import make_database
from shared.clients.postgres import connect
from shared.garbage import imports_left_alone
from shared.identity.tokens import NOBODY, TokenVerifier
from shared.messaging.people import People
from shared.replay.audit_log import restore_log
from shared.replay.bulk import copy_rows, drop_indexes, make_indexes
from shared.replay.causes import BEST, COLUMNS, KEY, Causes
from shared.replay.commands import are_peoples, read_commands
from shared.replay.evidence import Evidence, PassedOver
from shared.replay.lag import places
from shared.replay.reading import read_told
from shared.replay.restorer import NO_ANSWER, CannotRebuild, Part, Restorer
from shared.replay.told import Told
from shared.settings import KafkaSettings
from shared.storage.migrations import migrate_async

_COLLECT_AFTER_OBJECTS = 100_000
"""As many as a few batches are made of, which go as a whole."""
_MEMORY = "set local work_mem = '64MB'; set local maintenance_work_mem = '256MB'"
# Of long documents, where the server has it: to compress them would take as long as all else that it does.
_FAST_COMPRESSION = (
    "select set_config(name, 'lz4', true) from pg_settings"
    " where name = 'default_toast_compression' and 'lz4' = any(enumvals)"
)
_UNSENT = "select (select count(*) from outbox) + (select count(*) from audit_waiting)"
_OWN_TABLES = (
    "select string_agg(format('%I', tablename), ', ') from pg_tables where schemaname = current_schema()"
)


@dataclass(frozen=True)
class Digest:
    """One part of a state: its rows, and their sha256 in the order of their keys."""

    rows: int
    sha256: str


@dataclass(frozen=True)
class Rebuilt:
    """What was read, and how long that and the writing took."""

    events: int
    copied: int
    inbox: int
    seconds: float
    places: dict[str, dict[int, int]]
    """Per topic and partition: where the live group goes on."""
    passed_over: int
    """Records that nobody of us proves; `listed` are the first of them."""
    listed: tuple[PassedOver, ...]
    audited: int = 0
    """Entries of the audit log."""

    @property
    def events_per_s(self) -> float:
        return (self.events + self.copied) / self.seconds


async def rebuild(
    settings: KafkaSettings,
    restorer: Restorer,
    url: str,
    evidence: Evidence,
    tokens: TokenVerifier = NOBODY,
) -> Rebuilt:
    """Fill the empty database at `url`; all of it, or nothing.

    Only records that `evidence` believes are read; `tokens` prove people's commands.

    Raises `CannotRebuild`, `NotOurs`, KafkaError, and what the database's driver raises.
    """
    await migrate_async(restorer.service, url)
    begun = time.monotonic()
    async with _connected(url) as connection:
        await _refuse_unless_empty(connection, restorer)
        async with connection.transaction():
            await connection.execute("set local synchronous_commit = off")
            await connection.execute(_MEMORY)
            await connection.execute(_FAST_COMPRESSION)
            await restorer.prepare(connection)
            with imports_left_alone(_COLLECT_AFTER_OBJECTS):
                events = await _restore(settings, restorer, connection, evidence)
                audited = await restore_log(settings, restorer.service, connection, evidence)
            where = await _places(settings, restorer)
            copied = await _copy(settings, restorer, connection, where, (tokens, evidence))
            await restorer.finish(connection)
            inbox = await connection.fetchval("select count(*) from inbox")
        await connection.execute(f"analyze {await connection.fetchval(_OWN_TABLES)}")
    seconds = time.monotonic() - begun
    await restorer.remind(url)
    return Rebuilt(events, copied, inbox, seconds, where, evidence.count, tuple(evidence.listed), audited)


_DIGEST = (
    "select count(*), encode(sha256(coalesce(string_agg(sha256(convert_to(row, 'UTF8')), ''::bytea"
    " order by key collate \"C\"), ''::bytea)), 'hex') from ({rows}) as rows (key, row)"
)


async def digests(url: str, parts: Sequence[Part]) -> dict[str, Digest]:
    """Every part of a service's state, as of one moment. Raises what the database's driver raises."""
    found = {}
    async with _connected(url) as connection, connection.transaction(isolation="repeatable_read"):
        for part in parts:
            row = await connection.fetchrow(_DIGEST.format(rows=part.rows))
            found[part.name] = Digest(row[0], row[1])
    return found


async def made(url: str) -> None:
    """Make the database, for its owner alone, unless it is there."""
    try:
        async with _connected(url):
            return
    except asyncpg.InvalidCatalogNameError:
        pass
    async with _connected(with_database(url, "postgres")) as connection:
        await make_database(connection, database_of(url))


async def unsent(url: str) -> int:
    """How many messages and notes for the audit log wait: what they say is not on the topics yet."""
    async with _connected(url) as connection:
        count: int = await connection.fetchval(_UNSENT)
    return count


@asynccontextmanager
async def _connected(url: str) -> Any:
    connection = await connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def _refuse_unless_empty(connection: Any, restorer: Restorer) -> None:
    sources = ["inbox", "outbox", *(f"({part.rows}) as {part.name}" for part in restorer.parts)]
    for source in sources:
        if await connection.fetchval(f"select exists (select from {source})"):
            raise CannotRebuild(f"the database is not empty: there is something in {source.split()[-1]}")


async def _restore(settings: KafkaSettings, restorer: Restorer, connection: Any, evidence: Evidence) -> int:
    count = 0
    if not restorer.writes:
        return count
    keys = await drop_indexes(connection, "inbox")
    causes = Causes(restorer)
    async with aclosing(read_told(settings, restorer.writes, evidence.told)) as batches:
        async for events in batches:
            count += len(events)
            await copy_rows(connection, "inbox", COLUMNS, causes.rows(events))
            await restorer.restore(events, connection)
    await copy_rows(connection, "inbox", COLUMNS, causes.rest())
    await make_indexes(connection, "inbox", keys, KEY, BEST)
    return count


async def _places(settings: KafkaSettings, restorer: Restorer) -> dict[str, dict[int, int]]:
    return {
        topic.name: await places(settings, topic.group(restorer.service), topic.name, topic.partitions)
        for topic in restorer.copies
    }


async def _copy(
    settings: KafkaSettings,
    restorer: Restorer,
    connection: Any,
    where: dict[str, dict[int, int]],
    believed: tuple[TokenVerifier, Evidence],
) -> int:
    """What the live service has handled: what lies before its place, and what one of its events names."""
    count = 0
    async for read in _copies(settings, restorer, *believed):
        passed = [event for event in read if event.offset < where[event.topic][event.partition]]
        ahead = [event for event in read if event.offset >= where[event.topic][event.partition]]
        fresh = await _remember(connection, passed)
        known = await _known(connection, ahead)
        handled = [*passed, *known]
        await restorer.copy(handled, connection)
        await restorer.unanswered(fresh, connection)
        count += len(handled)
    return count


async def _copies(
    settings: KafkaSettings, restorer: Restorer, tokens: TokenVerifier, evidence: Evidence
) -> AsyncIterator[list[Told]]:
    services = [topic for topic in restorer.copies if not are_peoples(topic)]
    if services:
        async with aclosing(read_told(settings, services, evidence.told)) as batches:
            async for events in batches:
                yield events
    people = People(tokens, broker_dates=not settings.embedded, service=restorer.service)
    async for commands in read_commands(settings, [*filter(are_peoples, restorer.copies)], people, evidence):
        yield commands


async def _known(connection: Any, events: Sequence[Told]) -> list[Told]:
    """Those that an event of its own has named."""
    if not events:
        return []
    rows = await connection.fetch(
        "select source, id from inbox join unnest($1::text[], $2::text[]) as asked (source, id)"
        " using (source, id)",
        [event.source for event in events],
        [event.id for event in events],
    )
    return _among(events, rows)


async def _remember(connection: Any, handled: Sequence[Told]) -> list[Told]:
    """Put what was handled into the inbox; those of which no event of its own has spoken."""
    if not handled:
        return []
    rows = await connection.fetch(
        "insert into inbox (source, id, digest, verdict)"
        " select source, id, digest, $4::json from unnest($1::text[], $2::text[], $3::text[])"
        " as new (source, id, digest) on conflict do nothing returning source, id",
        [event.source for event in handled],
        [event.id for event in handled],
        [hashlib.sha256(event.body).hexdigest() for event in handled],
        NO_ANSWER,
    )
    return _among(handled, rows)


def _among(events: Sequence[Told], rows: Sequence[Any]) -> list[Told]:
    found = {(row["source"], row["id"]) for row in rows}
    return [event for event in events if (event.source, event.id) in found]
