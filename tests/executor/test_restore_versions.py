"""A backup comes back on every server from 13 on, by newer programs, with and without a superuser."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import pytest

from local.postgres import EmbeddedPostgres, postgres_bin_folder
from services.executor.clients.backup import Programs
from services.executor.clients.postgres import schema_description, session
from tests.executor.test_restore_drill import RICH, tried
from tests.support.older_postgres import SERVERS, server_of

CHANGED = "DROP TABLE ev; CREATE TABLE later (a int); ALTER TABLE own_one RENAME TO other"


async def described(url: str) -> list[str]:
    """The schema without what reading and printing it again moves: casts."""
    moved = re.compile(r"::\w+( varying)?(\[\])?|[()]")
    return sorted(moved.sub("", line) for line in await schema_description(url))


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
            await connection.execute(
                "RESET ROLE; CREATE TABLE own_one (a int); ALTER TABLE own_one OWNER TO plain"
            )
        parts = urlsplit(url)
        plain = urlunsplit(parts._replace(netloc=f"plain:secret@{parts.hostname}:{parts.port}"))
        for number, (who, hardening) in enumerate(
            ((plain, "SELECT 1"), (url, "SELECT 1"), (url, "REVOKE ALL ON SCHEMA public FROM PUBLIC"))
        ):
            # As administrators of servers before 15 close `public`, where everybody may create at first.
            async with session(url) as connection:
                await connection.execute(hardening)
            place = tmp_path / str(number)
            place.mkdir()
            found = await tried(who, place)
            assert (found.findings, found.rows) == ((), 53)
            before = await described(url)
            async with session(who) as connection:
                await connection.execute(CHANGED)
            programs = await Programs.for_server(who)
            await programs.restore(who, place / "production.dump", (1, number + 1))
            assert await described(url) == before
