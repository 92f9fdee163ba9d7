"""A planner on its own migrated database for each test, copied from one that was migrated once."""

import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.planner.store import PlannerTransaction
from shared.storage.database import Database
from shared.storage.migrations import migrate_async
from tests.conftest import PostgresServer
from tests.support.planner_service import PlannerService

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def migrated(postgres: PostgresServer) -> str:
    """The name of a database that no test connects to."""
    postgres.create_database("planner_template")
    await migrate_async("planner", postgres.url("planner_template"))
    return "planner_template"


@pytest.fixture
async def database(postgres: PostgresServer, migrated: str) -> AsyncIterator[Database[PlannerTransaction]]:
    name = f"planner_{next(_numbers)}"
    server = await asyncpg.connect(postgres.url())
    await server.execute(f'drop database if exists "{name}" with (force)')
    await server.execute(f'create database "{name}" template "{migrated}"')
    database = Database("planner", postgres.url(name), PlannerTransaction)
    yield database
    await database.close()
    await server.execute(f'drop database "{name}" with (force)')
    await server.close()


@pytest.fixture
async def planner(database: Database[PlannerTransaction]) -> PlannerService:
    """It knows the Project, its pins and every release."""
    service = PlannerService(database)
    await service.knows()
    return service
