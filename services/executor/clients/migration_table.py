"""Prisma's table `_prisma_migrations` and its lock, and our own fence beside them.

Prisma takes the same advisory lock, so `prisma migrate deploy` and a Run exclude each other. The fence lies
in the schema `upgradepath`, out of Prisma's sight: a worker superseded while it slept is turned away.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from services.executor.clients.postgres import Connection, quoted, session
from shared.clients.database_urls import schema_of
from shared.errors import Retry, Stale

_ADVISORY_LOCK = 72707369
_ADVISORY_LOCK_TIMEOUT_S = 10.0

FencingToken = tuple[int, int]
"""The planner's fence first, the lease's generation second."""


@dataclass(frozen=True)
class Row:
    """One row of `_prisma_migrations`."""

    id: str
    name: str
    checksum: str
    started_at: datetime
    finished_at: datetime | None
    rolled_back_at: datetime | None
    logs: str | None
    ours: bool
    """We wrote it, so it is finished exactly when its script was committed."""

    @property
    def applied(self) -> bool:
        return self.finished_at is not None and self.rolled_back_at is None

    @property
    def unfinished(self) -> bool:
        return self.finished_at is None and self.rolled_back_at is None

    @property
    def duration_ms(self) -> int:
        finished = self.finished_at or self.started_at
        return max(0, round((finished - self.started_at).total_seconds() * 1000))


class MigrationTable:
    """The table of one database, over a session that holds Prisma's lock and our fence."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self.connection = connection
        self.schema = schema
        self.name = quoted(schema, "_prisma_migrations")

    async def is_there(self) -> bool:
        return bool(await self.connection.fetchval("SELECT to_regclass($1) IS NOT NULL", self.name))

    async def create(self) -> None:
        if self.schema != "public":
            await self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema)}")
        await self.connection.execute(
            f"""
            CREATE TABLE IF NOT EXISTS {self.name} (
                id varchar(36) PRIMARY KEY NOT NULL,
                checksum varchar(64) NOT NULL,
                finished_at timestamptz,
                migration_name varchar(255) NOT NULL,
                logs text,
                rolled_back_at timestamptz,
                started_at timestamptz NOT NULL DEFAULT now(),
                applied_steps_count integer NOT NULL DEFAULT 0
            )
            """
        )

    async def rows(self) -> list[Row]:
        """Oldest first; none when the table is missing."""
        if not await self.is_there():
            return []
        known = await self.connection.fetchval("SELECT to_regclass('upgradepath.attempt') IS NOT NULL")
        ours = "EXISTS (SELECT FROM upgradepath.attempt a WHERE a.id = m.id)" if known else "false"
        records = await self.connection.fetch(
            f"SELECT id, migration_name AS name, checksum, started_at, finished_at, rolled_back_at, logs,"
            f" {ours} AS ours FROM {self.name} m ORDER BY started_at, migration_name"
        )
        return [Row(**dict(record)) for record in records]

    async def start(self, row_id: str, folder: str, checksum: str) -> None:
        async with self.connection.transaction():
            await self.connection.execute("INSERT INTO upgradepath.attempt (id) VALUES ($1)", row_id)
            await self.connection.execute(
                f"INSERT INTO {self.name} (id, checksum, migration_name, started_at)"
                " VALUES ($1, $2, $3, clock_timestamp())",
                row_id,
                checksum,
                folder,
            )

    def finishing(self, row_id: str) -> str:
        """The statement that finishes a row, for the end of a script: both become true in one commit."""
        return (
            f"UPDATE {self.name} SET finished_at = clock_timestamp(),"
            f" applied_steps_count = applied_steps_count + 1 WHERE id = '{row_id}'"
        )

    async def fail(self, row_id: str, logs: str) -> None:
        await self.connection.execute(f"UPDATE {self.name} SET logs = $2 WHERE id = $1", row_id, logs)

    async def roll_back(self, row_id: str) -> None:
        await self.connection.execute(
            f"UPDATE {self.name} SET rolled_back_at = clock_timestamp() WHERE id = $1", row_id
        )


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[MigrationTable]:
    """The table to look at, with no lock taken. Raises Retry when the database cannot be asked."""
    async with session(url) as connection:
        yield MigrationTable(connection, schema_of(url))


@asynccontextmanager
async def locked(url: str, token: FencingToken) -> AsyncIterator[MigrationTable]:
    """The table to write to, under Prisma's lock and our fence.

    Raises Retry when somebody else migrates for longer than 10 s, Stale when a newer token was here.
    """
    async with session(url) as connection:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{_ADVISORY_LOCK_TIMEOUT_S:g}s'")
            try:
                await connection.execute(f"SELECT pg_advisory_lock({_ADVISORY_LOCK})")
            except asyncpg.LockNotAvailableError as error:
                raise Retry("somebody else is migrating this database: the advisory lock is taken") from error
        # Held by the session, so it ends with the connection, whatever happens to us.
        await _pass_fence(connection, token)
        yield MigrationTable(connection, schema_of(url))


async def _pass_fence(connection: Connection, token: FencingToken) -> None:
    async with connection.transaction():
        await connection.execute(
            "CREATE SCHEMA IF NOT EXISTS upgradepath;"
            "CREATE TABLE IF NOT EXISTS upgradepath.fence (fence bigint, generation bigint);"
            "CREATE TABLE IF NOT EXISTS upgradepath.attempt (id varchar(36) PRIMARY KEY);"
        )
        row = await connection.fetchrow("SELECT fence, generation FROM upgradepath.fence")
        if row is None:
            await connection.execute("INSERT INTO upgradepath.fence VALUES ($1, $2)", *token)
        elif tuple(row) > token:
            raise Stale(f"the database was passed by {tuple(row)}, which is newer than {token}")
        else:
            await connection.execute("UPDATE upgradepath.fence SET fence = $1, generation = $2", *token)


async def user_tables(connection: Connection) -> int:
    """How many tables of the user there are, Prisma's own and ours not counted."""
    count = await connection.fetchval(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p') AND c.relname <> '_prisma_migrations'"
        " AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'upgradepath')"
    )
    return int(count)
