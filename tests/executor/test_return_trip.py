"""Ways down outside a transaction are taken for good in staging, and a crash leaves nothing half made."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest

from services.executor.clients import migrations
from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import schema_description, session
from services.executor.stages.return_trip import Start, go_down, name_of, settle, start_of
from shared.errors import Failure
from tests.brokers.place import eventually
from tests.conftest import NewDatabase
from tests.executor.test_migrations import execute, migration

KEPT = {("public", "t"): frozenset({"id", "a"})}
TOKEN = (1, 1)
BEFORE = [migration("1_before", "CREATE TABLE t (id int PRIMARY KEY, a text); CREATE INDEX old ON t (a)")]
OURS = [
    replace(
        migration("2_built", "CREATE INDEX CONCURRENTLY new ON t (a)"), down_sql="DROP INDEX CONCURRENTLY new"
    ),
    replace(migration("3_column", "ALTER TABLE t ADD b int"), down_sql="ALTER TABLE t DROP b"),
    replace(
        migration("4_dropped", "DROP INDEX CONCURRENTLY old"),
        down_sql="CREATE INDEX CONCURRENTLY old ON t (a)",
    ),
]


async def upgraded(url: str, ours: Sequence[Migration]) -> Start:
    await migrations.apply(url, BEFORE, TOKEN)
    await execute(url, "INSERT INTO t SELECT n, 'same' FROM generate_series(1, 20) n")
    start = await start_of(url, KEPT, begun=False)
    folders = [each.folder for each in ours]
    await migrations.apply(url, [*BEFORE, *ours], TOKEN, wanted=folders, run=folders)
    assert start is not None
    return start


async def test_they_are_taken_and_the_migrations_applied_again(new_database: NewDatabase) -> None:
    url = await new_database()
    start = await upgraded(url, OURS)
    there = await schema_description(url)
    step = await go_down(url, [*BEFORE, *OURS], OURS, start, TOKEN)
    assert step is not None
    assert "applied again: the schema and 20 rows of 1 tables are as before" in step.detail
    assert await schema_description(url) == there
    assert list(await migrations.applied(url)) == ["1_before", "2_built", "3_column", "4_dropped"]

    # The app has written since, and nothing is taken twice.
    await execute(url, "DELETE FROM t")
    again = await start_of(url, KEPT, begun=True)
    assert again is not None
    assert not again.is_of_others(OURS)
    repeated = await go_down(url, [*BEFORE, *OURS], OURS, again, TOKEN)
    assert repeated is not None
    assert repeated.detail == step.detail
    others = [replace(each, down_sql="SELECT 1") for each in OURS]
    assert again.is_of_others(others)


@pytest.mark.parametrize(
    ("done", "left"),
    [
        (0, "DROP INDEX old"),
        (0, "CREATE UNIQUE INDEX CONCURRENTLY old ON t (a)"),
        (1, "SELECT 1"),
        (2, "DROP INDEX CONCURRENTLY new; CREATE UNIQUE INDEX CONCURRENTLY new ON t (a)"),
    ],
)
async def test_half_an_index_is_found_and_dropped(new_database: NewDatabase, done: int, left: str) -> None:
    """`done` ways down were taken before the crash, and the statement is what it left of the next one.

    A unique index over equal values fails half way, as every interrupted build does: it is not valid.
    """
    url = await new_database()
    start = await upgraded(url, OURS)
    there = await schema_description(url)
    stopped = [each if place >= 3 - done else None for place, each in enumerate(OURS)]
    for each in reversed([each for each in stopped if each is not None]):
        await execute(url, each.down_sql or "")
        await execute(url, f"DELETE FROM _prisma_migrations WHERE migration_name = '{each.folder}'")
    for statement in left.split("; "):
        try:
            await execute(url, statement)
        except (asyncpg.UniqueViolationError, asyncpg.UndefinedObjectError):
            continue
    taken = await start_of(url, KEPT, begun=True)
    assert taken == start
    with_mark = await marked_as_trying(url, start)
    await settle(url, [*BEFORE, *OURS], OURS, with_mark, TOKEN)
    assert await schema_description(url) == there
    async with session(url) as connection:
        assert await connection.fetchval("SELECT bool_and(indisvalid) FROM pg_index")
    assert list(await migrations.applied(url)) == ["1_before", "2_built", "3_column", "4_dropped"]


HALVES = replace(
    migration(
        "5_halves",
        "BEGIN; ALTER TABLE t ADD c int; COMMIT;"
        " SELECT pg_sleep(coalesce(nullif(current_setting('test.stop', true), ''), '0')::float);",
    ),
    down_sql="ALTER TABLE t DROP c",
)


@pytest.mark.superuser
async def test_a_crash_while_they_are_applied_again_is_a_crash_of_a_migration(
    new_database: NewDatabase,
) -> None:
    url = await new_database()
    ours = [OURS[0], HALVES]
    history, folders = [*BEFORE, *ours], [each.folder for each in ours]
    start = await upgraded(url, ours)
    name = url.rpartition("/")[2].partition("?")[0]
    await execute(url, f"ALTER DATABASE \"{name}\" SET test.stop = '600'")
    going = asyncio.create_task(go_down(url, history, ours, start, TOKEN))
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'"
    async with session(url) as connection:
        await eventually(lambda: connection.fetchval(asleep, name), bool)
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
        await connection.execute(f'ALTER DATABASE "{name}" RESET test.stop')

    found = await start_of(url, KEPT, begun=True)
    assert found is not None
    await settle(url, history, ours, found, TOKEN)
    await migrations.apply(url, history, TOKEN, wanted=folders, run=folders)
    step = await go_down(url, history, ours, found, TOKEN)
    assert step is not None
    assert list(await migrations.applied(url)) == ["1_before", *folders]


async def marked_as_trying(url: str, start: Start) -> Start:
    """As it is found after a crash in the middle of the ways down."""
    await execute(url, f"UPDATE upgradepath.start SET trying = '{name_of(OURS)}'")
    found = await start_of(url, KEPT, begun=True)
    assert found is not None
    assert found.trying == name_of(OURS)
    assert not found.is_of_others(OURS)
    return found


async def test_one_that_does_not_lead_back_is_told(new_database: NewDatabase) -> None:
    url = await new_database()
    ours = [*OURS[:2], replace(OURS[2], down_sql="CREATE INDEX CONCURRENTLY other ON t (a)")]
    start = await upgraded(url, ours)
    with pytest.raises(Failure) as failed:
        await go_down(url, [*BEFORE, *ours], ours, start, TOKEN)
    (finding,) = failed.value.outcome.findings
    assert "missing: index CREATE INDEX old" in finding.detail

    url = await new_database()
    ours = [*OURS[:2], replace(OURS[2], down_sql="CREATE UNIQUE INDEX CONCURRENTLY old ON t (a)")]
    start = await upgraded(url, ours)
    with pytest.raises(Failure, match="cannot be undone"):
        await go_down(url, [*BEFORE, *ours], ours, start, TOKEN)
    async with session(url) as connection:
        assert await connection.fetchval("SELECT bool_and(indisvalid) FROM pg_index"), (
            "nothing half made is left"
        )
    stuck = await start_of(url, KEPT, begun=True)
    assert stuck is not None
    assert stuck.is_of_others(OURS), "a corrected way down begins in a new staging"
