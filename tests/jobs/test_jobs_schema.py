"""What the migrations make is what the tables' classes say."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from services.executor.freeze import FREEZE_TABLES
from shared.jobs.tables import JOB_TABLES
from shared.storage.connections import async_url
from shared.storage.migrations import migrate_async
from shared.storage.tables import MESSAGE_TABLES


@pytest.mark.parametrize(("service", "own"), [("executor", [FREEZE_TABLES]), ("validator", [])])
async def test_the_migrated_schema_is_the_one_that_the_code_expects(
    postgres: Any, service: str, own: list[MetaData]
) -> None:
    name = f"schema_of_{service}"
    postgres.create_database(name)
    await migrate_async(service, postgres.url(name))
    await migrate_async(service, postgres.url(name))
    engine = create_async_engine(async_url(postgres.url(name)))

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, [MESSAGE_TABLES, JOB_TABLES, *own]))  # type: ignore[arg-type]

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()
