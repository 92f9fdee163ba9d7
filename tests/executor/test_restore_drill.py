"""A backup is what has come back: restored beside production by its own role, and compared in everything."""

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from services.executor.clients.backup import ProgramFailed
from services.executor.clients.contents import Contents, contents
from services.executor.clients.postgres import session
from services.executor.clients.printed import Printed, other_prints
from services.executor.clients.restore_copy import passes, why
from services.executor.clients.restore_drill import Backup, Drill, backed_up, drill, fingerprint, summed
from services.executor.clients.row_digests import RowDigest
from services.executor.clients.scratch_database import Swept, order_database, scratch_database, sweep_scratch
from services.executor.clients.written_since import Beginning
from shared.background import end
from shared.clients.database_urls import database_of, with_database
from shared.contracts.stages import Finding
from tests.executor.conftest import Made

NEWEST = pytest.mark.parametrize("made", ["18"], indirect=True)
MAY_MAKE = "ALTER ROLE {role} CREATEDB; "
# One thing of each kind that a restore has been seen to lose somewhere.
RICH = """
    CREATE ROLE app_{role}; CREATE ROLE reader_{role}; GRANT app_{role} TO {role};
    GRANT ALL ON SCHEMA public TO {role}, app_{role}; CREATE SCHEMA own AUTHORIZATION {role};
    GRANT USAGE ON SCHEMA own TO reader_{role}; SET ROLE {role};
    CREATE TYPE own.mood AS ENUM ('sad', 'ok'); CREATE TYPE own.pair AS (a int, b text);
    CREATE DOMAIN own.small AS int CHECK (VALUE < 100);
    CREATE COLLATION own.plain FROM "C";
    CREATE TABLE goods (
        id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar(20) CHECK (name IN ('a', 'b')),
        m own.mood[], p own.pair, n own.small, t text COLLATE own.plain,
        twice int GENERATED ALWAYS AS (1 + 1) STORED, at timestamptz DEFAULT now()
    ) WITH (fillfactor = 70);
    INSERT INTO goods (name, m, p, n, t)
    SELECT 'a', ARRAY['sad'::own.mood], (1, 'x')::own.pair, g, 'T' || g FROM generate_series(1, 50) g;
    ALTER TABLE goods ALTER COLUMN name SET STATISTICS 500;
    CREATE TABLE ev (id bigserial, at date NOT NULL, CHECK (id > 0)) PARTITION BY RANGE (at);
    CREATE TABLE ev1 PARTITION OF ev FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE ev2 PARTITION OF ev DEFAULT; INSERT INTO ev (at) VALUES ('2020-05-01'), ('2022-01-01');
    CREATE TABLE parent (a int, b text); CREATE TABLE child (c int) INHERITS (parent);
    ALTER TABLE parent ADD COLUMN d int DEFAULT 4; INSERT INTO child VALUES (1, 'x', 2, 3);
    CREATE INDEX ON goods (lower(name)) WHERE n > 3; CREATE STATISTICS st ON name, n FROM goods;
    CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM goods;
    CREATE VIEW v WITH (security_barrier) AS SELECT name FROM goods WHERE name IN ('a', 'c');
    ALTER TABLE goods ENABLE ROW LEVEL SECURITY;
    CREATE POLICY pol ON goods TO reader_{role} USING (name IN ('a', 'b'));
    GRANT SELECT (id, name) ON goods TO reader_{role};
    ALTER DEFAULT PRIVILEGES IN SCHEMA own GRANT SELECT ON TABLES TO reader_{role};
    COMMENT ON COLUMN goods.name IS 'it''s
-- Name: x; Type: TABLE; Schema: y; Owner: z';
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'it fires'; END $$;
    CREATE TRIGGER tr BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION f();
    ALTER TABLE parent ENABLE ALWAYS TRIGGER tr;
    CREATE SEQUENCE down INCREMENT -2 START -1; SELECT nextval('down'), nextval('down');
    SELECT lo_from_bytea(0, 'abc');
    ALTER TABLE goods OWNER TO app_{role};
"""


async def tried(url: str, folder: Path) -> Drill:
    return await drill(url, await backed_up(url, folder / "production.dump"))


async def databases(url: str) -> set[str]:
    async with session(url) as connection:
        return {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}


