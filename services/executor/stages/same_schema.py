"""Two databases whose schemas must be the same, on servers that may be of two major versions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import asyncpg

from services.executor.clients.postgres import Connection, schema_description, server_version, session
from services.executor.domain.descriptions import differences, structure
from services.executor.domain.whose import Whose
from shared.contracts.stages import Finding
from shared.errors import Failure

_DIFFERENCES_SHOWN = 20
# From the first space on behind which a query begins: whatever stands before it, each is looked at once.
_QUERY = re.compile(r"(?<!\s) (?=\s*+(?:SELECT|WITH)\b)")
_VIEWS = ("view ", "materialized view ")


@dataclass(frozen=True)
class Verdict:
    """What a failure says when two schemas are not the same; `names` mark whose a line is."""

    reason: str
    kind: Literal["drift", "migration"]
    cure: str
    names: tuple[str, str] = ("-", "+")


async def require_same_schema(one: str, other: str, verdict: Verdict, whose: Whose | None = None) -> None:
    """Raise Failure with the lines of the structure that differ, but for those of the hosting.

    Owners, rights and the like are each database's own: a server's roles are not another's.
    """
    lines = await unlike(one, other, verdict.names, whose)
    if not lines:
        return
    shown = "\n".join(lines[:_DIFFERENCES_SHOWN])
    more = f"\n… and {len(lines) - _DIFFERENCES_SHOWN} more" if len(lines) > _DIFFERENCES_SHOWN else ""
    finding = Finding(kind=verdict.kind, subject="schema", detail=shown + more, cure=verdict.cure)
    raise Failure(verdict.reason, finding)


async def unlike(
    one: str, other: str, names: tuple[str, str] = ("-", "+"), whose: Whose | None = None
) -> tuple[str, ...]:
    """The lines in which the structures of two databases differ; of views both are brought to one form.

    Where lines are left and the servers are of two major versions, which write the same differently, the
    first line says so.
    """
    first, second = [structure(await schema_description(each, whose)) for each in (one, other)]
    if first == second:
        return ()
    versions = await server_version(one), await server_version(other)
    if versions[0] == versions[1]:
        return differences(first, second, names)
    async with session(one) as connection:
        first, second = [await _in_one_form(connection, lines, first, second) for lines in (first, second)]
    lines = differences(first, second, names)
    if not lines:
        return ()
    told = (
        f"{names[0]} is on PostgreSQL {versions[0]}, {names[1]} on PostgreSQL {versions[1]}, and they may"
        " write the same differently: give staging a server of production's major version"
    )
    return told, *lines


async def _in_one_form(
    connection: Connection, lines: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> tuple[str, ...]:
    """The lines, with each view that only one of the two has as this connection's server writes it."""
    common = set(first) & set(second)
    return tuple([line if line in common else await _rewritten(connection, line) for line in lines])


async def _rewritten(connection: Connection, line: str) -> str:
    space = _QUERY.search(line) if line.startswith(_VIEWS) else None
    if space is None:
        return line
    called, asked = line[: space.start()], line[space.end() :]
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET LOCAL search_path = ''")
        await connection.execute(f"CREATE TEMP VIEW upgradepath_one_form AS {asked}")
        query = await connection.fetchval("SELECT pg_get_viewdef('pg_temp.upgradepath_one_form'::regclass)")
    except asyncpg.PostgresError:
        # It stands on what only the other database has: then it differs for that reason.
        return line
    finally:
        await transaction.rollback()
    return f"{called} {query}"
