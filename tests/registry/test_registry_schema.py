"""What the migrations make is what the tables' classes say."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from services.registry.store import TABLES
from shared.storage.connections import async_url
from shared.storage.tables import MESSAGE_TABLES


async def test_the_migrated_schema_is_the_one_that_the_code_expects(registry_url: str) -> None:
    engine = create_async_engine(async_url(registry_url))

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, [MESSAGE_TABLES, TABLES]))  # type: ignore[arg-type]

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()
