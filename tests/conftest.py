"""One PostgreSQL for the whole session: embedded, or the one that UPGRADES_TEST_POSTGRES_URL names."""

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pytest
from hypothesis import settings

from local.postgres import EmbeddedPostgres
from local.roles import plain_role
from services.executor.clients.postgres import session
from shared.clients.databases import make_database, remove_database
from shared.storage.migrations import migrate_async
from tests.support import outer_postgres

# How long an example takes says something of the machine and nothing of the law.
settings.register_profile("thorough", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "thorough"))

# A lane says what a test needs: `make test-fast` takes those that need nothing, and `make test` gives the
# machine to those alone that start services or watch the clock.
LANES_OF_FOLDERS = {
    "brokers": "broker",
    "faults": "fault",
    "journeys": "journey",
    "local": "process",
    "processes": "process",
}
SERVERS = {"postgres", "postgres_15"}
# What runs whole systems waits for conditions that have ends of their own: pytest's end is for a hang, and
# counts what starts and stops too.
WHOLE_SYSTEMS = {"fault", "journey"}
HANGS_AFTER_S = 900

NewDatabase = Callable[[], Awaitable[str]]
ServiceDatabase = Callable[[str], Awaitable[str]]
# Two workers may share the server that the environment names.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_ROLES = pytest.StashKey[set[str]]()
PLAIN = bool(os.environ.get(outer_postgres.PLAIN))
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test with its lane: its folder's, else `database` if it asks for a server, else `unit`."""
    tests = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(tests).parts[0]
        needs = SERVERS & set(getattr(item, "fixturenames", ()))
        lane = LANES_OF_FOLDERS.get(folder, "database" if needs else "unit")
        item.add_marker(lane)
        if lane in WHOLE_SYSTEMS:
            item.add_marker(pytest.mark.timeout(HANGS_AFTER_S))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what needs a superuser's database where tests get a plain role's."""
    if PLAIN and item.get_closest_marker("superuser"):
        pytest.skip("it needs a superuser")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Notes what a server that goes on has, so that it is left as it was found."""
    outer = None if _WORKER else outer_postgres.named()
    if outer is not None:
        session.config.stash[_ROLES] = outer.roles()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Drops the roles that tests left there: another session's would have the same names."""
    outer = outer_postgres.named()
    if outer is not None and _ROLES in session.config.stash:
        outer.remove_roles(session.config.stash[_ROLES])


class PostgresServer(Protocol):
    """A server on which tests make databases as they like."""

    bin_folder: Path

    def url(self, database: str = "postgres") -> str: ...

    def create_database(self, name: str) -> None: ...


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's server; the embedded one runs without fsync, as a test's data need not last."""
    if outer := outer_postgres.named():
        yield outer
        return
    # Not in pytest's own folder: another pytest that starts shuts it to the user that PostgreSQL runs as.
    with (
        TemporaryDirectory(prefix="upgradepath-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", fsync=False) as server,
    ):
        yield server


POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[EmbeddedPostgres]:
    """An older server than ours, with ICU, TLS and the contrib extensions: Debian's `postgresql-15`."""
    if not (POSTGRES_15 / "initdb").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have Debian's postgresql-15")
        pytest.skip("Debian's postgresql-15 is not installed here")
    with (
        TemporaryDirectory(prefix="upgradepath-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", fsync=False, programs=POSTGRES_15) as server,
    ):
        yield server


@pytest.fixture
async def new_database(postgres: PostgresServer) -> AsyncIterator[NewDatabase]:
    """Makes an empty database and gives its URL; all of them are dropped afterwards."""
    made: list[str] = []

    async def make() -> str:
        made.append(await _make(postgres))
        url = postgres.url(made[-1])
        return await plain_role(url, makes_databases=True) if PLAIN else url

    yield make
    await _remove(postgres, made)


@pytest.fixture(scope="session")
def migrated() -> set[str]:
    """The databases that no test connects to: each has a service's tables and no row."""
    return set()


@pytest.fixture
async def service_database(postgres: PostgresServer, migrated: set[str]) -> AsyncIterator[ServiceDatabase]:
    """Makes a database with a service's tables, and gives its URL; all of them are dropped afterwards."""
    made: list[str] = []

    async def make(service: str) -> str:
        template = f"migrated_{_WORKER}{service}"
        if template not in migrated:
            postgres.create_database(template)
            await migrate_async(service, postgres.url(template))
            migrated.add(template)
        made.append(await _make(postgres, f"TEMPLATE {template}"))
        return postgres.url(made[-1])

    yield make
    await _remove(postgres, made)


async def _make(postgres: PostgresServer, like: str = "") -> str:
    name = f"test_{_WORKER}{next(_numbers)}"
    async with session(postgres.url()) as connection:
        # A small database is copied faster by its files; servers before 15 know no other way.
        files = "STRATEGY file_copy" if connection.get_server_version().major >= 15 else ""
        await make_database(connection, name, f"{like} {files}")
    return name


async def _remove(postgres: PostgresServer, names: Sequence[str]) -> None:
    if names:
        async with session(postgres.url()) as connection:
            for name in names:
                await remove_database(connection, name)
