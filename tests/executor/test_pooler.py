"""A pooler is recognised and refused before anything is set, locked or written through it."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from local.ports import free_port, is_free
from local.postgres import EmbeddedPostgres
from services.executor.clients.masking import masked_copy
from services.executor.clients.migration_files import read_migrations
from services.executor.clients.migrations import apply
from services.executor.clients.postgres import session
from services.executor.clients.prisma import read_models
from shared.errors import Failure
from tests.support.programs import required_program

# What PgBouncer must overlook, or it refuses our sessions by itself.
_TOLERANT = (
    "lock_timeout,statement_timeout,search_path,application_name,extra_float_digits,DateStyle,"
    "IntervalStyle,bytea_output,quote_all_identifiers,xmloption"
)
_WITHIN_S = 15.0


@pytest.fixture(scope="module", params=["transaction", "session", "statement"])
def pool_mode(request: pytest.FixtureRequest) -> str:
    mode: str = request.param
    return mode


@pytest.fixture(scope="module", params=[_TOLERANT, ""], ids=["tolerant", "as it comes"])
def pooler(request: pytest.FixtureRequest, pool_mode: str, postgres_15: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a PgBouncer before the older server."""
    program = required_program("pgbouncer", "pgbouncer")
    server, port = urlsplit(postgres_15.url()), free_port()
    with TemporaryDirectory(prefix="upgradepath-") as name:
        folder = Path(name)
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={server.port} user={server.username} password={server.password}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
            f"unix_socket_dir =\npool_mode = {pool_mode}\nignore_startup_parameters = {request.param}\n"
        )
        # It does not run as root.
        user = ("-u", "nobody") if Path("/proc/self").owner() == "root" else ()
        shutil.chown(folder, "nobody") if user else None
        with subprocess.Popen([program, "-q", *user, str(settings)]) as process:
            try:
                end = time.monotonic() + _WITHIN_S
                while is_free(port):
                    assert process.poll() is None
                    assert time.monotonic() < end
                yield urlunsplit(server._replace(netloc=f"postgres:x@127.0.0.1:{port}"))
            finally:
                process.terminate()


def _database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def test_nothing_is_done_through_a_pooler(pooler: str, postgres_15: EmbeddedPostgres) -> None:
    postgres_15.create_database("behind")
    url = _database(pooler, "behind")
    files = {"prisma/migrations/20250101000000_a/migration.sql": b"CREATE TABLE a (id int);"}
    for attempt in (apply(url, read_migrations(files), (0, 0)), masked_copy(url, url, read_models({}))):
        with pytest.raises(Failure) as caught:
            await attempt
        (finding,) = caught.value.outcome.findings
        assert "direct URL" in finding.cure
        assert "postgres:x" not in str(caught.value)
    async with session(postgres_15.url("behind")) as connection:
        assert not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert await connection.fetchval("SELECT to_regclass('a')") is None
    through = await asyncpg.connect(url, statement_cache_size=0)
    try:
        assert await through.fetchval("SHOW session_replication_role") == "origin"
    finally:
        await through.close()


@pytest.mark.parametrize("parameter", ["pgbouncer=true", "schema=x&pgbouncer=TRUE", "pgbouncer=1"])
async def test_a_url_that_says_pooler_is_refused_without_a_connection(parameter: str) -> None:
    with pytest.raises(Failure, match="pooler"):
        async with session(f"postgresql://u:p@127.0.0.1:1/x?{parameter}"):
            pytest.fail("it must not connect")


async def test_a_server_itself_is_no_pooler(postgres_15: EmbeddedPostgres) -> None:
    async with session(postgres_15.url()) as connection:
        assert await connection.fetchval("SELECT 1") == 1