async def execute(url: str, sql: str) -> None:
    async with session(url) as connection:
        await connection.execute(sql)


async def test_everything_comes_back_and_nothing_is_left(made: Made, tmp_path: Path) -> None:
    url, plain = await made(MAY_MAKE + RICH)
    # What a function reads of the database's own settings is there when its rows come.
    name = database_of(url)
    await execute(
        url, f"ALTER DATABASE {name} SET app.\"Zone\" = 'it''s'; ALTER DATABASE {name} SET work_mem = '5MB'"
    )
    await execute(url, f"ALTER DATABASE {name} SET search_path = public, own")
    await execute(plain, "CREATE FUNCTION zoned(int) RETURNS boolean LANGUAGE sql AS"
                  " $$ SELECT current_setting('app.Zone') = 'it''s' $$")  # fmt: skip
    await execute(plain, "ALTER TABLE ev ADD CHECK (zoned(1))")
    before = await databases(url)
    (tmp_path / "plain").mkdir()
    (tmp_path / "superuser").mkdir()
    for who, place in ((plain, tmp_path / "plain"), (url, tmp_path / "superuser")):
        found = await tried(who, place)
        assert found.findings == ()
        assert found.rows == 53
    assert await databases(url) == before
    # What is added to production makes another backup; the rows do not.
    first = await fingerprint(plain, tmp_path / "plain" / "production.dump")
    await execute(plain, "INSERT INTO ev (at) VALUES ('2020-06-01')")
    await backed_up(plain, tmp_path / "second.dump")
    assert await fingerprint(plain, tmp_path / "second.dump") == first
    await execute(plain, "GRANT SELECT ON ev TO PUBLIC")
    await backed_up(plain, tmp_path / "third.dump")
    assert await fingerprint(plain, tmp_path / "third.dump") != first


LOOKS_AROUND = """
    CREATE TABLE rates (id int PRIMARY KEY); INSERT INTO rates VALUES (1);
    CREATE FUNCTION rated(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql SET search_path = public
    AS $$ BEGIN RETURN EXISTS (SELECT FROM rates WHERE id >= $1); END $$;
"""


@pytest.mark.parametrize(
    ("script", "subject"),
    [
        # More than a pipe holds: it is still being written when the server stops at its first row.
        (
            "CREATE TABLE sold (id int CHECK (rated(id)), note text);"
            " INSERT INTO sold SELECT 1, repeat('x', 10000) FROM generate_series(1, 500)",
            "TABLE DATA",
        ),
        (
            "CREATE TABLE goods (id int); INSERT INTO goods VALUES (1); CREATE INDEX i ON goods (rated(id))",
            "INDEX public.i",
        ),
        ("CREATE MATERIALIZED VIEW goods AS SELECT rated(1)", "MATERIALIZED VIEW DATA public.goods"),
    ],
    ids=["check", "index", "materialized view"],
)
async def test_a_function_with_unqualified_names_is_found_where_it_stops_the_restore(
    made: Made, tmp_path: Path, script: str, subject: str
) -> None:
    url, plain = await made(MAY_MAKE + "GRANT ALL ON SCHEMA public TO {role};")
    await execute(plain, LOOKS_AROUND + script)
    # From PostgreSQL 17 on an index is not even made over one that lacks it.
    await execute(plain, "ALTER FUNCTION rated(int) RESET search_path")
    (finding,) = (await tried(plain, tmp_path)).findings
    assert finding.subject.startswith(subject)
    assert "a relation is not found (42P01)" in finding.detail
    assert "SET search_path" in finding.cure
    # The cure is one.
    await execute(plain, "ALTER FUNCTION rated(int) SET search_path = public")
    (tmp_path / "again").mkdir()
    assert (await tried(plain, tmp_path / "again")).findings == ()
    assert database_of(url) in await databases(url)


async def test_what_the_role_may_not_is_said_with_the_right_that_would_do(made: Made, tmp_path: Path) -> None:
    _, plain = await made("GRANT ALL ON SCHEMA public TO {role};")
    await execute(plain, "CREATE TABLE goods (id int)")
    (finding,) = (await tried(plain, tmp_path)).findings
    assert finding.cure.startswith("ALTER ROLE")
    assert finding.cure.endswith("CREATEDB")


