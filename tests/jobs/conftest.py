"""A fresh worker's database for every test."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database
from shared.storage.migrations import migrate_async
from tests.jobs.job_world import World

_numbers = itertools.count(1)


@pytest.fixture
async def database(postgres: Any) -> AsyncIterator[Database[WorkerTransaction]]:
    name = f"jobs_{next(_numbers)}"
    postgres.create_database(name)
    await migrate_async("executor", postgres.url(name))
    database = Database("executor", postgres.url(name), WorkerTransaction)
    yield database
    await database.close()


@pytest.fixture(params=["begun at once", "queued"])
async def world(
    request: pytest.FixtureRequest, database: Database[WorkerTransaction]
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(database, stack, queued=request.param == "queued")
