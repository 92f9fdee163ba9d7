"""A database that does not answer and does not say so: what waits for it is given up, and goes on."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import text

from shared.contracts.releases import PublishRelease
from shared.contracts.values import Actor
from shared.storage.database import Database, Transaction, is_passing
from shared.storage.tables import MESSAGE_TABLES
from tests.conftest import PostgresServer
from tests.support.silence import Silence

_numbers = itertools.count(1)
ANSWER_WITHIN_S = 0.5
LIBRARY = Actor(id="library@upgradepath.example", role="library")


@pytest.fixture
async def way(postgres: PostgresServer) -> AsyncIterator[Silence]:
    server = urlsplit(postgres.url())
    assert server.hostname is not None
    async with Silence(server.hostname, server.port or 5432).running() as way:
        yield way


@pytest.fixture
async def database(postgres: PostgresServer, way: Silence) -> AsyncIterator[Database[Transaction]]:
    """One whose server is reached by that way."""
    name = f"silent_{next(_numbers)}"
    postgres.create_database(name)
    server = urlsplit(postgres.url(name))
    url = urlunsplit(server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{way.port}"))
    database = Database("registry", url, Transaction, answer_within_s=ANSWER_WITHIN_S)
    async with database.engine.begin() as connection:
        await connection.run_sync(MESSAGE_TABLES.create_all)
    yield database
    await database.close()


async def on_the_hot_lane(database: Database[Transaction]) -> None:
    async with database.transaction() as tx:
        tx.send(PublishRelease(actor=LIBRARY, system="auth-system", version="1.3.0", package="0" * 64))


async def in_a_session(database: Database[Transaction]) -> None:
    async with database.transaction() as tx:
        await tx.session.execute(text("select 1"))


@pytest.mark.parametrize("work", [on_the_hot_lane, in_a_session])
async def test_what_waits_for_it_fails_for_a_reason_that_passes_and_goes_on_when_it_is_back(
    database: Database[Transaction], way: Silence, work: Any
) -> None:
    # Several connections of each kind lie ready, and all of them are dead then.
    await asyncio.gather(*(work(database) for _ in range(4)))
    way.fall()
    began = time.monotonic()
    with pytest.raises(Exception) as failed:  # noqa: PT011  of whatever type: it must be one that passes
        await work(database)
    assert is_passing(failed.value), repr(failed.value)
    assert time.monotonic() - began < 10 * ANSWER_WITHIN_S
    way.end()
    await work(database)  # at once: no other dead connection is tried first


async def test_both_ends_ask_after_one_that_says_nothing(database: Database[Transaction]) -> None:
    asked = "select name, setting from pg_settings where name like 'tcp\\_%' order by name"
    told = {
        "tcp_keepalives_count": "3",
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_user_timeout": "30000",
    }
    assert dict(await database.lane.fetch(asked)) == told
    [lane] = database.lane._idle
    async with database.engine.connect() as connection:
        assert {row.name: row.setting for row in await connection.execute(text(asked))} == told
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        for end in (driver, lane):
            wire = end._transport.get_extra_info("socket")
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
