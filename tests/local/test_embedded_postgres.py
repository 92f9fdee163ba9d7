"""The embedded PostgreSQL keeps its data over every kind of end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from local.postgres import EmbeddedPostgres
from local.process import CannotStart

DATABASE = "it's odd"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), fsync=False) as running:
        running.create_database(DATABASE)
        yield running


async def _execute(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def _crash_and_lend_its_pid(postgres: EmbeddedPostgres) -> None:
    postgres.kill()
    pid_file = postgres.folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(EmbeddedPostgres.stop, id="stop"),
        pytest.param(EmbeddedPostgres.kill, id="crash"),
        pytest.param(_crash_and_lend_its_pid, id="crash, and its pid is some other program's now"),
    ],
)
async def test_data_outlives_the_server(
    postgres: EmbeddedPostgres, end: Callable[[EmbeddedPostgres], None]
) -> None:
    url = postgres.url(DATABASE)
    await _execute(url, "DROP TABLE IF EXISTS kept")
    await _execute(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    end(postgres)
    postgres.start()
    assert postgres.url(DATABASE) == url
    assert await _execute(url, "SELECT answer FROM kept") == [(42,)]


def test_making_a_database_again_is_harmless(postgres: EmbeddedPostgres) -> None:
    postgres.create_database(DATABASE)


async def test_it_serves_many_sessions_over_loopback_only(postgres: EmbeddedPostgres) -> None:
    rows = await _execute(
        postgres.url(),
        "SELECT current_setting('max_connections')::int >= 200, current_setting('listen_addresses'),"
        " current_setting('unix_socket_directories')",
    )
    assert rows == [(True, "127.0.0.1", "")]


async def test_it_asks_for_its_password(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host="127.0.0.1", port=postgres.port, user="postgres", password="guess")


def test_its_tools_work_with_its_address(postgres: EmbeddedPostgres) -> None:
    dump = [str(postgres.bin_folder / "pg_dump"), "--schema-only", postgres.url(DATABASE)]
    assert (
        b"PostgreSQL database dump complete" in subprocess.run(dump, capture_output=True, check=True).stdout
    )


def test_a_folder_in_use_is_refused(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(CannotStart, match="is in use"):
        EmbeddedPostgres(postgres.folder, owner_gone_within_s=0.05).start()


async def test_fsync_is_on_unless_switched_off(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "made" / "as needed") as safe:
        assert await _execute(safe.url(), "SHOW fsync") == [("on",)]
