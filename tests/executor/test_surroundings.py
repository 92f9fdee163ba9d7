"""What stands around a migration is told with its line; what would falsify or stop it is refused."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from local.postgres import EmbeddedPostgres
from services.executor.clients.postgres import session
from services.executor.clients.preflight import lacking
from services.executor.clients.surroundings import room_in, surroundings
from shared.sql.classing import classify
from shared.sql.scene import Scene
from shared.sql.script import read_statements
from tests.conftest import NewDatabase
from tests.executor.test_migrations import execute, migration

ROLE = "surrounded_role"


@pytest.fixture
async def role(new_database: NewDatabase) -> AsyncIterator[tuple[str, str]]:
    """A database as its owner, and as a role that may do anything in it but owns nothing."""
    url = await new_database()
    database = url.rpartition("/")[2]
    await execute(
        url,
        f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN PASSWORD 'some';"
        f" GRANT ALL ON DATABASE {database} TO {ROLE}; GRANT ALL ON SCHEMA public TO {ROLE};"
        f" ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {ROLE}",
    )
    yield url, f"postgresql://{ROLE}:some@{url.partition('@')[2]}"
    await execute(url, f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


async def refused(url: str, sql: str = "SELECT 1") -> list[tuple[str, str]]:
    return [(each.detail, each.cure) for each in await lacking(url, [migration("1_m", sql)])]


async def told(url: str, sql: str, *, room_bytes: int = 1 << 40, long_s: int = 60) -> dict[str, list[str]]:
    statements = read_statements(sql)
    impacts = classify(statements, Scene())
    scripts, classed = {"1_m": statements}, {"1_m": impacts}
    found_there = await surroundings(url, scripts, classed, room_bytes=room_bytes, long_s=long_s)
    lints = found_there["1_m"]
    assert all(each.cure for each in lints)
    found: dict[str, list[str]] = {}
    for each in lints:
        message = re.sub(r"\(\d+ s\)", "(… s)", each.message)
        found.setdefault(f"{each.line} {each.rule}", []).append(message)
    return found


@pytest.mark.superuser
async def test_rows_that_a_policy_may_hide_are_no_ground_to_decide_on(role: tuple[str, str]) -> None:
    owner, url = role
    await execute(owner, "CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    ((detail, cure),) = await refused(url)
    assert "Row-level security may hide rows of public.t" in detail
    assert cure == f'ALTER ROLE "{ROLE}" BYPASSRLS, or ALTER TABLE public.t OWNER TO "{ROLE}"'
    assert await refused(owner) == []
    await execute(owner, f"ALTER TABLE t OWNER TO {ROLE}")
    assert await refused(url) == []
    await execute(owner, "ALTER TABLE t FORCE ROW LEVEL SECURITY")
    ((_, cure),) = await refused(url)
    assert "NO FORCE ROW LEVEL SECURITY" in cure
    await execute(owner, f"ALTER ROLE {ROLE} BYPASSRLS")
    assert await refused(url) == []


@pytest.mark.superuser
async def test_a_limit_below_what_an_upgrade_takes(role: tuple[str, str]) -> None:
    owner, url = role
    await execute(owner, f"ALTER ROLE {ROLE} CONNECTION LIMIT 2")
    ((detail, cure),) = await refused(url)
    assert "2 are permitted" in detail
    assert cure == f'ALTER ROLE "{ROLE}" CONNECTION LIMIT 4, or more'
    await execute(owner, f"ALTER ROLE {ROLE} CONNECTION LIMIT 4")
    assert await refused(url) == []


async def test_a_prepared_transaction_that_holds_a_touched_table() -> None:
    """On a server of its own: the others take none."""
    settings = {"max_prepared_transactions": "2"}
    # Not in pytest's own folder: another pytest that starts shuts it to the user that PostgreSQL runs as.
    with (
        TemporaryDirectory(prefix="upgradepath-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", fsync=False, settings=settings) as server,
    ):
        url = server.url()
        await execute(url, "CREATE TABLE t (id int); CREATE TABLE u (id int)")
        await execute(url, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'ann@example.com'")
        ((detail, _),) = await refused(url, "ALTER TABLE t ADD a int")
        assert "holds locks on t" in detail
        assert "ann@example.com" not in detail
        assert await refused(url, "ALTER TABLE u ADD a int") == []
        await execute(url, "ROLLBACK PREPARED 'ann@example.com'")
        assert await refused(url, "ALTER TABLE t ADD a int") == []


async def test_who_keeps_it_waiting_is_named_by_number_and_age(
    new_database: NewDatabase,
) -> None:
    url = await new_database()
    await execute(url, "CREATE TABLE t (id int); CREATE TABLE u (id int)")
    async with session(url) as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("LOCK TABLE t IN SHARE MODE; SELECT 'a secret'")
        pid = await holder.fetchval("SELECT pg_backend_pid()")
        found = await told(url, "SELECT 1;\nALTER TABLE t ADD a int", long_s=0)
        assert found["2 waits-for-a-session"] == [f"Session {pid} (… s) holds a lock on t."]
        assert await told(url, "ALTER TABLE u ADD a int", long_s=0) == {}
        alone = await told(url, "CREATE INDEX CONCURRENTLY i ON u (id)", long_s=0)
        assert alone["1 waits-for-a-session"] == [f"Session {pid} (… s) has a transaction open."]
        await transaction.rollback()
    assert await told(url, "ALTER TABLE t ADD a int", long_s=0) == {}


async def test_a_short_transaction_is_nobodys_concern(new_database: NewDatabase) -> None:
    url = await new_database()
    await execute(url, "CREATE TABLE t (id int)")
    async with session(url) as holder, holder.transaction():
        await holder.execute("LOCK TABLE t IN SHARE MODE")
        assert await told(url, "ALTER TABLE t ADD a int") == {}


@pytest.mark.superuser
async def test_what_does_not_follow_or_fires_along_is_told(new_database: NewDatabase) -> None:
    url = await new_database()
    await execute(
        url,
        "CREATE TABLE t (id int); CREATE TABLE u (id int); CREATE PUBLICATION out FOR TABLE t;"
        " CREATE FUNCTION seen() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        " CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION seen();"
        " CREATE EVENT TRIGGER asleep ON ddl_command_end EXECUTE FUNCTION seen();"
        " ALTER EVENT TRIGGER asleep DISABLE",
    )
    found = await told(url, "ALTER TABLE u ADD a int;\nALTER TABLE t ADD a int;\nUPDATE t SET a = 1")
    assert found == {
        "1 event-triggers": ["watch fire on what migrations do."],
        "2 logical-replication": ["t is published by out, without its DDL."],
    }


async def test_a_column_that_a_publication_names_is_told(new_database: NewDatabase) -> None:
    """No rehearsal shows it: the publication is the hosting's, and in production alone."""
    url = await new_database()
    async with session(url) as connection:
        if connection.get_server_version().major < 15:
            pytest.skip("PostgreSQL publishes columns from 15 on")
    await execute(
        url,
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int);"
        " CREATE PUBLICATION feed FOR TABLE t (id, a) WHERE (id > 0)",
    )
    found = await told(url, "ALTER TABLE t DROP a;\nALTER TABLE t DROP b, ADD d int")
    (message,) = found["1 published-column"]
    assert "feed names t.a" in message
    assert "2 published-column" not in found


async def test_room_is_told_where_it_is_known_and_unknown_where_it_is_not(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    url = await new_database()
    await execute(
        url, "CREATE TABLE t (id int, a text); INSERT INTO t SELECT 1, 2 FROM generate_series(1, 99)"
    )
    found = await told(url, "ALTER TABLE t ALTER a TYPE int USING a::int")
    (message,) = found.pop("1 disk-of-the-server")
    assert "t is written anew: up to 1 MiB more" in message
    assert "unknown" in message
    assert found == {}
    (message,) = (await told(url, "SELECT 1", room_bytes=1 << 20))["1 disk-of-the-worker"]
    assert "this worker has 1 MiB for it" in message
    assert room_in(tmp_path / "not" / "made yet") > 0
