"""One table's rows, streamed from a query on one server into a table on another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

import asyncpg

from services.executor.clients.mask_plan import TablePlan
from services.executor.clients.postgres import TRANSIENT, Connection, words
from services.executor.domain.sqlstates import finding_of
from shared.contracts.stages import Finding
from shared.errors import Failure

_CHUNKS_AHEAD = 8
# Connections, resources, the operator, the system itself, and what should not happen.
_SERVER_AT_FAULT = frozenset({"08", "53", "57", "58", "F0", "XX"})
Result = TypeVar("Result")


async def together(work: Iterable[Awaitable[Result]]) -> list[Result]:
    """The result of each, in their order. The first error ends the others, and is raised when they have."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        # Those that are left might wait for the one that broke for ever.
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION) if tasks else ((), ())
        for task in done:
            task.result()
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def copy_table(
    source: Connection, target: Connection, plan: TablePlan, moved: Callable[[int], None]
) -> int:
    """How many rows there were; memory stays at a few chunks. `moved` is told the bytes of each chunk.

    Raises Failure when the masked rows do not fit the table, or production's role may not read it.
    """
    if not plan.columns:
        return 0
    chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_CHUNKS_AHEAD)

    async def read() -> str:
        said: str = await source.copy_from_query(plan.query, output=chunks.put, format=plan.format)
        await chunks.put(None)
        return said

    async def arriving() -> AsyncIterator[bytes]:
        while (chunk := await chunks.get()) is not None:
            moved(len(chunk))
            yield chunk

    async def write() -> str:
        said: str = await target.copy_to_table(
            plan.table,
            schema_name=plan.schema,
            columns=list(plan.columns),
            source=arriving(),
            format=plan.format,
        )
        return said

    try:
        _, written = await together((read(), write()))
    except asyncpg.InsufficientPrivilegeError as error:
        raise Failure(
            f"production's role may not read {plan.label}",
            Finding(
                kind="environment",
                subject="environments.production.database",
                detail=words(error),
                cure=f"let the role read it: GRANT SELECT ON {plan.label} TO <the production role>;"
                " where row security hides rows from it, ALTER ROLE … BYPASSRLS",
            ),
        ) from error
    except asyncpg.PostgresError as error:
        if not is_verdict(error):
            raise
        if isinstance(error, asyncpg.FeatureNotSupportedError):
            raise _row_security(plan, error) from error
        raise misfit(plan.label, error) from error
    return int(written.split()[-1])


def is_verdict(error: asyncpg.PostgresError) -> bool:
    """The rows or the Project's own rules are at fault, so its maintainer is asked and nothing is retried.

    Source of the classes: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    return not isinstance(error, TRANSIENT) and (error.sqlstate or "XX")[:2] not in _SERVER_AT_FAULT


def _row_security(plan: TablePlan, error: asyncpg.PostgresError) -> Failure:
    return Failure(
        f"staging's role may not load {plan.label}",
        Finding(
            kind="environment",
            subject="environments.staging.database",
            detail=words(error),
            cure=f"let the staging role own {plan.label}, or as a superuser:"
            " ALTER ROLE <the staging role> BYPASSRLS",
        ),
    )


def misfit(subject: str, error: asyncpg.PostgresError) -> Failure:
    """The verdict when a masked row breaks a constraint or a type, or the database refuses it otherwise."""
    found = finding_of(error.sqlstate, "mask", subject, words(error))
    if found.kind == "project-file":
        return Failure(f"the masked rows of {subject} do not fit the table", found)
    return Failure(f"staging's database refuses the rows of {subject}: {words(error)}", found)
