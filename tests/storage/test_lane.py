"""A statement of the hot path costs the same however much has come and gone, also before a vacuum."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from shared.storage.lane import Lane
from tests.conftest import PostgresServer

CAME_AND_WENT = 5000
# As timers are kept: only those that are due some day are in the index.
TABLE = (
    "create table timers (id int primary key, due timestamptz, state text) with (autovacuum_enabled = off)",
    "create index due_timers on timers (due) where due is not null",
    f"insert into timers select id, now(), repeat('x', 500) from generate_series(1, {CAME_AND_WENT}) as id",
    "update timers set due = null",
)
DUE = "select id from timers where due <= $1"


@pytest.fixture
async def lane(postgres: PostgresServer) -> AsyncIterator[Lane]:
    postgres.create_database("lane")
    lane = Lane(postgres.url("lane"), size=1)
    for statement in TABLE:
        await lane.fetch(statement)
    yield lane
    await lane.close()


async def test_rows_that_are_gone_are_looked_at_once(lane: Lane) -> None:
    now = datetime.now(UTC)
    assert await lane.fetch(DUE, now) == []
    (explained,) = await lane.fetch(f"explain (analyze, buffers, format json) {DUE}", now)
    plan = json.loads(explained[0])[0]["Plan"]
    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    # The index itself is walked; the hundreds of pages on which the rows were are not.
    assert pages < CAME_AND_WENT / 100, plan
