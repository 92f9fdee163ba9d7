"""Is a row lost? Counted before and after, inside the transaction that would lose it."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.executor.clients.postgres import Connection, quoted

_YIELD_MS = 300
"""Below PostgreSQL's deadlock_timeout, which is a second."""

Tables = Mapping[tuple[str, str], frozenset[str]]
"""(schema, table) to its columns: what was there before the Run and must be whole after it is undone."""


@dataclass(frozen=True)
class Counts:
    """Rows per table and values per column; only of tables and columns that exist."""

    rows: dict[str, int]
    values: dict[str, int]


async def freeze(connection: Connection, kept: Tables) -> None:
    """Keep others from writing to these tables until the transaction ends, so that counts compare.

    Whoever writes to several of them may hold one that we want and want one that we hold. We then give up
    (LockNotAvailableError) before PostgreSQL looks for a deadlock and ends a customer's transaction instead.
    """
    await connection.execute(f"SET LOCAL lock_timeout = {_YIELD_MS}")
    for schema, table in sorted(await present(connection, kept)):
        await connection.execute(f"LOCK TABLE {quoted(schema, table)} IN SHARE MODE")


async def count(connection: Connection, kept: Tables) -> Counts:
    """Count what there is of `kept`; one scan per table."""
    rows: dict[str, int] = {}
    values: dict[str, int] = {}
    for (schema, table), columns in sorted((await present(connection, kept)).items()):
        ordered = sorted(columns)
        counted = ", ".join(["count(*)", *(f"count({quoted(column)})" for column in ordered)])
        found = await connection.fetchrow(f"SELECT {counted} FROM {quoted(schema, table)}")
        name = table if schema == "public" else f"{schema}.{table}"
        rows[name] = found[0]
        values |= {f"{name}.{column}": found[index] for index, column in enumerate(ordered, start=1)}
    return Counts(rows, values)


def losses(before: Counts, after: Counts) -> list[str]:
    """A sentence for each table or column that has less than before. Empty when nothing is lost."""
    lost: list[str] = []
    gone = {name for name in before.rows if name not in after.rows}
    for name, number in before.rows.items():
        now = after.rows.get(name)
        if now is None and number:
            lost.append(f"table {name} with {number} rows")
        elif now is not None and now < number:
            lost.append(f"{number - now} of {number} rows of table {name}")
    shrunk = {name for name, number in after.rows.items() if number < before.rows.get(name, 0)}
    for column, number in before.values.items():
        table = column.rpartition(".")[0]
        now = after.values.get(column, 0)
        if now < number and table not in gone and table not in shrunk:
            lost.append(f"{number - now} values of column {column}")
    return lost


async def present(connection: Connection, kept: Tables) -> dict[tuple[str, str], set[str]]:
    """Those tables and columns of `kept` that are there."""
    records = await connection.fetch(
        "SELECT n.nspname, c.relname, a.attname FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY($1::text[])",
        [schema for schema, _ in kept],
    )
    present: dict[tuple[str, str], set[str]] = {}
    for schema, table, column in records:
        if column in kept.get((schema, table), frozenset()):
            present.setdefault((schema, table), set()).add(column)
    return present
