"""Law: what depends on the session, on the clock or on what the upgrade makes is "nobody knows".

Questions are asked in a read-only transaction of another session, so such a value would be that session's.
Each case is foretold and then run: a verdict that is given must be what happens.
"""

from collections.abc import AsyncIterator

import pytest

from services.executor.clients.postgres import create_database, drop_database, session
from services.executor.clients.probes import ask
from services.executor.clients.unsettled_functions import unsettled_of
from services.executor.domain.unsettled import BY_ARGUMENTS, CLOCKS, NEVER_TWICE
from shared.sql.script import read_statements
from tests.conftest import PostgresServer
from tests.executor.test_foretelling import FAILS, FITS, LOSES, UNKNOWN, WRITES, of
from tests.executor.test_probes import runs

READ = "current_setting('transaction_isolation')"
BEFORE = f"""
CREATE TABLE a (id int PRIMARY KEY, k int, t text, at timestamptz, day text);
INSERT INTO a VALUES (1, 1, 'v0', '2020-01-01', '03/04/2020'), (2, 2, 'v1', '2020-01-02', '25/12/2020');
CREATE FUNCTION stable() RETURNS text LANGUAGE sql STABLE AS $$SELECT {READ}$$;
CREATE FUNCTION lying(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT {READ}$$;
CREATE FUNCTION lying(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION through(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN lying($1); END$$;
CREATE FUNCTION reads(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE
    AS $$BEGIN RETURN (SELECT count(*) FROM a); END$$;
CREATE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE sql STABLE AS $$SELECT {READ} = 'read committed'$$;
CREATE OPERATOR @#@ (FUNCTION = same, LEFTARG = text, RIGHTARG = text);
CREATE TYPE moded AS (m text);
CREATE FUNCTION moded(text) RETURNS moded LANGUAGE sql STABLE AS $$SELECT ROW({READ})::moded$$;
CREATE CAST (text AS moded) WITH FUNCTION moded(text);
CREATE DOMAIN here AS text CONSTRAINT a CHECK (VALUE <> {READ}) CONSTRAINT b CHECK (VALUE <> 'no');
CREATE VIEW under AS SELECT {READ} AS x FROM a; CREATE VIEW over AS SELECT x FROM under;
CREATE SCHEMA other; CREATE TABLE other.x (k int); INSERT INTO other.x VALUES (1); CREATE TABLE x (k int);
"""
REPLACED = "CREATE OR REPLACE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT -$1'; "
TRIGGER = "CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
NOW = "CREATE TABLE b AS SELECT {value} AS x FROM a; ALTER TABLE b ADD CHECK (x = 'read committed')"
DAYS = "CREATE TABLE b AS SELECT day::date AS d FROM a"
CASES: list[tuple[str, list[str]]] = [
    # Rules that read the session.
    *((f"ALTER TABLE a ADD CHECK ({rule})", [UNKNOWN]) for rule in (
        "current_setting('transaction_read_only') = 'off'",
        "current_setting('row_security') = 'on'",
        f"{READ} = 'read committed'",
        "pg_current_xact_id_if_assigned() IS NOT NULL",
        "txid_current() > 0",
        "pg_backend_pid() > 0",
        "inet_client_addr() IS NULL",
        "current_query() LIKE 'ALTER%'",
        "current_user = 'nobody'",
        "t IS NOT NULL OR session_user = 'x'",
        "current_schema() = 'public'",
        "has_table_privilege('a', 'SELECT')",
        "pg_trigger_depth() = 0",
        "random() < 2",
        "stable() = 'read committed'",
        "lying(k) = 'read committed'",
        "through(k) = 'read committed'",
        "reads(k) > 0",
        "t @#@ t",
        "(t::moded).m = 'read committed'",
        # The clock.
        "at < now()",
        "at < CURRENT_TIMESTAMP",
        "at < 'now'::timestamptz",
        "age(at) > interval '0'",
        "now() = statement_timestamp()",
    )),
    # What is written of it, by whichever way.
    (f"UPDATE a SET t = {READ}; ALTER TABLE a ADD CHECK (t = 'read committed')", [WRITES, UNKNOWN, UNKNOWN]),
    (f"UPDATE a SET k = 9 WHERE {READ} = 'read committed'; ALTER TABLE a ADD CHECK (k > 5)",
     [UNKNOWN, UNKNOWN, UNKNOWN]),
    (f"DELETE FROM a WHERE {READ} = 'read committed'; ALTER TABLE a ADD CHECK (k > 5)", [UNKNOWN, UNKNOWN]),
    (f"ALTER TABLE a ADD w text DEFAULT {READ}; ALTER TABLE a ADD CHECK (w <> '')", [UNKNOWN, UNKNOWN]),
    (f"ALTER TABLE a ALTER t TYPE text USING {READ}; ALTER TABLE a ADD CHECK (t <> '')",
     [UNKNOWN, UNKNOWN, UNKNOWN]),
    ("ALTER TABLE a ALTER t TYPE here USING 'repeatable read'", [UNKNOWN, UNKNOWN]),
    (NOW.format(value=READ), [UNKNOWN, UNKNOWN]),
    (NOW.replace("FROM a", "FROM over").format(value="x"), [UNKNOWN, UNKNOWN]),
    (f"CREATE VIEW v AS SELECT {READ} AS x FROM a; " + NOW.replace("FROM a", "FROM v").format(value="x"),
     [UNKNOWN, UNKNOWN]),
    (f"SELECT 1 / (CASE WHEN {READ} = 'read committed' THEN 0 ELSE 1 END)", [UNKNOWN]),
    ("CREATE TABLE b AS SELECT * FROM a TABLESAMPLE system (50)", [UNKNOWN]),
    # What is known whichever session asks.
    ("ALTER TABLE a ADD w text DEFAULT current_user", []),
    ("ALTER TABLE a ADD CHECK (t = 'user' OR t LIKE 'v%')", [FITS]),
    ("ALTER TABLE a ADD CHECK (greatest(k, 0) > 0 AND to_char(k, '9') <> '' AND concat(t, k) <> '')", [FITS]),
    ("UPDATE a SET at = now(); ALTER TABLE a ALTER at SET NOT NULL; ALTER TABLE a ADD UNIQUE (at)",
     [WRITES, FITS, FAILS]),
    ("ALTER TABLE a ADD u uuid; UPDATE a SET u = gen_random_uuid(); ALTER TABLE a ALTER u SET NOT NULL;"
     " ALTER TABLE a ADD UNIQUE (u)", [WRITES, FITS, FITS]),
    ("DELETE FROM a WHERE at < now(); ALTER TABLE a ADD CHECK (k > 5)", [LOSES, FITS]),
    ("ALTER TABLE a ADD CHECK (pure(k) > 0)", [FITS]),
    (TRIGGER + "ALTER TABLE a ADD CHECK (pure(k) > 0)", [FITS]),
    # Functions that the upgrade makes anew, takes away or gives another name.
    (REPLACED + "ALTER TABLE a ADD CHECK (pure(k) < 0)", [UNKNOWN]),
    (REPLACED + "ALTER TABLE a ADD CHECK (pure(k) > 0)", [UNKNOWN]),
    (REPLACED + "UPDATE a SET k = pure(k); ALTER TABLE a ADD CHECK (k > 0)", [WRITES, UNKNOWN, UNKNOWN]),
    (REPLACED + "CREATE INDEX i ON a ((1 / (pure(k) - 1)))", [UNKNOWN, UNKNOWN]),
    ("DROP FUNCTION pure(int);" + REPLACED + "CREATE TABLE b AS SELECT 1 / (pure(k) + 1) AS x FROM a",
     [UNKNOWN]),
    ("ALTER FUNCTION pure(int) RENAME TO was;" + REPLACED + "ALTER TABLE a ADD CHECK (pure(k) > 0)",
     [UNKNOWN]),
    # Settings by which values are read, and where names are looked for.
    (DAYS, [FAILS]),
    ("SET datestyle = 'SQL, DMY'; " + DAYS, [UNKNOWN]),
    ("SET LOCAL datestyle = SQL, DMY; " + DAYS, [UNKNOWN]),
    ("SELECT set_config('datestyle', 'SQL, DMY', true); " + DAYS, [UNKNOWN]),
    ("DO $$ BEGIN SET LOCAL datestyle = 'SQL, DMY'; END $$; " + DAYS, [UNKNOWN]),
    ("SET TIME ZONE 'Asia/Tokyo'; ALTER TABLE a ADD CHECK (to_char(at, 'OF') = '+09')", [UNKNOWN]),
    ("SET TIME ZONE 'Asia/Tokyo'; ALTER TABLE a ADD CHECK (at > '2019-12-31 23:00')", [UNKNOWN]),
    ("SET TIME ZONE 'Asia/Tokyo'; ALTER TABLE a ALTER at SET NOT NULL; ALTER TABLE a ADD CHECK (k > 0)",
     [FITS, FITS]),
    ("SET search_path = other; ALTER TABLE x ADD CHECK (k > 1)", [UNKNOWN]),
    ("SET search_path = ''; ALTER TABLE public.x ADD CHECK (k > 1)", [FITS]),
]  # fmt: skip


