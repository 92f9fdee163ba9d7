"""The rows of tables as digests that do not depend on their order, nor on columns that came later."""

from dataclasses import dataclass

from services.executor.clients.losses import Tables, present
from services.executor.clients.postgres import Connection, quoted

ROW_SUM = 'COALESCE(sum(hashtextextended(ROW({row})::text COLLATE "C", 0)), 0)::text'
"""A sum over rows that any other value of a column in `row` changes, in no order."""


@dataclass(frozen=True)
class RowDigest:
    """How many rows there are, and a sum over them that any other value changes."""

    rows: int
    sum: str


async def digests(connection: Connection, kept: Tables) -> dict[str, RowDigest]:
    """By name, every table of `kept` that is there, over those of its columns that are; one scan each."""
    found: dict[str, RowDigest] = {}
    for (schema, table), columns in sorted((await present(connection, kept)).items()):
        row = ", ".join(quoted(column) for column in sorted(columns))
        rows, total = await connection.fetchrow(
            f"SELECT count(*), {ROW_SUM.format(row=row)} FROM {quoted(schema, table)}"
        )
        found[table if schema == "public" else f"{schema}.{table}"] = RowDigest(rows, total)
    return found
