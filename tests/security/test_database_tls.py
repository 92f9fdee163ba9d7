"""A real PostgreSQL with TLS: every kind of connection that we make proves the server as its URL says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from local.postgres import SYSTEM_USER, EmbeddedPostgres
from services.executor.clients.backup import Programs
from services.executor.clients.postgres import session
from shared.clients.postgres import connect
from shared.errors import Retry
from shared.prisma.postgres import PostgresSessions
from shared.storage.connections import async_url
from shared.storage.database import Database, Transaction
from shared.storage.migrations import migrate_async
from tests.conftest import POSTGRES_15
from tests.support.authority import Authority, Files

_OPENS = "opens + it"
_QUOTED = "opens%20+%20it"
_ENCRYPTED = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"


class Secured:
    """The server, its authority and somebody else's, and a client's certificate for the role `certified`."""

    def __init__(self, server: EmbeddedPostgres, folder: Path, server_files: Files, client: Files) -> None:
        self.server = server
        self.ca = server_files.ca
        self.other_ca = Authority.new().write(folder / "other", "other").ca
        self.client = client

    def url(self, query: str, name: str = "127.0.0.1", user: str | None = None) -> str:
        plain = self.server.url().replace("@127.0.0.1:", f"@{name}:")
        if user is not None:
            plain = f"postgresql://{user}@{plain.partition('@')[2]}"
        return f"{plain}?{query}"

    @property
    def verified(self) -> str:
        return f"sslmode=verify-full&sslrootcert={self.ca}"


@contextmanager
def _secured(folder: Path) -> Iterator[Secured]:
    ours = Authority.new()
    files = ours.write(folder / "tls", "server", ("127.0.0.1",))
    client = ours.write(folder / "client", "certified", password=_OPENS.encode())
    if os.geteuid() == 0:
        for path in (folder / "tls", *(folder / "tls").iterdir()):
            shutil.chown(path, SYSTEM_USER, SYSTEM_USER)
    settings = {
        "ssl": "on",
        "ssl_cert_file": str(files.certificate),
        "ssl_key_file": str(files.key),
        "ssl_ca_file": str(files.ca),
    }
    place = folder / "postgres"
    with EmbeddedPostgres(place, fsync=False, programs=POSTGRES_15, settings=settings) as server:
        rules = place / "data" / "pg_hba.conf"
        rules.write_text(f"hostssl all certified 127.0.0.1/32 cert\n{rules.read_text()}")
        yield Secured(server, folder, files, client)


@pytest.fixture(scope="module")
async def secured() -> Any:
    if not (POSTGRES_15 / "initdb").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have Debian's postgresql-15: ours has no TLS")
        pytest.skip("Debian's postgresql-15 is not installed here, and ours has no TLS")
    with TemporaryDirectory(prefix="upgradepath-tls-") as folder, _secured(Path(folder)) as found:
        connection = await asyncpg.connect(found.server.url())
        await connection.execute("create role certified superuser login")
        await connection.execute("select pg_reload_conf()")
        await connection.close()
        yield found


async def _plain(url: str) -> bool:
    connection = await connect(url)
    try:
        return bool(await connection.fetchval(_ENCRYPTED))
    finally:
        await connection.close()


async def _pool(url: str) -> bool:
    database = Database("tls", url, Transaction, pool_size=1)
    try:
        async with database.engine.connect() as connection:
            return bool((await connection.execute(text(_ENCRYPTED))).scalar())
    finally:
        await database.close()


async def _lane(url: str) -> bool:
    database = Database("tls", url, Transaction, pool_size=1)
    try:
        return bool((await database.lane.fetch(_ENCRYPTED))[0][0])
    finally:
        await database.close()


async def _sqlalchemy(url: str) -> bool:
    engine = create_async_engine(async_url(url))
    try:
        async with engine.connect() as connection:
            return bool((await connection.execute(text(_ENCRYPTED))).scalar())
    finally:
        await engine.dispose()


async def _migrations(url: str) -> bool:
    await migrate_async("notifier", url)
    return True


async def _executor(url: str) -> bool:
    async with session(url) as connection:
        return bool(await connection.fetchval(_ENCRYPTED))


async def _prisma(url: str) -> bool:
    async with PostgresSessions(url) as sessions:
        answer = await (await sessions.connect()).query(_ENCRYPTED, [])
    return bool(answer["rows"][0][0])


async def _programs(url: str) -> bool:
    with TemporaryDirectory() as folder:
        return await Programs(POSTGRES_15).dump(url, Path(folder) / "dump") >= 0


WAYS: dict[str, Callable[[str], Awaitable[bool]]] = {
    "plain": _plain,
    "pool": _pool,
    "statements": _lane,
    "sqlalchemy": _sqlalchemy,
    "migrations": _migrations,
    "executor": _executor,
    "prisma": _prisma,
    "programs": _programs,
}


@pytest.mark.parametrize("way", WAYS)
async def test_the_right_authority_and_name_let_every_kind_of_connection_through(
    secured: Secured, way: str
) -> None:
    assert await WAYS[way](secured.url(secured.verified))
    assert await WAYS[way](secured.url(f"sslmode=verify-ca&sslrootcert={secured.ca}", name="localhost"))


@pytest.mark.parametrize("way", WAYS)
async def test_another_authority_or_name_lets_no_kind_of_connection_through(
    secured: Secured, way: str
) -> None:
    """A server in between has a certificate too: it must be the right one, for the right host."""
    wrong = secured.url(f"sslmode=verify-full&sslrootcert={secured.other_ca}")
    elsewhere = secured.url(secured.verified, name="localhost")
    for url in (wrong, elsewhere):
        with pytest.raises((OSError, Retry)) as refused:
            await WAYS[way](url)
        assert "certificate" in str(refused.value).lower()


@pytest.mark.parametrize("way", WAYS)
async def test_a_clients_certificate_is_shown_and_its_key_opened(secured: Secured, way: str) -> None:
    shown = f"sslcert={secured.client.certificate}&sslkey={secured.client.key}&sslpassword={_QUOTED}"
    assert await WAYS[way](secured.url(f"{secured.verified}&{shown}", user="certified"))
    with pytest.raises((Retry, asyncpg.PostgresError, DBAPIError), match="certificate"):
        await WAYS[way](secured.url(secured.verified, user="certified"))


async def test_each_mode_encrypts_as_libpq_would(secured: Secured) -> None:
    asked = {"disable": False, "allow": False, "prefer": True, "require": True}
    assert {mode: await _plain(secured.url(f"sslmode={mode}")) for mode in asked} == asked


async def test_which_server_of_several_is_taken_is_the_urls_word(secured: Secured) -> None:
    port = secured.server.port
    several = secured.url(f"{secured.verified}&target_session_attrs=read-write&connect_timeout=5")
    several = several.replace(f"127.0.0.1:{port}", f"127.0.0.1:1,127.0.0.1:{port}")
    assert await _pool(several)
    assert await _executor(several)
    with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
        await _plain(secured.url(f"{secured.verified}&target_session_attrs=standby"))
    with pytest.raises(Retry, match="None of the hosts"):
        await _executor(secured.url(f"{secured.verified}&target_session_attrs=standby"))
