"""Each kind of thing that PostgreSQL's ALTER knows: up, down, and `pg_dump` prints the same, or it is said.

What no statement of ours brings back is named and never called reversible; what no Release may do is refused.
"""

import asyncio
import re
import subprocess
from collections.abc import Sequence

import pytest

from services.executor.clients.postgres import create_database, drop_database, session
from services.executor.clients.probes import ask
from services.executor.clients.rehearsal import Step, rehearse
from services.executor.clients.triggers import reach_of
from services.executor.domain.marks import mark
from services.executor.domain.whose import Whose
from shared.contracts.impact import StatementImpact
from shared.sql.classing import classify
from shared.sql.permitted import refused_in
from shared.sql.scene import Scene
from shared.sql.script import read_statements
from tests.conftest import PostgresServer

BEFORE = """
CREATE ROLE kinds_reader; CREATE ROLE kinds_owner;
CREATE SCHEMA shop; COMMENT ON SCHEMA shop IS 'what is sold';
GRANT USAGE ON SCHEMA shop TO kinds_reader;
CREATE TABLE goods (id int PRIMARY KEY, name text, price numeric, note text) WITH (fillfactor = 80);
COMMENT ON TABLE goods IS 'goods'; COMMENT ON COLUMN goods.note IS 'a note';
ALTER TABLE goods ALTER name SET STATISTICS 300, ALTER note SET STORAGE EXTERNAL;
GRANT SELECT ON goods TO kinds_reader; GRANT UPDATE (note) ON goods TO kinds_reader;
CREATE UNIQUE INDEX by_name ON goods (name) INCLUDE (price); COMMENT ON INDEX by_name IS 'by name';
CREATE TABLE sold (good int NOT NULL REFERENCES goods, day date NOT NULL, PRIMARY KEY (good, day));
ALTER TABLE sold REPLICA IDENTITY USING INDEX sold_pkey; ALTER TABLE sold CLUSTER ON sold_pkey;
CREATE TABLE parts (id int, region text) PARTITION BY LIST (region);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a'); CREATE INDEX by_region ON parts (region);
CREATE TABLE bits (id int, region text) PARTITION BY LIST (region); CREATE INDEX ON bits (id);
CREATE TABLE bits_a PARTITION OF bits FOR VALUES IN ('a'); CREATE TABLE bits_d PARTITION OF bits DEFAULT;
ALTER TABLE bits ADD CONSTRAINT over_0 CHECK (id > 0); COMMENT ON TABLE bits_a IS 'a';
CREATE VIEW cheap WITH (security_barrier = true) AS SELECT id, name FROM goods WHERE price < 10;
COMMENT ON VIEW cheap IS 'cheap ones'; COMMENT ON COLUMN cheap.id IS 'which';
ALTER VIEW cheap ALTER id SET DEFAULT 7;
GRANT SELECT ON cheap TO kinds_reader;
CREATE VIEW cheaper AS SELECT id FROM cheap WHERE id < 5; GRANT SELECT ON cheaper TO kinds_reader;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM sold;
CREATE UNIQUE INDEX one_total ON totals (n); COMMENT ON INDEX one_total IS 'one';
GRANT SELECT ON totals TO kinds_reader; COMMENT ON MATERIALIZED VIEW totals IS 'sums';
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
COMMENT ON FUNCTION twice(int) IS 'twice'; REVOKE ALL ON FUNCTION twice(int) FROM PUBLIC;
CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON PROCEDURE nothing() TO kinds_reader;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER stamped BEFORE UPDATE ON goods FOR EACH ROW EXECUTE FUNCTION stamp();
COMMENT ON TRIGGER stamped ON goods IS 'stamps'; ALTER TABLE goods ENABLE ALWAYS TRIGGER stamped;
CREATE RULE kept AS ON DELETE TO sold DO INSTEAD NOTHING; COMMENT ON RULE kept ON sold IS 'kept';
ALTER TABLE sold DISABLE RULE kept;
ALTER TABLE goods ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON goods FOR SELECT TO kinds_reader USING (price > 0);
COMMENT ON POLICY seen ON goods IS 's';
CREATE SEQUENCE numbers INCREMENT 5; GRANT USAGE ON SEQUENCE numbers TO kinds_reader;
CREATE STATISTICS together ON id, name FROM goods; ALTER STATISTICS together SET STATISTICS 20;
CREATE TYPE size AS ENUM ('s', 'l'); COMMENT ON TYPE size IS 'sizes'; CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int DEFAULT 1 CONSTRAINT above CHECK (VALUE > 0);
COMMENT ON CONSTRAINT above ON DOMAIN positive IS 'above'; GRANT USAGE ON DOMAIN positive TO kinds_reader;
CREATE TYPE span AS RANGE (subtype = float8);
CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int, initcond = '0');
CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq);
CREATE COLLATION plain FROM "C"; CREATE CAST (pair AS text) WITH INOUT;
CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = simple, stopwords = 'english');
CREATE TEXT SEARCH CONFIGURATION search (COPY = pg_catalog.simple);
CREATE FUNCTION cheap_ones() RETURNS SETOF cheap LANGUAGE sql AS 'SELECT * FROM cheap';
CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER refusing INSTEAD OF INSERT ON cheaper FOR EACH ROW EXECUTE FUNCTION refused();
CREATE VIEW above WITH (security_invoker = true) AS SELECT a.id FROM cheaper a JOIN totals b ON a.id = b.n;
CREATE MATERIALIZED VIEW atop AS SELECT id FROM above; CREATE INDEX by_id ON atop (id);
CREATE RULE kept AS ON UPDATE TO above DO INSTEAD NOTHING; COMMENT ON RULE kept ON above IS 'not written';
GRANT SELECT (id) ON above TO kinds_reader; GRANT EXECUTE ON FUNCTION total(int) TO kinds_reader;
CREATE TABLE numbered (id bigint GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME of_ids START 9 INCREMENT 5));
CREATE TABLE counted (id serial, n int); ALTER SEQUENCE counted_id_seq INCREMENT 3;
CREATE TABLE spare (id int, big text); CREATE TABLE heir () INHERITS (spare);
CREATE TYPE row_of AS (a int, b text); CREATE TABLE typed OF row_of;
CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER away FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE far (id int) SERVER away OPTIONS (table_name 'q');
CREATE TABLE made (id int, n int GENERATED ALWAYS AS (id * 2) STORED, t text COLLATE "C");
CREATE DOMAIN worn AS int CHECK (VALUE > 0); CREATE TABLE wearing (w worn);
CREATE TYPE hue AS ENUM ('a', 'b'); CREATE TYPE dyed AS (h hue, n int); CREATE TABLE cloth (h hue, d dyed);
"""
# Each is one migration on top of those before it, so that one rehearsal goes through all.
BACK = (
    "ALTER TABLE goods ADD more int; ALTER TABLE goods ALTER name SET STATISTICS 10, ALTER note SET STORAGE"
    " MAIN; ALTER TABLE goods SET (fillfactor = 50, toast.autovacuum_enabled = false);"
    " ALTER TABLE goods REPLICA IDENTITY FULL; ALTER TABLE sold SET WITHOUT CLUSTER;"
    " ALTER TABLE goods DISABLE TRIGGER stamped; ALTER TABLE sold ENABLE RULE kept;"
    " COMMENT ON TABLE goods IS 'other'; COMMENT ON COLUMN goods.name IS 'its name'",
    "ALTER VIEW cheap SET (security_invoker = true); ALTER VIEW cheap ALTER id DROP DEFAULT;"
    " ALTER MATERIALIZED VIEW totals SET (fillfactor = 70); ALTER SEQUENCE numbers INCREMENT 7 CACHE 3;"
    " ALTER SEQUENCE counted_id_seq INCREMENT 4; ALTER TABLE numbered ALTER id SET INCREMENT 2",
    "ALTER AGGREGATE total(int) RENAME TO sum_of", "ALTER TYPE size ADD VALUE 'm' BEFORE 'l'",
    "DROP INDEX by_name; DROP POLICY seen ON goods; DROP TRIGGER stamped ON goods; DROP RULE kept ON sold;"
    " DROP STATISTICS together; ALTER TABLE sold DROP CONSTRAINT sold_pkey",
    "CREATE OR REPLACE VIEW cheap WITH (security_barrier = true) AS SELECT id, name, price FROM goods",
    "DROP VIEW above CASCADE", "DROP VIEW cheap CASCADE", "ALTER TABLE goods SET SCHEMA shop",
    "DROP FUNCTION twice(int); DROP PROCEDURE nothing(); DROP AGGREGATE sum_of(int); DROP TYPE size;"
    " DROP TABLE counted; ALTER TABLE numbered ALTER id DROP IDENTITY",
    "ALTER TABLE numbered DROP id",
    "ALTER TABLE spare ADD more int; ALTER TABLE spare ADD CONSTRAINT over_0 CHECK (id > 0);"
    " DROP INDEX by_region; ALTER TABLE parts ADD more int; CREATE INDEX by_more ON parts (more);"
    " ALTER TABLE parts ALTER id TYPE bigint",
    "DROP TABLE heir; DROP TABLE bits",
)  # fmt: skip
NAMED = (
    "ALTER ROUTINE twice(int) COST 7", "ALTER STATISTICS together SET STATISTICS 50",
    "ALTER TYPE pair ADD ATTRIBUTE c int", "ALTER DOMAIN positive SET DEFAULT 2", "DROP TYPE span",
    "ALTER OPERATOR === (int, int) SET (restrict = eqsel)",
    "ALTER COLLATION plain RENAME TO simple", "DROP CAST (pair AS text)",
    "ALTER TEXT SEARCH DICTIONARY words (stopwords)", "DROP TEXT SEARCH CONFIGURATION search",
    "ALTER TABLE parts DETACH PARTITION parts_a", "ALTER TABLE heir NO INHERIT spare",
    "REVOKE ALL ON goods FROM kinds_reader", "ALTER TABLE goods OWNER TO kinds_owner",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO kinds_reader",
    "ALTER TABLE goods DISABLE TRIGGER ALL", "ALTER TABLE spare DROP id",
    "ALTER TABLE typed NOT OF", "ALTER FOREIGN TABLE far OPTIONS (SET table_name 'w')",
    "ALTER TABLE made ALTER n DROP EXPRESSION", 'ALTER TABLE made ALTER t TYPE text COLLATE "POSIX"',
    "ALTER DOMAIN worn ADD CONSTRAINT big CHECK (VALUE > 5)", "ALTER DOMAIN worn DROP CONSTRAINT worn_check",
    "ALTER TYPE hue ADD VALUE 'c'", "ALTER TYPE dyed ADD ATTRIBUTE z int", "DROP TYPE dyed CASCADE",
)  # fmt: skip
_BY_ITSELF = re.compile("restrict |pg_attver=")
REFUSED = (
    "ALTER LANGUAGE plpgsql RENAME TO pl", "ALTER DATABASE postgres SET work_mem = '1MB'",
    "ALTER ROLE kinds_reader CREATEDB", "ALTER TABLESPACE x RENAME TO y", "ALTER EVENT TRIGGER x DISABLE",
    "ALTER PUBLICATION x ADD TABLE goods", "ALTER SUBSCRIPTION x DISABLE", "ALTER SERVER x OPTIONS (a 'b')",
    "ALTER FOREIGN DATA WRAPPER x NO HANDLER", "ALTER USER MAPPING FOR PUBLIC SERVER x OPTIONS (a 'b')",
    "ALTER OPERATOR CLASS x USING btree RENAME TO y", "ALTER OPERATOR FAMILY x USING btree RENAME TO y",
    "ALTER CONVERSION x RENAME TO y", "ALTER SYSTEM SET work_mem = '1MB'",
    "ALTER TEXT SEARCH PARSER x RENAME TO y", "ALTER TEXT SEARCH TEMPLATE x RENAME TO y",
)  # fmt: skip