async def test_other_rows_and_other_places_of_sequences_are_found(made: Made, tmp_path: Path) -> None:
    url, _ = await made("CREATE TABLE goods (id serial, v text); INSERT INTO goods (v) VALUES ('a'), ('b')")
    backup = await backed_up(url, tmp_path / "production.dump")
    assert isinstance(backup.wanted, Contents)
    async with session(url) as connection:
        # Servers before 15 note no such version of a database.
        sorted_by = "the database: datcollversion" if connection.get_server_version().major >= 15 else ""
    wanted = replace(
        backup.wanted,
        rows=backup.wanted.rows | {"goods": RowDigest(2, "1"), "gone": RowDigest(0, "0")},
        sequences={"goods_id_seq": 7},
        versions=backup.wanted.versions
        | {"extension plpgsql": "0.1"}
        | ({sorted_by: "0"} if sorted_by else {}),
    )
    found = await drill(url, replace(backup, wanted=wanted, later={"goods_id_seq": 9}))
    assert [each.subject for each in found.findings] == [
        "table gone", "table goods", "sequence goods_id_seq", "extension plpgsql",
    ]  # fmt: skip
    # Whatever the system sorted by when production's database was made, a copy is sorted anew.
    assert ["REFRESH COLLATION VERSION" in said for said in found.left_out] == [True] * bool(sorted_by)


@NEWEST
async def test_a_sequence_that_moves_while_rows_are_summed_comes_back(made: Made, tmp_path: Path) -> None:
    # pg_dump has read the sequence long before these rows are summed up.
    url, _ = await made(
        "CREATE SEQUENCE s; CREATE TABLE wide AS SELECT repeat('x', 8000000) v FROM generate_series(1, 3)"
    )

    async def traffic() -> None:
        async with session(url) as connection:
            while True:
                await connection.fetchval("SELECT nextval('s')")

    moving = asyncio.create_task(traffic())
    try:
        backup = await backed_up(url, tmp_path / "production.dump")
    finally:
        await end(moving)
    assert isinstance(backup.wanted, Contents)
    assert backup.wanted.sequences["s"] < backup.later["s"]
    assert (await drill(url, backup)).findings == ()


@NEWEST
async def test_a_materialized_view_that_comes_back_with_other_rows_is_said(
    made: Made, tmp_path: Path
) -> None:
    url, _ = await made(
        "CREATE TABLE goods AS SELECT 1 AS id; CREATE MATERIALIZED VIEW fresh AS SELECT id FROM goods;"
        " CREATE MATERIALIZED VIEW stale AS SELECT id FROM goods; INSERT INTO goods VALUES (2);"
        " REFRESH MATERIALIZED VIEW fresh"
    )
    found = await tried(url, tmp_path)
    assert found.findings == ()
    (said,) = found.left_out
    assert said.startswith("materialized view stale 1 rows, in a copy 2")
    assert "REFRESH MATERIALIZED VIEW" in said


@NEWEST
async def test_every_piece_of_a_large_object_counts(made: Made) -> None:
    url, _ = await made("SELECT lo_put(lo_create(7), 33554432, 'end'); SELECT lo_create(8)")
    first = (await contents(url, [])).large_objects
    assert first.rows == 2
    await execute(url, "SELECT lo_put(7, 20000000, 'x')")
    assert (await contents(url, [])).large_objects != first


