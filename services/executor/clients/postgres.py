"""Projects' databases, which are not ours: plain asyncpg, short locks, and errors that say what to do.

A URL may carry Prisma's own parameters (`?schema=…`, `connection_limit=…`); PostgreSQL knows none of them.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

from services.executor.clients import catalogue_rows
from services.executor.clients.catalogue import NOT_OURS, without
from services.executor.clients.pooler import is_poolers, pooled, refuse_declared_pooler, refuse_pooler
from services.executor.domain.descriptions import structure
from services.executor.domain.sqlstates import finding_of
from services.executor.domain.whose import Whose
from shared.clients.database_urls import place, schema_of, server_url, with_database
from shared.clients.databases import make_database, remove_database
from shared.clients.libpq import UnusableUrl
from shared.clients.postgres import connect
from shared.crash_points import around
from shared.errors import Retry, told
from shared.quoted_rows import forget_rows
from shared.quoted_rows import words as words
from shared.sql.bounds import is_empty
from shared.sql.names import literal as literal
from shared.sql.names import quoted as quoted

Connection: TypeAlias = Any
"""An asyncpg connection; asyncpg has no types of its own to name."""

PLAIN = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "xmloption": "content",
}
"""How values and definitions are written where one session's text is read by another, or compared with it.

A role or a database may have other settings. They stand where a script runs and where rows are asked what it
would do: it must mean what it means to `prisma migrate deploy`, which pins the search path alone, as we do.
(Deadlines are ours, and change nothing that it does.) `preflight` refuses settings by which the server would
read a script otherwise than we, or leave its rules out.
"""
LOCK_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 600.0
CONNECT_TIMEOUT_S = 10.0
# Somebody else holds what we need.
LOCKED = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.ObjectInUseError,
)
# Somebody else holds something, or the server is going, coming or full: the same again may succeed.
TRANSIENT = (
    ConnectionError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.TargetServerAttributeNotMatched,
    *LOCKED,
    asyncpg.QueryCanceledError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


_SET_LOCALLY = "SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS s (name, value)"


def not_now(what: str, url: str, error: BaseException) -> Retry:
    """The Project's database cannot be asked now; who keeps it is asked when that does not pass."""
    late = isinstance(error, TimeoutError) and not str(error)
    said = f"no answer within {CONNECT_TIMEOUT_S:g} s" if late else told(error)
    reason = f"{what} {place(url)}: {said}"
    return Retry(reason, finding_of(sqlstate_of(error), "probe", f"database {place(url)}", reason))


def sqlstate_of(error: BaseException) -> str:
    """An error's SQLSTATE; what never reached a server is a connection that failed."""
    return getattr(error, "sqlstate", None) or "08006"


@asynccontextmanager
async def session(
    url: str,
    *,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    plain: bool = False,
) -> AsyncIterator[Connection]:
    """A connection with deadlines on locks and statements (0 means none); `plain` writes values as `PLAIN`.

    Raises Retry for what may pass: an unreachable server, a lock that others hold, a deadlock; Failure when a
    pooler answers. The database's other errors come through as asyncpg's, with nothing left in them that can
    be a value of a row.
    """
    refuse_declared_pooler(url)
    try:
        connection = await connect(
            server_url(url),
            connect_within_s=CONNECT_TIMEOUT_S,
            of_others=True,
            # One session works through changing schemas, so a cached plan would be a wrong one.
            statement_cache_size=0,
            server_settings={
                "lock_timeout": str(round(lock_timeout_s * 1000)),
                "statement_timeout": str(round(statement_timeout_s * 1000)),
                "search_path": quoted(schema_of(url)),
                "application_name": "upgradepath",
                "tcp_keepalives_idle": "60",  # what stands between may cut a session that is silent
                **(PLAIN if plain else {}),
            },
        )
    except asyncpg.PostgresError as error:
        if is_poolers(error):
            raise pooled(url) from error
        if isinstance(error, TRANSIENT):
            raise not_now("cannot reach the database", url, error) from error
        error.upgradepath_at = place(url)
        raise
    except (*TRANSIENT, OSError, UnusableUrl) as error:
        raise not_now("cannot reach the database", url, error) from error
    try:
        await refuse_pooler(connection, url)
        yield connection
    except BaseException as error:
        forget_rows(error)
        each: BaseException | None = error
        while each is not None:
            if isinstance(each, asyncpg.PostgresError):
                each.upgradepath_at = getattr(each, "upgradepath_at", place(url))
            each = each.__cause__ or each.__context__
        if isinstance(error, TRANSIENT):
            raise not_now("not now, says the database", url, error) from error
        raise
    finally:
        await _close(connection)


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=5)
    except (*TRANSIENT, OSError):
        connection.terminate()


