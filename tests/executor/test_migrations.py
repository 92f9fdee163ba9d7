"""Migrations run as Prisma runs them, stop where Prisma would go on, and can be undone."""

import asyncio
import hashlib
from itertools import count
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.executor.clients.migration_files import Migration, read_migrations
from services.executor.clients.migrations import Patience, applied, apply
from services.executor.clients.postgres import schema_digest, session
from services.executor.clients.reverting import revert
from shared.errors import Failure, Retry, Stale
from tests.executor.conftest import NewDatabase
from tests.jobs.job_world import until

TOKEN = (1, 1)


def migration(folder: str, sql: str, down: str | None = None) -> Migration:
    return Migration(folder, sql, hashlib.sha256(sql.encode()).hexdigest(), down)


USERS = migration("1_users", "CREATE TABLE users (id int PRIMARY KEY, email text)", "DROP TABLE users")
STATUS = migration(
    "2_status",
    "ALTER TABLE users ADD COLUMN status text; UPDATE users SET status = 'active' -- the end",
    "ALTER TABLE users DROP COLUMN status",
)
BROKEN = migration("3_broken", "CREATE TABLE half ();\nSELECT 1 / 0 AS zero")
INDEX = migration(
    "3_index",
    "CREATE UNIQUE INDEX CONCURRENTLY users_email ON users (email);",
    "DROP INDEX CONCURRENTLY users_email;",
)
KEPT = {("public", "users"): frozenset({"id", "email"})}


async def execute(url: str, sql: str) -> None:
    async with session(url) as connection:
        await connection.execute(sql)


async def rows(url: str) -> list[dict[str, Any]]:
    async with session(url) as connection:
        return [
            dict(r) for r in await connection.fetch("SELECT * FROM _prisma_migrations ORDER BY started_at")
        ]


async def until_waited_for(url: str, table: str) -> None:
    """Returns when somebody waits for a lock on the table."""
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = $1::regclass AND NOT granted"

    async with session(url) as connection:

        async def waited() -> object:
            return await connection.fetchval(waiting, table)

        await until(waited)


async def test_what_is_applied_is_skipped(new_database: NewDatabase) -> None:
    url = await new_database()
    first = await apply(url, [USERS], TOKEN)
    both = await apply(url, [USERS, STATUS], TOKEN)
    assert [done.folder for done in both] == ["1_users", "2_status"]
    assert both[0] == first[0]
    assert await applied(url) == {"1_users": USERS.checksum, "2_status": STATUS.checksum}
    for row in await rows(url):
        assert row["finished_at"] is not None
        assert row["applied_steps_count"] == 1
        assert row["logs"] is None
        assert row["rolled_back_at"] is None


async def test_only_the_wanted_ones_run_in_the_wanted_order(new_database: NewDatabase) -> None:
    url = await new_database()
    await apply(url, [USERS, STATUS, INDEX], TOKEN, wanted=["1_users", "3_index"])
    assert list(await applied(url)) == ["1_users", "3_index"]


async def test_a_failed_script_leaves_nothing_but_its_log(new_database: NewDatabase) -> None:
    url = await new_database()
    for _ in range(2):
        with pytest.raises(Failure, match="3_broken failed: division by zero"):
            await apply(url, [USERS, STATUS, BROKEN], TOKEN)
        # Prisma would find nothing to resolve, and could go on with a corrected one.
        assert list(await applied(url)) == [row["migration_name"] for row in await rows(url)]
    async with session(url) as connection:
        assert await connection.fetchval("SELECT to_regclass('half')") is None
        failures = await connection.fetch("SELECT migration_name, logs FROM upgradepath.failure")
    assert [failure["migration_name"] for failure in failures] == ["3_broken"] * 2
    assert "division by zero" in failures[0]["logs"]


async def test_an_edited_and_a_missing_migration_are_refused_together(new_database: NewDatabase) -> None:
    url = await new_database()
    await apply(url, [USERS, STATUS], TOKEN)
    with pytest.raises(Failure) as caught:
        await apply(url, [migration("1_users", USERS.sql + ";")], TOKEN)
    assert [finding.subject for finding in caught.value.outcome.findings] == ["1_users", "2_status"]
    assert all(finding.kind == "migration" for finding in caught.value.outcome.findings)


