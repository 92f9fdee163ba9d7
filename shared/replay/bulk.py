"""Writing an empty table at once: rows first, what an index is made for afterwards."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import asyncpg

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

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


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


async def make_indexes(connection: Any, table: str, again: Sequence[str], key: str, best: str) -> None:
    """Make them again. If an event has come twice, of the rows with the same key one is kept first.

    That is the first in the order of `best`. It is seldom needed, and to look for it costs as much as a key.
    """
    try:
        async with connection.transaction():
            for statement in again:
                await connection.execute(statement)
    except asyncpg.UniqueViolationError:
        await _keep_one(connection, table, key, best)
        for statement in again:
            await connection.execute(statement)


async def copy_rows(
    connection: Any, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Add these rows by COPY."""
    if rows:
        await connection.copy_records_to_table(table, records=rows, columns=list(columns))


async def upsert(
    connection: Any, table: str, columns: dict[str, str], rows: Sequence[Sequence[Any]], key: str, newer: str
) -> None:
    """Write rows of which each key's newest stands: `newer` compares `t` (there) with `excluded`.

    `columns` are names with their PostgreSQL types; no key may come twice.
    """
    if not rows:
        return
    names = ", ".join(columns)
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), 1))
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    await connection.execute(
        f"insert into {table} as t ({names}) select * from unnest({arrays})"
        f" on conflict ({key}) do update set {changes} where {newer}",
        *(list(column) for column in zip(*rows, strict=True)),
    )


class Newest(Generic[K, V]):
    """Of each key the newest row of one table, held in memory until there are many, or until the end.

    What is written first is copied into the table, which is empty; what comes later is compared with what is
    there. `columns`, `key` and `newer` are as for `upsert`; `row` makes a row of what is held.
    """

    def __init__(
        self,
        table: str,
        columns: dict[str, str],
        key: str,
        newer: str,
        row: Callable[[K, int, V], Sequence[Any]],
    ) -> None:
        self._table, self._columns, self._key, self._newer = table, columns, key, newer
        self._row = row
        self._held: dict[K, tuple[int, V, int]] = {}
        self._written = False
        self.bytes_ = 0
        """Of what is held, as far as it was told."""

    def hold(self, key: K, revision: int, value: V, size: int) -> None:
        """Keep it unless something newer is held."""
        before = self._held.get(key)
        if before is None or before[0] <= revision:
            self._held[key] = (revision, value, size)
            self.bytes_ += size - (0 if before is None else before[2])

    async def write(self, connection: Any) -> None:
        """Write what is held, and hold it no longer."""
        rows = [self._row(key, revision, value) for key, (revision, value, _) in self._held.items()]
        self._held, self.bytes_ = {}, 0
        if not self._written:
            await copy_rows(connection, self._table, list(self._columns), rows)
        else:
            await upsert(connection, self._table, self._columns, rows, self._key, self._newer)
        self._written = True


async def _keep_one(connection: Any, table: str, key: str, best: str) -> None:
    await connection.execute(
        f"with twice as materialized (select {key} from {table} group by {key} having count(*) > 1),"
        f" ranked as (select t.ctid as at, row_number() over (partition by {key} order by {best}) as place"
        f" from {table} t join twice using ({key}))"
        f" delete from {table} where ctid in (select at from ranked where place > 1)"
    )