async def execute_script(connection: Connection, sql: str) -> None:
    """Run a script as one simple query; one of comments alone does nothing."""
    # asyncpg fails on the server's answer that there was nothing to run.
    if not await asyncio.to_thread(is_empty, sql):
        await connection.execute(sql)


async def schema_description(url: str, whose: Whose | None = None) -> tuple[str, ...]:
    """What there is in the user's schemas as sorted lines: the same for the same schema, however it was made.

    `domain.descriptions` tells the two kinds of lines apart. Left out are rows, the order of a table's
    columns, the schema `upgradepath` and the table `_prisma_migrations`, and with `whose` all that is the
    hosting's. Raises Retry when the database cannot be asked.
    """
    async with session(url) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        return await described(connection, whose)


async def described(connection: Connection, whose: Whose | None = None) -> tuple[str, ...]:
    """The same over a connection of the caller's, inside its transaction if there is one."""
    foreign = await foreign_schemas(connection, whose) if whose else ()
    async with names_qualified(connection):
        queries = await catalogue_rows.queries_of(connection)
        found = [await connection.fetch(without(query, foreign)) for query in queries]
    lines = tuple(sorted({row["line"] for rows in found for row in rows}))
    return whose.ours(lines) if whose else lines


async def foreign_schemas(connection: Connection, whose: Whose) -> tuple[str, ...]:
    """The schemas there that are the hosting's."""
    found = await connection.fetch(f"SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE {NOT_OURS}")
    return tuple(sorted(name for (name,) in found if not whose.is_ours("schema", name)))


@asynccontextmanager
async def names_qualified(connection: Connection) -> AsyncIterator[None]:
    """The server qualifies every name that it prints meanwhile, and prints as `PLAIN` says.

    Neither the role's own path nor its other settings are seen in a description.
    """
    meanwhile = {"search_path": "", **PLAIN}
    async with connection.transaction():
        was = await connection.fetch(
            "SELECT name, current_setting(name) FROM unnest($1::text[]) AS name", list(meanwhile)
        )
        await connection.execute(_SET_LOCALLY, list(meanwhile), list(meanwhile.values()))
        yield
        # An outer transaction keeps what was set in this one.
        await connection.execute(_SET_LOCALLY, list(dict(was)), list(dict(was).values()))


async def schema_digest(url: str, whose: Whose | None = None) -> str:
    """The description's digest."""
    return description_digest(await schema_description(url, whose))


async def schema_is(url: str, digest: str, whose: Whose | None = None) -> bool:
    """Whether a digest, of this version of ours or an earlier one, is still the schema's."""
    if digest == await schema_digest(url, whose):
        return True
    lines = await schema_description(url)
    return digest in (description_digest(lines), description_digest(structure(lines)))


def description_digest(lines: tuple[str, ...]) -> str:
    """The sha256, in hexadecimal, of a description."""
    return hashlib.sha256("\0".join(lines).encode()).hexdigest()


async def server_version(url: str) -> int:
    """The server's major version."""
    async with session(url) as connection:
        return int(await connection.fetchval("SHOW server_version_num")) // 10000


async def create_database(admin_url: str, name: str) -> None:
    """Makes an empty database there, for its owner alone. Raises asyncpg's DuplicateDatabaseError."""
    async with _on_server(admin_url) as connection, around("create-database"):
        await make_database(connection, name)


async def drop_database(admin_url: str, name: str) -> bool:
    """Drops a database, ending its sessions; says whether it was there. Safe to repeat."""
    async with _on_server(admin_url) as connection:
        there = await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name)
        if there:
            async with around("drop-database"):
                await remove_database(connection, name)
        return bool(there)


@asynccontextmanager
async def _on_server(url: str) -> AsyncIterator[Connection]:
    """A session on the URL's server: the URL's own database need not exist yet."""
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(session(url))
        except asyncpg.InvalidCatalogNameError:
            connection = await stack.enter_async_context(session(with_database(url, "postgres")))
        yield connection


async def server_of(url: str) -> str:
    """A URL on the same server that can be connected to."""
    async with _on_server(url) as connection:
        return with_database(url, await connection.fetchval("SELECT current_database()"))
