"""A backup comes back on every server from 13 on, by newer programs, with and without a superuser."""

from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import pytest

from local.postgres import EmbeddedPostgres, postgres_bin_folder
from services.executor.clients.postgres import session
from tests.executor.test_restore_drill import RICH, tried
from tests.support.older_postgres import SERVERS, server_of


@pytest.mark.parametrize("major", SERVERS)
async def test_everything_comes_back_on_an_older_server(
    major: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPGRADES_POSTGRES_BIN", str(postgres_bin_folder()))
    with (
        TemporaryDirectory(prefix="upgradepath-") as folder,
        EmbeddedPostgres(
            Path(folder) / "postgres", fsync=False, programs=server_of(major, Path(folder))
        ) as server,
    ):
        async with session(server.url()) as connection:
            await connection.execute("CREATE ROLE plain LOGIN PASSWORD 'secret' CREATEDB")
            await connection.execute("CREATE DATABASE production OWNER plain")
        url = server.url("production")
        async with session(url) as connection:
            assert str(await connection.fetchval("SHOW server_version")).startswith(f"{major}.")
            await connection.execute(RICH.format(role="plain"))
        parts = urlsplit(url)
        plain = urlunsplit(parts._replace(netloc=f"plain:secret@{parts.hostname}:{parts.port}"))
        for name, who in (("plain", plain), ("superuser", url)):
            (tmp_path / name).mkdir()
            found = await tried(who, tmp_path / name)
            assert (found.findings, found.rows) == ((), 53)
