"""Schemas: brought up by several at once, and the same as the tables that the code knows."""

from __future__ import annotations

import asyncio

from sqlalchemy import Connection, inspect

from shared.storage.database import Database, Transaction
from shared.storage.migrations import migrate_async
from shared.storage.tables import MESSAGE_TABLES
from tests.conftest import PostgresServer


async def test_several_at_once_migrate_one_database(postgres: PostgresServer) -> None:
    postgres.create_database("migrated_at_once")
    url = postgres.url("migrated_at_once")
    await asyncio.gather(*(migrate_async("executor", url) for _ in range(4)))
    database = Database("executor", url, Transaction)
    async with database.engine.connect() as connection:
        names = await connection.run_sync(lambda plain: set(inspect(plain).get_table_names()))
    await database.close()
    assert {"inbox", "outbox", "jobs", "effects", "alembic_version"} <= names


async def test_the_message_tables_are_those_that_the_code_knows(postgres: PostgresServer) -> None:
    found = []
    for name in ("migrated_tables", "declared_tables"):
        postgres.create_database(name)
        database = Database("executor", postgres.url(name), Transaction)
        if name == "migrated_tables":
            await migrate_async("executor", postgres.url(name))
        else:
            async with database.engine.begin() as connection:
                await connection.run_sync(MESSAGE_TABLES.create_all)
        async with database.engine.connect() as connection:
            found.append(await connection.run_sync(_columns))
        await database.close()
    assert found[0] == found[1]


def _columns(connection: Connection) -> dict[str, list[tuple[str, str, bool]]]:
    seen = inspect(connection)
    return {
        table: [
            (column["name"], str(column["type"]), column["nullable"]) for column in seen.get_columns(table)
        ]
        for table in ("inbox", "outbox")
    }
