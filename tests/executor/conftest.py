"""What the executor's tests share with others."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from urllib.parse import urlsplit, urlunsplit

import pytest

from local.postgres import EmbeddedPostgres
from services.executor.clients.postgres import session
from tests.conftest import NewDatabase, PostgresServer
from tests.executor.saved_worlds import SavedWorlds

__all__ = ["NewDatabase", "SavedWorlds"]

Made = Callable[..., Awaitable[tuple[str, str]]]
_role_numbers = count(1)


@pytest.fixture(scope="session")
async def worlds(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SavedWorlds]:
    """Projects at a stage that many tests begin from."""
    saved = SavedWorlds(postgres, tmp_path_factory.mktemp("worlds"))
    yield saved
    await saved.close()


@pytest.fixture(params=["18", "15"])
async def made(
    request: pytest.FixtureRequest,
    postgres: PostgresServer,
    postgres_15: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Made]:
    """Makes a database as the superuser; its URL for the superuser, and for a plain role that owns it."""
    server: PostgresServer = postgres if request.param == "18" else postgres_15
    monkeypatch.setenv("UPGRADES_POSTGRES_BIN", str(server.bin_folder))
    roles: list[str] = []

    async def make(script: str = "", extension: str = "") -> tuple[str, str]:
        number = next(_role_numbers)
        role, name = f"restore_role_{number}", f"restore_{number}"
        server.create_database(name)
        roles.append(role)
        async with session(server.url()) as connection:
            # A server that runs on has the roles of an earlier session.
            await connection.execute(f"DROP ROLE IF EXISTS {role}")
            await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
            await connection.execute(f"ALTER DATABASE {name} OWNER TO {role}")
        async with session(server.url(name)) as connection:
            available = await connection.fetch("SELECT name FROM pg_available_extensions")
            if "{extension}" in script and extension not in {row["name"] for row in available}:
                pytest.skip(f"{extension} is not among this server's extensions")
            await connection.execute(script.format(role=role, extension=extension))
        parts = urlsplit(server.url(name))
        plain = urlunsplit(parts._replace(netloc=f"{role}:secret@{parts.hostname}:{parts.port}"))
        return server.url(name), plain

    yield make
    async with session(server.url()) as connection:
        for number in [role.rpartition("_")[2] for role in roles]:
            await connection.execute(f"DROP DATABASE restore_{number} WITH (FORCE)")
