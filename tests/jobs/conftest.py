"""A fresh worker's database for every test."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database
from tests.conftest import ServiceDatabase
from tests.jobs.job_world import World


@pytest.fixture
async def database(service_database: ServiceDatabase) -> AsyncIterator[Database[WorkerTransaction]]:
    database = Database("executor", await service_database("executor"), WorkerTransaction)
    yield database
    await database.close()


@pytest.fixture(params=["begun at once", "queued"])
async def world(
    request: pytest.FixtureRequest, database: Database[WorkerTransaction]
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(database, stack, queued=request.param == "queued")
