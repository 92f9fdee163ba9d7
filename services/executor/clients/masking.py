"""Copy production's rows into staging, with every personal column masked on its way out of production.

The masking is done by production's SELECT inside a read-only snapshot: real data never lands in staging.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg

from services.executor.clients.mask_plan import TablePlan, plan_copy
from services.executor.clients.postgres import Connection, quoted, session, words
from services.executor.clients.prisma import Model
from shared.clients.database_urls import place
from shared.contracts.stages import Finding
from shared.errors import Failure

_CHUNKS_AHEAD = 8


@dataclass(frozen=True)
class Copied:
    """Rows per table (with its schema unless that is `public`) and how many columns were masked."""

    rows: dict[str, int]
    masked_columns: int


async def masked_copy(production: str, staging: str, models: Sequence[Model]) -> Copied:
    """Fill staging, whose schema is there already, with production's rows as of one moment.

    Values that were equal stay equal within the copy, so joins hold; no two copies give the same values.
    Raises Failure, naming each field and its cure, before a row is read when a text column has no rule, a
    rule does not fit, or production has a column that no schema file knows.
    """
    salt = secrets.token_hex(16)
    async with (
        session(production, statement_timeout_s=0) as source,
        source.transaction(isolation="repeatable_read", readonly=True),
    ):
        plans = await plan_copy(source, models, salt)
        async with session(staging, statement_timeout_s=0) as target:
            await _open_for_copy(target, staging)
            await _empty(target, plans)
            rows = {plan.label: await _copy(source, target, plan) for plan in plans}
            await _set_sequences(source, target)
            await _refresh_views(target)
    return Copied(rows, sum(plan.masked for plan in plans))


async def _open_for_copy(target: Connection, staging: str) -> None:
    try:
        # Triggers and foreign keys held for these rows in production; the order of tables is then free.
        await target.execute("SET session_replication_role = replica")
    except asyncpg.InsufficientPrivilegeError as error:
        raise Failure(
            "staging's role may not load rows without firing triggers",
            Finding(
                kind="environment",
                subject="environments.staging.database",
                detail=f"{place(staging)}: {error}",
                cure="as a superuser: GRANT SET ON PARAMETER session_replication_role TO <the staging role>",
            ),
        ) from error


async def _empty(target: Connection, plans: Sequence[TablePlan]) -> None:
    # Migrations may have put rows there; production's are the ones that count.
    if plans:
        await target.execute(f"TRUNCATE {', '.join(quoted(plan.schema, plan.table) for plan in plans)}")


async def _copy(source: Connection, target: Connection, plan: TablePlan) -> int:
    """Stream one table; memory stays at a few chunks whatever its size."""
    if not plan.columns:
        return 0
    chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_CHUNKS_AHEAD)

    async def read() -> None:
        await source.copy_from_query(plan.query, output=chunks.put, format=plan.format)
        await chunks.put(None)

    async def arriving() -> AsyncIterator[bytes]:
        while (chunk := await chunks.get()) is not None:
            yield chunk

    reading = asyncio.create_task(read())
    writing = asyncio.create_task(
        target.copy_to_table(
            plan.table,
            schema_name=plan.schema,
            columns=list(plan.columns),
            source=arriving(),
            format=plan.format,
        )
    )
    try:
        # The first error decides: the side that is left would wait for the other for ever.
        await asyncio.wait((reading, writing), return_when=asyncio.FIRST_EXCEPTION)
        for task in (writing, reading):
            if task.done():
                task.result()
        return int(writing.result().split()[-1])
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError) as error:
        raise Failure(
            f"the masked rows of {plan.label} do not fit the table",
            Finding(
                kind="project-file",
                subject=plan.label,
                detail=words(error),
                cure="give the column another mask rule; a column of few values wants `keep` or `null`",
            ),
        ) from error
    finally:
        for task in (reading, writing):
            task.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


async def _set_sequences(source: Connection, target: Connection) -> None:
    found = await source.fetch(
        "SELECT schemaname, sequencename, last_value FROM pg_sequences"
        " WHERE schemaname !~ '^pg_' AND schemaname NOT IN ('information_schema', 'upgradepath')"
        " AND last_value IS NOT NULL"
    )
    for schema, name, value in found:
        await target.execute("SELECT setval($1::text::regclass, $2)", quoted(schema, name), value)


async def _refresh_views(target: Connection) -> None:
    for schema, name in await target.fetch("SELECT schemaname, matviewname FROM pg_matviews"):
        await target.execute(f"REFRESH MATERIALIZED VIEW {quoted(schema, name)}")
