"""A planner on its own migrated database for each test."""

from collections.abc import AsyncIterator

import pytest

from services.planner.store import PlannerTransaction
from shared.storage.database import Database
from tests.conftest import ServiceDatabase
from tests.support.planner_service import PlannerService


@pytest.fixture
async def database(service_database: ServiceDatabase) -> AsyncIterator[Database[PlannerTransaction]]:
    database = Database("planner", await service_database("planner"), PlannerTransaction)
    yield database
    await database.close()


@pytest.fixture
async def planner(database: Database[PlannerTransaction]) -> PlannerService:
    """It knows the Project, its pins and every release."""
    service = PlannerService(database)
    await service.knows()
    return service
