"""A Project's database as it is seen from outside: its schema, its rows, and what Prisma says of it."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from services.executor.clients.postgres import schema_digest
from shared.prisma.migrating import diagnose

State = tuple[str, Mapping[str, str]]
"""The schema's digest, and of each table its rows'."""


async def state_of(url: str, columns: Mapping[str, str] = {}) -> State:
    """`columns` names, by table, the one that is compared, where not all of them are."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND relname <> '_prisma_migrations' ORDER BY 1"
        )
        rows = {}
        for (table,) in tables:
            text = f"t.{columns[table]}::text" if table in columns else "t::text"
            all_of_them = f"coalesce(string_agg({text}, ',' ORDER BY {text}), '')"
            rows[table] = await connection.fetchval(f"SELECT md5({all_of_them}) FROM {table} t")
    finally:
        await connection.close()
    return await schema_digest(url), rows


def unlike(found: State, wanted: State) -> list[str]:
    """What differs between two states, in words."""
    return [
        f"the {what} are not what they should be: {is_so} for {should}"
        for what, is_so, should in zip(("schema", "rows"), found, wanted, strict=True)
        if is_so != should
    ]


async def misled_prisma(url: str, history: Mapping[str, str]) -> list[str]:
    """What `prisma migrate` would stumble over, were `history` (folder to script) its migrations."""
    faults = []
    found = await diagnose(url, history)
    if not found.up_to_date:
        faults.append(f"Prisma has something to say: {found}")
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT migration_name FROM _prisma_migrations")
        if (names := sorted(row[0] for row in rows)) != sorted(history):
            faults.append(f"_prisma_migrations has {names}")
        if await connection.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid"):
            faults.append("an invalid index was left")
    finally:
        await connection.close()
    return faults
