"""Rows for tables that nobody described: values made from the catalogues alone."""

from collections.abc import Sequence

import asyncpg

from services.executor.clients.postgres import Connection, literal, quoted

_TABLES = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'
        AND n.nspname NOT IN ('information_schema', 'upgradepath') AND c.relname <> '_prisma_migrations'
    ORDER BY 2, 3
"""
_COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, t.typcategory AS category,
        NOT a.attnotnull AS nullable, a.atttypmod AS modifier, d.adbin IS NOT NULL AS has_default,
        coalesce(b.typname, t.typname) AS plain,
        (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)
            AS labels,
        (SELECT format('SELECT %I FROM %s ORDER BY 1 LIMIT 1 OFFSET ', r.attname, k.confrelid::regclass)
            FROM pg_constraint k JOIN pg_attribute r
                ON r.attrelid = k.confrelid AND r.attnum = k.confkey[array_position(k.conkey, a.attnum)]
            WHERE k.conrelid = a.attrelid AND k.contype = 'f' AND a.attnum = ANY (k.conkey) LIMIT 1) AS parent
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        AND a.attidentity <> 'a'
    ORDER BY a.attnum
"""


async def fill(connection: Connection, *, rows: int = 2) -> list[str]:
    """So many rows into every table that has fewer; the tables that would not take any.

    The first has a value in every column, the others nulls where they may. Numbers count up, so that what is
    unique stays so; a reference names a row that is there.
    """
    waiting = list(await connection.fetch(_TABLES))
    while waiting:
        left = [table for table in waiting if not await _fill(connection, table, rows)]
        if len(left) == len(waiting):
            return [f"{table['schema']}.{table['name']}" for table in left]
        waiting = left
    return []


async def _fill(connection: Connection, table: asyncpg.Record, rows: int) -> bool:
    """Whether it has rows now; a table may have to wait for those that it refers to."""
    name = quoted(table["schema"], table["name"])
    there = await connection.fetchval(f"SELECT count(*) FROM {name}")
    columns = await connection.fetch(_COLUMNS, table["oid"])
    for number in range(there, rows):
        full = [(each, await _value(connection, each, number)) for each in columns]
        sparse = [(each, value) for each, value in full if not each["nullable"]]
        for values in (full, sparse) if number == 0 else (sparse, full):
            if await _insert(connection, name, [(each["name"], value) for each, value in values]):
                there += 1
                break
    return bool(there)


async def _insert(connection: Connection, table: str, values: Sequence[tuple[str, str | None]]) -> bool:
    given = [(column, value) for column, value in values if value is not None]
    names = ", ".join(quoted(column) for column, _ in given)
    made = f"({names}) VALUES ({', '.join(value for _, value in given)})" if given else "DEFAULT VALUES"
    try:
        async with connection.transaction():
            await connection.execute(f"INSERT INTO {table} {made}")
    except asyncpg.PostgresError:
        return False
    return True


async def _value(connection: Connection, column: asyncpg.Record, number: int) -> str | None:
    """An SQL expression; none leaves the column to its default."""
    if column["parent"] is not None:
        value = await connection.fetchval(f"SELECT x::text FROM ({column['parent']}{number}) AS p (x)")
        if value is None:
            value = await connection.fetchval(f"SELECT x::text FROM ({column['parent']}0) AS p (x)")
        return None if value is None else f"{literal(value)}::{column['type']}"
    if column["labels"]:
        return f"{literal(column['labels'][number % len(column['labels'])])}::{column['type']}"
    match column["plain"]:
        case "int2" | "int4" | "int8" | "numeric" | "float4" | "float8":
            return None if column["has_default"] else str(number + 1)
        case "bool":
            return "true" if number % 2 == 0 else "false"
        case "json" | "jsonb":
            return f"'{{\"n\": {number}}}'::{column['plain']}"
        case "uuid":
            return f"'00000000-0000-4000-8000-{number:012d}'::uuid"
        case "timestamp" | "timestamptz" | "date" | "time" | "timetz":
            return (
                f"timestamp '2024-01-01 10:00' + {number} * interval '1 day'"
                if "s" in column["plain"] or (column["plain"] == "date")
                else "time '10:00'"
            )
        case "interval":
            return f"interval '{number + 1} hours'"
        case "bytea":
            return f"'\\x0{number % 10}'::bytea"
        case "vector":
            return f"array_fill({number + 1}::real, ARRAY[{max(column['modifier'], 3)}])::vector"
        case "inet" | "cidr":
            return f"'10.0.0.{number + 1}'::{column['plain']}"
        case "tsvector":
            return f"to_tsvector('simple', 'v{number}')"
    if column["category"] == "A":
        return f"'{{}}'::{column['type']}"
    text = f"v{number}"
    return f"{literal(text)}::{column['type']}"
