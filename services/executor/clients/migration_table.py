"""Prisma's table `_prisma_migrations` and its lock, and our own fence beside them.

Prisma takes the same advisory lock, so `prisma migrate deploy` and a Run exclude each other. The fence lies
in the schema `upgradepath`, out of Prisma's sight: a worker superseded while it slept is turned away.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from services.executor.clients.postgres import Connection, literal, quoted, session
from shared.clients.database_urls import place, schema_of
from shared.errors import Retry, Stale

_ADVISORY_LOCK = 72707369
_GUARD_LOCK = 4_711_004
_FENCE_LOCK = 4_711_005
_ADVISORY_LOCK_TIMEOUT_S = 10.0
# Who asks for a table's lock makes all others wait behind it: ask shortly, and again.
_LOCK_TIMEOUT_S = 1.0
# A killed worker's statement must not go on for hours with nobody there to see its end.
_NOTICE_A_DEAD_WORKER = "SET client_connection_check_interval = '1s'"
# A role's own deadlines would end the session that holds the locks while another program works.
NO_OTHER_DEADLINES = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE setting <> '0' AND name IN"
    " ('idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"
)
_AS_CONNECTED = f"RESET SESSION AUTHORIZATION; RESET ALL; {NO_OTHER_DEADLINES}"
_OUR_TABLES = """
    CREATE SCHEMA IF NOT EXISTS upgradepath;
    CREATE TABLE IF NOT EXISTS upgradepath.fence (fence bigint, generation bigint);
    CREATE TABLE IF NOT EXISTS upgradepath.attempt (
        id varchar(36) PRIMARY KEY,
        parts integer NOT NULL DEFAULT 0,
        found boolean NOT NULL DEFAULT false
    );
    CREATE TABLE IF NOT EXISTS upgradepath.failure (
        migration_name text NOT NULL,
        checksum varchar(64) NOT NULL,
        failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        logs text NOT NULL
    );
    CREATE TABLE IF NOT EXISTS upgradepath.wrote (
        migration_name text NOT NULL,
        transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
        alone boolean NOT NULL
    );
