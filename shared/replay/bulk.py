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

HELD_BYTES_MAX = 16 * 1024 * 1024
"""Of one table's rows, in memory: the database writes them while the next are read."""

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

    Everything is copied into the table, which is empty and has no index yet: of the few keys that were
    written more than once the newest row is kept at the end, when the indexes are made. `best` says which
    one that is, as for `make_indexes`; `row` makes a row of what is held.
    """

    def __init__(
        self,
        table: str,
        columns: Sequence[str],
        key: str,
        best: str,
        row: Callable[[K, int, V], Sequence[Any]],
    ) -> None:
        self._table, self._columns, self._key, self._best = table, columns, key, best
        self._row = row
        self._held: dict[K, tuple[int, V, int]] = {}
        self.bytes_ = 0
        """Of what is held, as far as it was told."""

    def hold(self, key: K, revision: int, value: V, size: int) -> None:
        """Keep it unless something newer is held."""
        before = self._held.get(key)
        if before is None or before[0] <= revision:
            self._held[key] = (revision, value, size)
            self.bytes_ += size - (0 if before is None else before[2])

    @property
    def is_full(self) -> bool:
        """So much is held that it is time to write."""
        return self.bytes_ > HELD_BYTES_MAX

    async def write(self, connection: Any) -> None:
        """Write what is held, and hold it no longer."""
        rows = [self._row(key, revision, value) for key, (revision, value, _) in self._held.items()]
        self._held, self.bytes_ = {}, 0
        await copy_rows(connection, self._table, self._columns, rows)

    async def settle(self, connection: Any, indexes: Sequence[str]) -> None:
        """Write the rest, and make the indexes, of which one is unique by the key: there was none so far."""
        await self.write(connection)
        await make_indexes(connection, self._table, indexes, self._key, self._best)


async def _keep_one(connection: Any, table: str, key: str, best: str) -> None:
    await connection.execute(
        f"with twice as materialized (select {key} from {table} group by {key} having count(*) > 1),"
        f" ranked as (select t.ctid as at, row_number() over (partition by {key} order by {best}) as place"
        f" from {table} t join twice using ({key}))"
        f" delete from {table} where ctid in (select at from ranked where place > 1)"
    )