async def test_a_full_database_without_a_history_is_refused(new_database: NewDatabase) -> None:
    url = await new_database()
    await execute(url, "CREATE TABLE somebodys ()")
    with pytest.raises(Failure) as caught:
        await apply(url, [USERS], TOKEN)
    assert "P3005" in caught.value.outcome.findings[0].detail
    assert await apply(f"{url}?schema=beside", [USERS], TOKEN)


async def test_a_held_table_is_tried_again_and_then_works(new_database: NewDatabase) -> None:
    url = await new_database()
    await apply(url, [USERS], TOKEN)
    impatient = migration("2_status", "SET lock_timeout = '50ms';" + STATUS.sql)
    holder = await asyncpg.connect(url)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE users IN ACCESS SHARE MODE")
    with pytest.raises(Retry, match="2_status"):
        await apply(url, [USERS, impatient], TOKEN, patience=Patience(tries=2, first_s=0.01))
    assert list(await applied(url)) == ["1_users"]

    waiting = asyncio.create_task(apply(url, [USERS, impatient], TOKEN))
    await until_waited_for(url, "users")
    await transaction.rollback()
    await holder.close()
    await waiting
    assert list(await applied(url)) == ["1_users", "2_status"]


async def test_prismas_lock_keeps_us_out(new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.executor.clients.migration_table._ADVISORY_LOCK_TIMEOUT_S", 0.05)
    url = await new_database()
    async with session(url) as prisma:
        await prisma.execute("SELECT pg_advisory_lock(72707369)")
        with pytest.raises(Retry, match="advisory lock"):
            await apply(url, [USERS], TOKEN)


@pytest.mark.parametrize("older", [(1, 9), (2, 1)])
async def test_a_superseded_worker_is_turned_away(new_database: NewDatabase, older: tuple[int, int]) -> None:
    url = await new_database()
    await apply(url, [USERS], (2, 2))
    with pytest.raises(Stale):
        await apply(url, [USERS, STATUS], older)
    with pytest.raises(Stale):
        await revert(url, [USERS], older, kept={})
    await apply(url, [USERS, STATUS], (2, 2))
    assert list(await applied(url)) == ["1_users", "2_status"]


async def test_a_crash_between_script_and_row_is_settled(new_database: NewDatabase) -> None:
    url = await new_database()
    await apply(url, [USERS], TOKEN)
    # As a killed worker leaves it: started, never finished, and nothing of the script is there.
    await execute(
        url,
        "INSERT INTO upgradepath.attempt VALUES ('ours');"
        "INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ('ours', 'c', '2_status')",
    )
    await apply(url, [USERS, STATUS], TOKEN)
    assert list(await applied(url)) == ["1_users", "2_status"]


async def test_prismas_own_interrupted_row_is_not_guessed_at(new_database: NewDatabase) -> None:
    url = await new_database()
    await apply(url, [USERS], TOKEN)
    await execute(
        url, "INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ('its', 'c', '2_status')"
    )
    with pytest.raises(Failure, match="do not fit") as caught:
        await apply(url, [USERS, STATUS], TOKEN)
    assert "interrupted" in caught.value.outcome.findings[0].detail


async def test_an_index_is_built_outside_a_transaction_and_cleaned_when_it_fails(
    new_database: NewDatabase,
) -> None:
    url = await new_database()
    await apply(url, [USERS], TOKEN)
    await execute(url, "INSERT INTO users VALUES (1, 'same'), (2, 'same')")
    before = await schema_digest(url)
    with pytest.raises(Failure, match="3_index"):
        await apply(url, [USERS, INDEX], TOKEN)
    assert await schema_digest(url) == before
    assert await revert(url, [INDEX], TOKEN, kept=KEPT) == []
    await execute(url, "DELETE FROM users WHERE id = 2")
    await apply(url, [USERS, INDEX], TOKEN)
    assert await schema_digest(url) != before
    assert await revert(url, [INDEX], TOKEN, kept=KEPT) == ["3_index"]
    assert await schema_digest(url) == before


PARTED = migration(
    "2_parted",
    "ALTER TABLE users ADD COLUMN status text;\nCOMMIT;\n"
    "BEGIN;\nUPDATE users SET status = 'active';\nINSERT INTO users VALUES (9, 'nine');\nEND;\n"
    "INSERT INTO users SELECT id + 1, 'ten' FROM users WHERE id = 9; -- the end",
)


async def test_a_script_with_transactions_of_its_own_goes_on_after_the_last_that_is_committed(
    new_database: NewDatabase,
) -> None:
    url = await new_database()
    await apply(url, [USERS], TOKEN)
    # Only the third transaction stumbles over it.
    await execute(url, "INSERT INTO users VALUES (10, 'in the way')")
    with pytest.raises(Failure, match="duplicate key") as caught:
        await apply(url, [USERS, PARTED], TOKEN)
    assert "2 of its own transactions are committed" in caught.value.outcome.findings[0].cure
    with pytest.raises(Failure, match="do not fit") as caught:
        await apply(url, [USERS, PARTED], TOKEN)
    assert "P3009" in caught.value.outcome.findings[0].detail
    # As a killed worker leaves it: no verdict, two of three committed.
    await execute(url, "UPDATE _prisma_migrations SET logs = NULL; DELETE FROM users WHERE id = 10")
    await apply(url, [USERS, PARTED], TOKEN)
    assert list(await applied(url)) == ["1_users", "2_parted"]
    async with session(url) as connection:
        found = await connection.fetch("SELECT id, status FROM users ORDER BY id")
    assert [tuple(each) for each in found] == [(9, None), (10, None)]


async def test_an_error_is_told_with_its_line_in_the_whole_script(new_database: NewDatabase) -> None:
    url = await new_database()
    wrong = migration("2_wrong", "SELECT 1;\nCOMMIT;\nSELECT 2;\nSELECT FROM nowhere;\n")
    with pytest.raises(Failure, match="line 4: relation"):
        await apply(url, [wrong], TOKEN)


@pytest.mark.parametrize("after", ["intent", "half", "whole"])
@pytest.mark.parametrize("schema", ["public", "Beside it"])
@pytest.mark.superuser
async def test_an_index_build_that_was_killed_is_settled(
    new_database: NewDatabase, after: str, schema: str
) -> None:
    url = await new_database()
    table = migration("1_t", f'CREATE SCHEMA IF NOT EXISTS "{schema}"; CREATE TABLE "{schema}".t (x int)')
    await apply(url, [table], TOKEN)
    build = f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "By X" ON "{schema}"."t" (x)'
    index = migration("2_index", build, f'DROP INDEX CONCURRENTLY "{schema}"."By X"')
    await execute(
        url,
        "INSERT INTO upgradepath.attempt (id) VALUES ('ours'); INSERT INTO _prisma_migrations (id, checksum,"
        f" migration_name, started_at) VALUES ('ours', '{index.checksum}', '2_index', clock_timestamp())",
    )
    before = await schema_digest(url)
    if after != "intent":
        await execute(url, build)
    if after == "half":
        spoil = "UPDATE pg_index SET indisvalid = false FROM pg_class WHERE oid = indexrelid"
        await execute(url, f"{spoil} AND relname = 'By X'")
    await apply(url, [table, index], TOKEN)
    assert list(await applied(url)) == ["1_t", "2_index"]
    assert [row["id"] == "ours" for row in await rows(url)] == [False, after == "whole"]
    async with session(url) as connection:
        assert await connection.fetchval(
            "SELECT indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname = 'By X'"
        )
    assert await revert(url, [index], TOKEN, kept={}) == ["2_index"]
    assert await schema_digest(url) == before


async def test_an_index_may_have_a_longer_name_than_postgresql_keeps(new_database: NewDatabase) -> None:
    url, name = await new_database(), "users_by_" + "é" * 60
    await apply(url, [USERS], TOKEN)
    before = await schema_digest(url)
    build = migration(
        "2_index",
        f'CREATE INDEX CONCURRENTLY "{name}" ON users (email)',
        f'-- and back\nDROP INDEX CONCURRENTLY "{name}"',
    )
    await apply(url, [USERS, build], TOKEN)
    assert await schema_digest(url) != before
    assert await revert(url, [build], TOKEN, kept=KEPT) == ["2_index"]
    assert await schema_digest(url) == before


async def test_a_way_down_may_have_nothing_to_do(new_database: NewDatabase) -> None:
    url = await new_database()
    noted = migration("2_noted", "-- for the record", "-- nothing to take back\n")
    empty = migration("3_empty", "", "")
    await apply(url, [USERS, noted, empty], TOKEN, run=[USERS.folder, noted.folder, empty.folder])
    assert await revert(url, [noted, empty], TOKEN, kept=KEPT) == ["3_empty", "2_noted"]


async def test_what_is_no_sql_to_our_parser_is_refused_by_its_line_or_replayed_whole(
    new_database: NewDatabase,
) -> None:
    url = await new_database()
    odd = migration("2_odd", "CREATE TABLE a ();\n\\connect elsewhere")
    with pytest.raises(Failure) as caught:
        await apply(url, [USERS, odd], TOKEN, run=[USERS.folder, odd.folder])
    (refused,) = caught.value.outcome.findings
    assert refused.subject == "prisma/migrations/2_odd/migration.sql:2"
    # A replay of what there was goes to the server as it is, and the server has the word.
    with pytest.raises(Failure, match="2_odd failed: line 2: syntax error"):
        await apply(url, [USERS, odd], TOKEN)


@pytest.mark.superuser
async def test_an_invalid_index_of_others_is_not_taken_for_the_one_that_is_wanted(
    new_database: NewDatabase,
) -> None:
    url = await new_database()
    await apply(url, [USERS], TOKEN)
    await execute(url, "CREATE INDEX by_mail ON users (email)")
    await execute(url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_mail'::regclass")
    wanted = migration("2_index", "CREATE INDEX CONCURRENTLY IF NOT EXISTS by_mail ON users (email)")
    await apply(url, [USERS, wanted], TOKEN)
    async with session(url) as connection:
        assert await connection.fetchval(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_mail'::regclass"
        )


@pytest.mark.superuser
async def test_settings_of_a_script_end_with_it(new_database: NewDatabase) -> None:
    url = await new_database()
    dumped = migration(
        "1_dumped",
        "SELECT pg_catalog.set_config('search_path', '', false); CREATE TABLE public.dumped ();"
        " SET default_transaction_read_only = on; SET ROLE pg_monitor",
    )
    after = migration("2_after", 'CREATE TABLE "nach dem Schlüssel" ()')
    await apply(url, [dumped, after], TOKEN)
    async with session(url) as connection:
        assert await connection.fetchval("SELECT to_regclass('public.\"nach dem Schlüssel\"') IS NOT NULL")


async def test_what_takes_longer_than_it_may_is_a_verdict(new_database: NewDatabase) -> None:
    url = await new_database()
    slow = migration("1_slow", "SET statement_timeout = '20ms'; SELECT pg_sleep(30)")
    with pytest.raises(Failure, match="statement timeout") as caught:
        await apply(url, [slow], TOKEN)
    assert "SET statement_timeout" in caught.value.outcome.findings[0].cure


async def test_undoing_goes_backwards_and_keeps_the_rows(new_database: NewDatabase) -> None:
    url = await new_database()
    await apply(url, [USERS], TOKEN)
    before = await schema_digest(url)
    await execute(url, "INSERT INTO users SELECT n, 'mail' FROM generate_series(1, 3) n")
    await apply(url, [USERS, STATUS, INDEX], TOKEN, wanted=["2_status"])
    assert await revert(url, [STATUS, INDEX], TOKEN, kept=KEPT) == ["2_status"]
    assert await schema_digest(url) == before
    assert list(await applied(url)) == ["1_users"]
    assert await revert(url, [STATUS, INDEX], TOKEN, kept=KEPT) == []
    await apply(url, [USERS, STATUS], TOKEN)
    assert list(await applied(url)) == ["1_users", "2_status"]


@pytest.mark.parametrize(
    ("down", "lost"),
    [
        ("DROP TABLE users", "table users with 3 rows"),
        ("ALTER TABLE users DROP COLUMN email", "3 values of column users.email"),
        ("DELETE FROM users WHERE id = 1", "1 of 3 rows of table users"),
        ("UPDATE users SET email = NULL WHERE id < 3", "2 values of column users.email"),
    ],
)
async def test_nothing_is_undone_when_a_row_would_be_lost(
    new_database: NewDatabase, down: str, lost: str
) -> None:
    url = await new_database()
    lossy = migration("3_lossy", "SELECT 1", down)
    await apply(url, [USERS], TOKEN)
    await execute(url, "INSERT INTO users SELECT n, 'mail' FROM generate_series(1, 3) n")
    await apply(url, [USERS, STATUS, lossy], TOKEN)
    before = await schema_digest(url)
    with pytest.raises(Failure) as caught:
        await revert(url, [STATUS, lossy], TOKEN, kept=KEPT)
    assert [(f.kind, f.detail) for f in caught.value.outcome.findings] == [
        ("data-loss", f"Its down.sql would lose {lost}.")
    ]
    assert await schema_digest(url) == before
    assert list(await applied(url)) == ["1_users", "2_status", "3_lossy"]


def test_migrations_are_read_from_their_folders_in_prismas_order() -> None:
    files = {
        "prisma/migrations/2_b/migration.sql": b"SELECT 2",
        "prisma/migrations/1_a b/migration.sql": b"SELECT 1",
        "prisma/migrations/1_a b/down.sql": b"SELECT -1",
        "prisma/migrations/migration_lock.toml": b"",
        "prisma/migrations/2_b/deeper/migration.sql": b"no",
        "elsewhere/3_c/migration.sql": b"no",
    }
    first, second = read_migrations(files)
    assert (first.folder, first.sql, first.down_sql) == ("1_a b", "SELECT 1", "SELECT -1")
    assert (second.folder, second.down_sql) == ("2_b", None)
    assert second.checksum == hashlib.sha256(b"SELECT 2").hexdigest()


NAMES = st.sampled_from(["alpha", "Beta", "gamma delta", "select"])
TYPES = st.sampled_from(["int DEFAULT 1", "text NOT NULL DEFAULT 'x'", "jsonb", "numeric(8, 2)[]"])


@st.composite
def steps(draw: st.DrawFn) -> list[Migration]:
    """Additive migrations, each with its exact way back."""
    numbers = count(1)
    made: list[Migration] = []
    for name, kind in draw(st.lists(st.tuples(NAMES, TYPES), min_size=1, max_size=5)):
        number = next(numbers)
        table, column = f'"{name} {number}"', f'"c {number}"'
        ways = [
            (f"CREATE TABLE {table} (id serial PRIMARY KEY, c {kind})", f"DROP TABLE {table}"),
            (f"ALTER TABLE users ADD COLUMN {column} {kind}", f"ALTER TABLE users DROP COLUMN {column}"),
            (f"CREATE INDEX {table} ON users (email)", f"DROP INDEX {table}"),
            (f"CREATE TYPE {table} AS ENUM ('{name}')", f"DROP TYPE {table}"),
        ]
        up, down = draw(st.sampled_from(ways))
        made.append(migration(f"5_{number}", up, down))
    return made


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=steps())
async def test_up_and_down_is_where_it_began(new_database: NewDatabase, made: list[Migration]) -> None:
    url = await new_database()
    await apply(url, [USERS], TOKEN)
    await execute(url, "INSERT INTO users VALUES (1, 'a')")
    before = await schema_digest(url)
    await apply(url, [USERS, *made], TOKEN)
    assert await schema_digest(url) != before
    await revert(url, made, TOKEN, kept=KEPT)
    assert await schema_digest(url) == before


async def test_a_failure_does_not_tell_what_rows_hold(new_database: NewDatabase) -> None:
    url = await new_database()
    await apply(url, [USERS], TOKEN)
    await execute(url, "INSERT INTO users VALUES (1, 'ann@real.example'), (2, 'ann@real.example')")
    unique = migration("3_unique", "CREATE UNIQUE INDEX one ON users (email)")
    for _ in range(2):
        with pytest.raises(Failure) as caught:
            await apply(url, [USERS, unique], TOKEN)
        told = caught.value.outcome.model_dump_json()
        assert "could not create unique index" in told
        assert "ann@" not in told
    async with session(url) as connection:
        assert "ann@real.example" in await connection.fetchval("SELECT logs FROM upgradepath.failure LIMIT 1")