def dump(server: PostgresServer, url: str) -> str:
    """All that pg_dump prints of a schema, but for its key and a server's numbers, which differ each time."""
    command = [str(server.bin_folder / "pg_dump"), "--schema-only", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return "".join(each for each in text.splitlines(keepends=True) if not _BY_ITSELF.search(each))


async def tried(url: str, scripts: Sequence[str]) -> list[tuple[bool, str]]:
    """Of each, on top of those before it, whether it is called reversible, and the way down."""
    steps = [Step(str(number), read_statements(sql), None) for number, sql in enumerate(scripts)]
    reach, scene = await reach_of(url), Scene()
    impacts = []
    for step in steps:
        probes = (await ask(url, step.statements)).probes
        classed = zip(classify(step.statements, Scene()), probes, strict=True)
        impacts.append([StatementImpact.model_validate(a.model_dump() | {"probes": b}) for a, b in classed])
    rehearsed = await rehearse(url, steps, reach.worn)
    found = []
    for step, impact in zip(steps, impacts, strict=True):
        one = rehearsed[step.folder]
        sql = scripts[int(step.folder)]
        assert one.error is None, (sql, one.error)
        marked, lost = mark(step.statements, impact, scene, reach, one.gone)
        assert one.left or lost or marked == "reversible", f"{sql}: nobody says why"
        found.append((marked == "reversible" and not one.left, one.down_sql))
    return found


async def test_up_and_down_or_it_is_said(postgres: PostgresServer) -> None:
    """All go up, and what is called reversible goes down again: `pg_dump` prints the same."""
    url = postgres.url("kinds")
    await create_database(postgres.url(), "kinds_template")
    async with session(postgres.url("kinds_template")) as connection:
        # Views know security_invoker from PostgreSQL 15 on.
        option = "invoker" if connection.get_server_version().major >= 15 else "barrier"
        await connection.execute(BEFORE.replace("security_invoker", f"security_{option}"))
    before = await asyncio.to_thread(dump, postgres, postgres.url("kinds_template"))
    try:
        await anew(postgres)
        ways = await tried(url, [sql.replace("security_invoker", f"security_{option}") for sql in BACK])
        assert [sql for sql, (reversible, _) in zip(BACK, ways, strict=True) if not reversible] == []
        async with session(url) as connection:
            for _, down_sql in reversed(ways):
                await connection.execute(down_sql)
        assert await asyncio.to_thread(dump, postgres, url) == before
        ways = await tried(url, NAMED)
        assert [sql for sql, (reversible, _) in zip(NAMED, ways, strict=True) if reversible] == []
    finally:
        await drop_database(postgres.url(), "kinds")
        await drop_database(postgres.url(), "kinds_template")
        async with session(postgres.url()) as connection:
            await connection.execute("DROP ROLE kinds_reader, kinds_owner")


async def anew(postgres: PostgresServer) -> None:
    await drop_database(postgres.url(), "kinds")
    async with session(postgres.url()) as connection:
        await connection.execute("CREATE DATABASE kinds TEMPLATE kinds_template")


@pytest.mark.parametrize("sql", REFUSED)
def test_what_is_the_servers_is_refused(sql: str) -> None:
    assert refused_in(sql)


def test_whose_a_thing_is() -> None:
    whose = Whose(
        'CREATE SCHEMA IF NOT EXISTS "shop"; CREATE TABLE mine.t (id int); CREATE EXTENSION citext;'
        ' model A { @@schema("wares") }',
        frozenset({"schema mine"}),
    )
    ours = [name for name in ("public", "shop", "wares", "mine", "auth") if whose.is_ours("schema", name)]
    assert ours == ["public", "shop", "wares"]
    lines = (
        "extension citext in public",
        "extension pg_net in net",
        "of publication p: pubname=p",
        "table a.b",
    )
    assert whose.ours(lines) == (lines[0], lines[3])
    assert whose.left_alone(lines, ["auth"]) == ("schema auth", "extension pg_net", "publication p")
