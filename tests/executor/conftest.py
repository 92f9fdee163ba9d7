"""A fresh database for each test that asks, on the session's server."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from services.executor.clients.postgres import create_database, drop_database
from tests.conftest import PostgresServer

_numbers = itertools.count(1)

NewDatabase = Callable[[], Awaitable[str]]


@pytest.fixture
async def new_database(postgres: PostgresServer) -> AsyncIterator[NewDatabase]:
    """Makes an empty database and gives its URL; all of them are dropped afterwards."""
    made: list[str] = []

    async def make() -> str:
        name = f"test_{next(_numbers)}"
        await create_database(postgres.url(), name)
        made.append(name)
        return postgres.url(name)

    yield make
    for name in made:
        await drop_database(postgres.url(), name)
