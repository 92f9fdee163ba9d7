"""Schemas: brought up by several at once, and the same as the tables that the code knows."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect

from shared.contracts.topics import SERVICES
from shared.storage.database import Database, Transaction
from shared.storage.migrations import head, migrate_async
from shared.storage.schema_version import newest
from shared.storage.tables import MESSAGE_TABLES
from tests.conftest import PostgresServer

ROOT = Path(__file__).resolve().parents[2]


async def test_several_at_once_migrate_one_database(postgres: PostgresServer) -> None:
    postgres.create_database("migrated_at_once")
    url = postgres.url("migrated_at_once")
    await asyncio.gather(*(migrate_async("executor", url) for _ in range(4)))
    database = Database("executor", url, Transaction)
    async with database.engine.connect() as connection:
        names = await connection.run_sync(lambda plain: set(inspect(plain).get_table_names()))
    await database.close()
    assert {"inbox", "outbox", "jobs", "effects", "alembic_version"} <= names


START = """
import asyncio, sys
from shared.storage.database import Database, Transaction
from shared.storage.schema_version import bring_up_to_date

async def start():
    database = Database("executor", sys.argv[1], Transaction)
    await bring_up_to_date("executor", database.engine, database.url)
    await database.close()

asyncio.run(start())
print("alembic" in sys.modules)
"""


async def test_only_the_start_that_changes_the_schema_loads_what_changes_it(postgres: PostgresServer) -> None:
    postgres.create_database("started_twice")
    for loaded in ("True", "False"):
        command = [sys.executable, "-c", START, postgres.url("started_twice")]
        started = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert started.stdout.strip() == loaded


@pytest.mark.parametrize("service", SERVICES)
def test_the_newest_file_is_the_head_of_the_history(service: str) -> None:
    assert newest(service) == head(service)


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
