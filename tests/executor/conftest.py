"""One embedded PostgreSQL for the whole session, and a fresh database for each test that asks."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from local.postgres import EmbeddedPostgres
from services.executor.clients.postgres import create_database, drop_database

_numbers = itertools.count(1)

NewDatabase = Callable[[], Awaitable[str]]


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The server; without fsync, as a test's data need not survive a power cut."""
    # Not in pytest's own folder: another pytest that starts shuts it to the user that PostgreSQL runs as.
    with (
        TemporaryDirectory(prefix="upgradepath-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", fsync=False) as server,
    ):
        yield server


@pytest.fixture
async def new_database(postgres: EmbeddedPostgres) -> AsyncIterator[NewDatabase]:
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


@pytest.fixture
def bin_folder(postgres: EmbeddedPostgres) -> Path:
    """Where pg_dump and pg_restore of the server's version are."""
    return postgres.bin_folder
