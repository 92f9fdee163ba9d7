"""Indexes and constraints set aside while a table is filled, as building them afterwards takes less time.

Whoever fills the tables compares the schema before and after, so that nothing can be forgotten.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.executor.clients.dressing import dress, dressing
from services.executor.clients.postgres import Connection, described, quoted

_MEMORY = "SET maintenance_work_mem = '128MB'"
_CONSTRAINTS = """
    SELECT k.conname AS name, n.nspname AS schema, c.relname AS table, k.contype::text AS kind,
        pg_get_constraintdef(k.oid) AS definition
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.conparentid = 0 AND (k.conrelid = $1::regclass AND k.contype IN ('p', 'u', 'x')
        OR k.confrelid = $1::regclass AND k.contype = 'f')
    ORDER BY k.contype <> 'f', k.oid
"""
_INDEXES = """
    SELECT n.nspname AS schema, c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition,
        CASE WHEN pg_get_indexdef(i.indexrelid) ~ ' ON ONLY ' THEN
            substring(pg_get_indexdef(i.indexrelid) FROM ' ON ONLY (.*?) USING ') ELSE '' END AS "on"
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE i.indrelid = $1::regclass
    AND NOT EXISTS (SELECT FROM pg_constraint k
        WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
    ORDER BY c.oid
"""


@dataclass(frozen=True)
class SetAside:
    """The statements that bring one table's own back, and those of the references to it, which come last."""

    own: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


async def set_aside(target: Connection, schema: str, table: str, *, partitioned: bool = False) -> SetAside:
    """Drop them; a table keeps them all when a view or the like needs one of its constraints.

    So does a partitioned one, still without rows, whose partitions would get theirs back under other names.
    """
    if partitioned and not await _come_back(target, schema, table):
        return SetAside()
    return await _set_aside(target, schema, table)


async def _come_back(target: Connection, schema: str, table: str) -> bool:
    """Whether all is as before once it was dropped and brought back: tried, and undone."""
    trial = target.transaction()
    await trial.start()
    try:
        before = await described(target)
        worn = await dressing(target)
        aside = await _set_aside(target, schema, table)
        await put_back(target, (*aside.own, *aside.references))
        await dress(target, worn)
        return await described(target) == before
    except asyncpg.PostgresError:
        return False
    finally:
        await trial.rollback()


async def _set_aside(target: Connection, schema: str, table: str) -> SetAside:
    name = quoted(schema, table)
    own: list[str] = []
    references: list[str] = []
    try:
        async with target.transaction():
            for each in await target.fetch(_CONSTRAINTS, name):
                owner = quoted(each["schema"], each["table"])
                await target.execute(f"ALTER TABLE {owner} DROP CONSTRAINT {quoted(each['name'])}")
                back = f"ALTER TABLE {owner} ADD CONSTRAINT {quoted(each['name'])} {each['definition']}"
                (references if each["kind"] == "f" else own).append(back)
            for each in await target.fetch(_INDEXES, name):
                await target.execute(f"DROP INDEX {quoted(each['schema'], each['name'])}")
                # A partitioned table's own says ONLY, which would leave its partitions without.
                own.append(each["definition"].replace(f" ON ONLY {each['on']} ", f" ON {each['on']} ", 1))
    except asyncpg.DependentObjectsStillExistError:
        return SetAside()
    return SetAside(tuple(own), tuple(references))


async def put_back(target: Connection, statements: Sequence[str]) -> None:
    """Run what `set_aside` gave; asyncpg's IntegrityConstraintViolationError when the rows do not fit."""
    await target.execute(_MEMORY)
    for statement in statements:
        await target.execute(statement)
