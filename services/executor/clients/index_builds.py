"""Indexes built or dropped outside a transaction, which a crash leaves half made."""

from typing import Literal

from services.executor.clients.postgres import Connection
from shared.sql.script import IndexBuild

# An index lies in the schema of its table, whatever the path says.
_INDEX = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name, i.indisvalid AS valid
    FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass($1) OR (c.relname = $2::text::name
        AND c.relnamespace = (SELECT t.relnamespace FROM pg_class t WHERE t.oid = to_regclass($3)))
"""


async def state(connection: Connection, build: IndexBuild) -> Literal["none", "half", "whole"]:
    """What there is of the index: half of one is not valid, as an interrupted build or drop leaves it."""
    found = await _find(connection, build)
    return "none" if found is None else "whole" if found[1] else "half"


async def is_done(connection: Connection, build: IndexBuild) -> bool:
    """Whether the index that is wanted is there and valid, or the one that is to go is gone."""
    found = await _find(connection, build)
    return found is None if not build.creates else found is not None and found[1]


async def drop_invalid(connection: Connection, build: IndexBuild) -> None:
    """Drop what an interrupted build or drop left: an index never used and always written."""
    found = await _find(connection, build)
    if found is not None and not found[1]:
        await connection.execute(f"DROP INDEX CONCURRENTLY {found[0]}")


async def settle(connection: Connection, build: IndexBuild, *, found: bool) -> bool:
    """After a crash: take away what is half made; whether the whole was done.

    `found` says whether the index was there before, whole if it was to be built: that is not our doing.
    """
    await drop_invalid(connection, build)
    return found is not build.creates and await is_done(connection, build)


async def _find(connection: Connection, build: IndexBuild) -> tuple[str, bool] | None:
    if build.index is None:
        return None
    if build.table is None:
        row = await connection.fetchrow(_INDEX, build.index, None, None)
    else:
        row = await connection.fetchrow(_INDEX, None, build.index, build.table)
    return None if row is None else (row["name"], row["valid"])
