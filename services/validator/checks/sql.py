"""A check that passes when a query's single value, as text, is the expected one."""

from typing import Any

import asyncpg

from services.validator.checks.context import Context, Seen
from shared.clients.database_urls import schema_of, server_url
from shared.clients.libpq import UnusableUrl
from shared.clients.postgres import connect
from shared.contracts.projects import SqlCheck
from shared.contracts.stages import Finding
from shared.errors import Retry, told
from shared.quoted_rows import words

_SHOWN_CHARACTERS = 500
_CONNECT_TIMEOUT_S = 10.0
# The server is going, coming or full, or the database is not there: nothing was found out.
_NOT_FOUND_OUT = (
    UnusableUrl,
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.DeadlockDetectedError,
)


async def run(check: SqlCheck, context: Context) -> Seen:
    """Ask staging's database, which cannot be changed by it.

    The value is PostgreSQL's own text of it; `null` when there is none. Raises `Retry` when the database
    cannot be asked.
    """
    try:
        connection = await connect(
            server_url(context.database_url),
            connect_within_s=_CONNECT_TIMEOUT_S,
            of_others=True,
            statement_cache_size=0,
            server_settings={
                "default_transaction_read_only": "on",
                "statement_timeout": str(max(1, round(check.deadline_s * 1000))),
                "search_path": '"' + schema_of(context.database_url).replace('"', '""') + '"',
                "application_name": "upgradepath",
            },
        )
        try:
            async with connection.transaction(readonly=True):
                return await _ask(check, connection)
        finally:
            # Whatever the query was doing ends with its connection.
            connection.terminate()
    except asyncpg.QueryCanceledError:
        return Seen("failed", f"was not done within its deadline of {check.deadline_s:g} s")
    except _NOT_FOUND_OUT as error:
        said = f"staging's database cannot be asked: {type(error).__name__}: {told(error)}"
        cure = "start its server, or let the validator reach it with the role of the secret; then retry"
        subject = "environments.staging.database"
        asked = Finding(kind="environment", subject=subject, detail=said, cure=cure)
        raise Retry(said, asked) from error
    except asyncpg.PostgresError as error:
        return Seen("failed", f"PostgreSQL refused the query: {words(error, check.query)}")


async def _ask(check: SqlCheck, connection: Any) -> Seen:
    query = check.query.strip().rstrip(";")
    # Prepared first as it stands: only a single statement with one column goes on into the other.
    columns = len((await connection.prepare(query)).get_attributes())
    if columns != 1:
        return Seen("failed", f"the query gives {columns} columns; a check compares a single value")
    # On a line of its own, the bracket cannot become part of a comment.
    # One character more than can count or be shown: a value may be as large as the server's memory.
    most = max(len(check.expect), _SHOWN_CHARACTERS) + 1
    rows = await connection.fetch(
        f"select left(value::text, {most}) as value from (\n{query}\n) as answer (value) limit 2"
    )
    if len(rows) != 1:
        return Seen("failed", f"the query gives {'no row' if not rows else 'several rows'}, expected one")
    value = rows[0]["value"]
    found = "null" if value is None else str(value)
    if found == check.expect:
        return Seen("passed", f"is {_shown(found)}")
    return Seen("failed", f"is {_shown(found)}, expected {_shown(check.expect)}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