"""

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
    """We began it, as something that is not one transaction; `parts` and `found` are of such rows only."""
    parts: int
    """How many of the script's own transactions are committed."""
    found: bool
    """The index that the script builds was there before it began."""

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

    def __init__(
        self, connection: Connection, schema: str, database: str, as_connected: str = _AS_CONNECTED
    ) -> None:
        self.connection = connection
        self.schema = schema
        self.name = quoted(schema, "_prisma_migrations")
        self._as_connected = as_connected
        self.database = database

    async def is_there(self) -> bool:
        return bool(await self.connection.fetchval("SELECT to_regclass($1) IS NOT NULL", self.name))

    async def create(self) -> None:
        """Makes the table as Prisma makes it, unless it is there."""
        if await self.is_there():
            return
        if self.schema != "public":
            await self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema)}")
        await self.connection.execute(
            f"""
            CREATE TABLE {self.name} (
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
        attempt = "upgradepath.attempt" if known else "(SELECT '' AS id, 0 AS parts, false AS found)"
        records = await self.connection.fetch(
            f"SELECT m.id, migration_name AS name, checksum, started_at, finished_at, rolled_back_at, logs,"
            f" a.id IS NOT NULL AS ours, coalesce(a.parts, 0) AS parts, coalesce(a.found, false) AS found"
            f" FROM {self.name} m LEFT JOIN {attempt} a USING (id) ORDER BY started_at, migration_name"
        )
        return [Row(**dict(record)) for record in records]

    def recording(self, row_id: str, folder: str, checksum: str) -> str:
        """What ends a script that is one transaction: script and row become true in one commit."""
        # now() is when the transaction began, which is when the script did.
        return (
            f"{self._as_connected};"
            f" INSERT INTO {self.name} (id, checksum, migration_name, started_at, finished_at,"
            f" applied_steps_count) VALUES ('{row_id}', '{checksum}', {literal(folder)}, now(),"
            " clock_timestamp(), 1)"
        )

    async def start(self, row_id: str, folder: str, checksum: str, *, found: bool) -> None:
        """Begin what is outside a transaction; a crash leaves the row."""
        # Not waited for on the disk: what follows is, and is never there without this.
        beginning = self.beginning(row_id, folder, checksum, found=found)
        await self.connection.execute(f"SET LOCAL synchronous_commit = off; {beginning}")

    def beginning(
        self, row_id: str, folder: str, checksum: str, *, found: bool = False, parts: int = 0
    ) -> str:
        """What begins a row that says how far it came; it may end the first of a script's transactions."""
        return (
            f"INSERT INTO upgradepath.attempt (id, parts, found) VALUES ('{row_id}', {parts}, {found});"
            f" INSERT INTO {self.name} (id, checksum, migration_name, started_at)"
            f" VALUES ('{row_id}', '{checksum}', {literal(folder)}, now())"
        )

    def progress(self, row_id: str, parts: int) -> str:
        """What ends a script's own transactions between the first and the last."""
        return f"UPDATE upgradepath.attempt SET parts = {parts} WHERE id = '{row_id}'"

    def finishing(self, row_id: str) -> str:
        """What ends the last of a script's own transactions."""
        return (
            f"{self._as_connected};"
            f" UPDATE {self.name} SET finished_at = clock_timestamp(),"
            f" applied_steps_count = applied_steps_count + 1 WHERE id = '{row_id}'"
        )

    def noting(self, folder: str, *, alone: bool = False) -> str:
        """What notes the transaction as the upgrade's own; `alone`: the script ends some by itself."""
        return f"INSERT INTO upgradepath.wrote (migration_name, alone) VALUES ({literal(folder)}, {alone})"

    async def settle_session(self) -> None:
        """After an error: no transaction, and the settings as they were, whatever the script did to them."""
        await self.connection.execute(f"ROLLBACK; {self._as_connected}")

    async def fail(self, row_id: str, logs: str) -> None:
        """Leave the row as Prisma leaves a failed one (P3009): something of the script was kept."""
        await self.connection.execute(f"UPDATE {self.name} SET logs = $2 WHERE id = $1", row_id, logs)

    async def forget(self, row_id: str) -> None:
        """Nothing of the script is there, and no row: Prisma diagnoses even those marked rolled back."""
        await self.connection.execute(f"DELETE FROM {self.name} WHERE id = '{row_id}'")

    async def roll_back(self, row_id: str) -> None:
        await self.connection.execute(
            f"UPDATE {self.name} SET rolled_back_at = clock_timestamp() WHERE id = $1", row_id
        )

    async def keep_log(self, folder: str, checksum: str, logs: str) -> None:
        """The whole of an error stays in the database whose rows it may quote."""
        await self.connection.execute(
            "INSERT INTO upgradepath.failure (migration_name, checksum, logs) VALUES ($1, $2, $3)",
            folder,
            checksum,
            logs,
        )

    async def user_tables(self) -> int:
        """How many tables the user has in this schema, as Prisma counts them (P3005)."""
        count = await self.connection.fetchval(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND c.relname <> '_prisma_migrations' AND n.nspname = $1"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass"
            " AND d.objid = c.oid AND d.deptype = 'e')",
            self.schema,
        )
        return int(count)


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[MigrationTable]:
    """The table to look at, with no lock taken. Raises Retry when the database cannot be asked."""
    async with session(url) as connection:
        yield MigrationTable(connection, schema_of(url), place(url))


async def keep_output(url: str, subject: str, commit: str, text: str) -> bool:
    """Keep in a database what was printed about its rows; whether that could be done.

    It cannot where we have never written: nothing is made for it.
    """
    try:
        async with reading(url) as table:
            await table.keep_log(subject, commit, text.replace("\0", ""))
    except (Retry, asyncpg.UndefinedTableError):
        return False
    return True


@asynccontextmanager
async def locked(url: str, token: FencingToken) -> AsyncIterator[MigrationTable]:
    """The table to write to, under Prisma's lock and our fence.

    Raises Retry when somebody else migrates for longer than 10 s, Stale when a newer token was here.
    """
    async with session(url, lock_timeout_s=_LOCK_TIMEOUT_S) as connection:
        taken = "somebody else is migrating this database: the advisory lock is taken"
        await connection.execute(NO_OTHER_DEADLINES)
        await _take(connection, _ADVISORY_LOCK, taken)
        await _pass_fence(connection, token)
        yield MigrationTable(connection, schema_of(url), place(url), await _as_connected(connection))


async def _as_connected(connection: Connection) -> str:
    """What brings a session back to how we want it, between two scripts."""
    try:
        await connection.execute(_NOTICE_A_DEAD_WORKER)
    except asyncpg.PostgresError:
        # Before PostgreSQL 14, or on a system that cannot tell: the statement ends by itself.
        return _AS_CONNECTED
    return f"{_AS_CONNECTED}; {_NOTICE_A_DEAD_WORKER}"


@asynccontextmanager
async def guarded(url: str, token: FencingToken) -> AsyncIterator[None]:
    """For what is not in the database: no older token begins it, and no newer one passes while it goes on.

    Raises Retry when an older one goes on for longer than 10 s, Stale when a newer token was here.
    """
    async with session(url) as connection:
        await connection.execute(NO_OTHER_DEADLINES)
        # Not Prisma's: what is activated may migrate by itself.
        await _take(connection, _GUARD_LOCK, "somebody else is activating: the advisory lock is taken")
        await _pass_fence(connection, token)
        yield


async def _take(connection: Connection, lock: int, taken: str) -> None:
    """Hold an advisory lock until the session ends, whatever happens to us. Raises Retry with `taken`."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_ADVISORY_LOCK_TIMEOUT_S:g}s'")
        try:
            await connection.execute(f"SELECT pg_advisory_lock({lock})")
        except asyncpg.LockNotAvailableError as error:
            raise Retry(taken) from error


async def _pass_fence(connection: Connection, token: FencingToken) -> None:
    async with connection.transaction():
        # Who migrates and who activates pass it too, one after the other.
        await connection.execute(f"SELECT pg_advisory_xact_lock({_FENCE_LOCK})")
        # Asked first, as IF NOT EXISTS wants the right to create also where there is nothing to create.
        if not await connection.fetchval("SELECT to_regclass('upgradepath.wrote') IS NOT NULL"):
            await connection.execute(_OUR_TABLES)
        row = await connection.fetchrow("SELECT fence, generation FROM upgradepath.fence")
        if row is None:
            await connection.execute("INSERT INTO upgradepath.fence VALUES ($1, $2)", *token)
        elif tuple(row) > token:
            raise Stale(f"the database was passed by {tuple(row)}, which is newer than {token}")
        else:
            await connection.execute("UPDATE upgradepath.fence SET fence = $1, generation = $2", *token)