@pytest.fixture(scope="module")
async def world(postgres: PostgresServer) -> AsyncIterator[str]:
    """A database with functions, views, types and operators that read the session."""
    await create_database(postgres.url(), "of_the_session")
    async with session(postgres.url("of_the_session")) as connection:
        await connection.execute(BEFORE)
    yield postgres.url("of_the_session")
    await drop_database(postgres.url(), "of_the_session")


@pytest.mark.parametrize(("sql", "expected"), CASES, ids=[sql[:60] for sql, _ in CASES])
async def test_the_session_that_asks_answers_for_itself_alone(
    world: str, sql: str, expected: list[str]
) -> None:
    statements = read_statements(sql)
    answers = await ask(world, statements)
    assert of(answers) == expected, answers
    first = next(
        (place for place, each in enumerate(answers.probes) if any(p.verdict == FAILS for p in each)), None
    )
    if UNKNOWN not in expected:
        assert await runs(world, statements) == first


async def test_every_function_of_the_session_that_this_server_has_is_known(world: str) -> None:
    """Catches a newer server's function: without arguments, only session and moment can change its value."""
    async with session(world) as connection:
        rows = await connection.fetch(
            "SELECT proname, bool_or(pronargs = 0) AS alone FROM pg_proc WHERE provolatile <> 'i'"
            " AND pronamespace = 'pg_catalog'::regnamespace AND proname !~ '^jsonb?_' GROUP BY 1"
        )
        found = await unsettled_of(connection, {})
    alone = {row["proname"] for row in rows if row["alone"]}
    # One server gives these to every session of a database.
    assert alone - found.functions == (alone & (CLOCKS | NEVER_TWICE)) | (
        {"current_database", "getdatabaseencoding", "version"}
    )
    assert not found.functions & BY_ARGUMENTS
