"""Writing an empty table at once: rows first, what an index is made for afterwards."""

from collections.abc import Sequence
from typing import Any

# Foreign keys first: what they refer to must stand as long as they do.
_CONSTRAINTS = (
    "select conname, pg_get_constraintdef(oid) from pg_constraint"
    " where conrelid = $1::regclass and contype in ('p', 'u', 'f')"
    " order by array_position('{f,u,p}'::\"char\"[], contype), conname"
)
_INDEXES = (
    "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index i"
    " where indrelid = $1::regclass"
    " and not exists (select from pg_constraint where conindid = i.indexrelid and conrelid = i.indrelid)"
)


async def drop_indexes(connection: Any, table: str) -> list[str]:
    """Drop the table's keys and indexes; the statements that make them again.

    Only in a transaction: whoever fails before they are made again must leave the table as it was.
    """
    again: list[str] = []
    for name, definition in await connection.fetch(_CONSTRAINTS, table):
        await connection.execute(f'alter table {table} drop constraint "{name}"')
        again.insert(0, f'alter table {table} add constraint "{name}" {definition}')
    for name, definition in await connection.fetch(_INDEXES, table):
        await connection.execute(f"drop index {name}")
        again.append(definition)
    return again


async def keep_one(connection: Any, table: str, key: str, best: str) -> None:
    """Of the rows with the same key keep one, the first in the order of `best`: an event may come twice."""
    await connection.execute(
        f"with twice as materialized (select {key} from {table} group by {key} having count(*) > 1),"
        f" ranked as (select t.ctid as at, row_number() over (partition by {key} order by {best}) as place"
        f" from {table} t join twice using ({key}))"
        f" delete from {table} where ctid in (select at from ranked where place > 1)"
    )


async def copy_rows(
    connection: Any, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Add these rows by COPY."""
    if rows:
        await connection.copy_records_to_table(table, records=rows, columns=list(columns))