@NEWEST
async def test_what_cannot_be_summed_up_is_a_finding(made: Made, tmp_path: Path) -> None:
    _, plain = await made(
        MAY_MAKE + "CREATE TABLE mine (a int); ALTER TABLE mine OWNER TO {role};"
        " ALTER TABLE mine ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    )
    said = await summed(plain, [])
    assert isinstance(said, Finding)
    assert "row-level security" in said.detail
    backup = Backup(tmp_path / "production.dump", Beginning("", 0), said, {})
    assert (await drill(plain, backup)).findings == (said,)


@pytest.mark.parametrize(
    ("said", "passing"),
    [
        ("psql:/x/a.sql:3: FATAL:  57P01\npsql: error: server closed the connection", True),
        ("psql: error: FATAL:  sorry, too many clients already", True),
        ("psql:/x/a.sql:3: ERROR:  40P01", True),
        ("psql:/x/a.sql:3: ERROR:  53100", False),
        ("psql:/x/a.sql:3: ERROR:  42P01", False),
    ],
)
def test_what_says_nothing_of_the_archive_is_tried_again(said: str, passing: bool) -> None:
    assert passes(ProgramFailed("psql ended with 3", said)) is passing


@NEWEST
async def test_a_copy_goes_however_often_its_trial_is_cancelled(made: Made) -> None:
    url, plain = await made(MAY_MAKE)
    before = await databases(url)
    ready = asyncio.Event()

    async def tries() -> None:
        async with scratch_database(plain):
            ready.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(tries())
    await ready.wait()
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.001)
    assert task.cancelled()
    assert await databases(url) == before
    # An order of migrations that a killed registry left goes with the next one.
    async with order_database(plain) as order, order_database(plain) as other:
        assert {database_of(order), database_of(other)} == await databases(url) - before
    async with session(plain) as connection:
        name = "upgradepath_order_0123456789ab"
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.execute(
            f"COMMENT ON DATABASE {name} IS 'upgradepath: an order of migrations is being tried'"
        )
    async with order_database(plain):
        assert name not in await databases(url)
    assert await databases(url) == before


@NEWEST
async def test_a_copy_that_somebody_uses_is_left_and_spoils_no_trial(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    url, plain = await made(MAY_MAKE)
    async with scratch_database(plain) as scratch:
        name = database_of(scratch)
        # As a hosting's own session in it.
        watching = await asyncpg.connect(with_database(url, name))
    assert f"database {name} stays" in caplog.text
    await watching.close()
    assert await sweep_scratch(plain) == Swept((name,), ())


async def test_what_a_killed_worker_left_is_dropped_and_what_is_in_use_is_not(made: Made) -> None:
    url, plain = await made(MAY_MAKE)
    before = await databases(url)
    async with scratch_database(plain) as scratch:
        async with session(url) as connection:
            (public,) = await connection.fetchrow(
                "SELECT has_database_privilege('public', $1, 'CONNECT')", database_of(scratch)
            )
            assert not public
        assert await sweep_scratch(plain) == Swept((), ())
        assert database_of(scratch) in await databases(url)
    async with session(url) as connection:
        name = f"{database_of(plain)}_drill_0123456789ab"
        await connection.execute(
            f"CREATE DATABASE {name} OWNER {database_of(plain).replace('restore', 'restore_role')}"
        )
        # Without our word on it, it is somebody's of that name.
        assert await sweep_scratch(plain) == Swept((), ())
        said = f"upgradepath: a backup of {database_of(plain)} is being tried"
        await connection.execute(f"COMMENT ON DATABASE {name} IS '{said}'")
    assert await sweep_scratch(plain) == Swept((name,), ())
    assert await databases(url) == before


def test_casts_that_are_printed_elsewhere_are_no_difference() -> None:
    one = Printed("TABLE t", "TABLE", "CHECK (((n)::text = ANY ((ARRAY['a'::character varying])::text[])))")
    other = Printed("TABLE t", "TABLE", "CHECK (((n)::text = ANY (ARRAY[('a'::character varying)::text])))")
    assert list(other_prints({"TABLE t": one}, {"TABLE t": other})) == []
    changed = Printed("TABLE t", "TABLE", one.text.replace("'a'", "'b'"))
    assert [what for what, _ in other_prints({"TABLE t": one}, {"TABLE t": changed})] == ["TABLE t"]


def test_an_extension_that_is_gone_is_the_superusers_to_make(tmp_path: Path) -> None:
    """Rights that suffice for the others cannot make it: "GRANT the role what it needs" led nowhere."""
    script = tmp_path / "production.rest.sql"
    script.write_text(
        "--\n-- Name: postgis; Type: EXTENSION; Schema: -; Owner: -\n--\n\nCREATE EXTENSION postgis;\n"
    )
    said = f"psql:{script}:5: ERROR:  42501"
    found = why(ProgramFailed(said, said))
    assert found.cure == 'let a superuser run CREATE EXTENSION "postgis" there'
    assert "(42501)" in why(ProgramFailed("ERROR:  42501", "ERROR:  42501")).detail
