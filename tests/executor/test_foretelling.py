"""Law: what reads rows and can raise is evaluated over the rows or is unknown, and a verdict is never wrong.

Each case is foretold and then run. All "fits" must run, "would fail" must fail just there, and "unknown" is
said where neither can be told.
"""

import re
from collections.abc import AsyncIterator

import pytest

from services.executor.clients.postgres import create_database, drop_database, session
from services.executor.clients.probes import Answers, ask
from shared.sql.script import read_statements
from tests.conftest import PostgresServer
from tests.executor.test_probes import runs

BEFORE = """
CREATE TABLE a (id int PRIMARY KEY, k int, t text, n text);
INSERT INTO a VALUES (1, 1, 'v0', '1'), (2, 2, 'v1', '01');
CREATE TABLE zero (id int PRIMARY KEY, k int, t text);
CREATE TABLE wide (id int PRIMARY KEY, k text, short varchar(40));
INSERT INTO wide SELECT 1, string_agg(md5(g::text), ''), 's' FROM generate_series(1, 400) g;
CREATE TABLE proven (id int PRIMARY KEY, k int, t text UNIQUE);
INSERT INTO proven VALUES (1, 1, 'A'), (2, 9, 'a');
ALTER TABLE proven ADD CONSTRAINT low CHECK (k > 5) NOT VALID, ADD CONSTRAINT high CHECK (k > 0) NOT VALID;
CREATE INDEX proven_k ON proven ((10 / k));
CREATE MATERIALIZED VIEW broken AS SELECT 1 / (k - 1) AS x FROM zero;
CREATE MATERIALIZED VIEW sound AS SELECT k AS x FROM a;
CREATE UNIQUE INDEX sound_x ON sound (x);
CREATE VIEW seen AS SELECT k, t FROM a;
CREATE TABLE whole (id int, k int) PARTITION BY LIST (k);
CREATE TABLE rest PARTITION OF whole DEFAULT;
INSERT INTO whole VALUES (1, 1), (2, 2);
CREATE TABLE apart (id int, k int);
INSERT INTO apart VALUES (1, 7);
CREATE TABLE bounded (id int, k int) PARTITION BY LIST (k);
CREATE TABLE bounded_1 PARTITION OF bounded FOR VALUES IN (1);
CREATE TABLE late (id int PRIMARY KEY, a_id int);
ALTER TABLE late ADD CONSTRAINT late_a FOREIGN KEY (a_id) REFERENCES a DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE booked (id int PRIMARY KEY, EXCLUDE USING btree (id WITH =));
CREATE TABLE given (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text UNIQUE, made timestamptz
    NOT NULL DEFAULT now());
INSERT INTO given (name) VALUES ('one');
CREATE DOMAIN filled AS text NOT NULL;
CREATE TABLE ruled (id int PRIMARY KEY, k int CHECK (k > 0));
INSERT INTO ruled VALUES (1, 1);
CREATE RULE quiet AS ON UPDATE TO ruled DO INSTEAD NOTHING;
CREATE TABLE sealed (id int PRIMARY KEY, k int);
INSERT INTO sealed VALUES (1, NULL);
"""
FITS, FAILS, LOSES, WRITES, UNKNOWN = "fits", "would fail", "loses", "writes", "unknown"
HANDLED = (
    "DO $$ BEGIN ALTER TABLE a ADD CONSTRAINT {name} CHECK (k > 1); EXCEPTION WHEN {what} THEN {then}; END $$"
)
KEYS = "CREATE TABLE p (id int PRIMARY KEY, x int UNIQUE); CREATE TABLE c (p_x int REFERENCES p (x)); "
CHAIN = (
    "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p_id int REFERENCES p"
    " ON UPDATE CASCADE ON DELETE CASCADE); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1, 1); "
)
CASES: list[tuple[str, list[str]]] = [
    # Views that the upgrade makes, and views over them, read rows as these are when they are read.
    ("CREATE VIEW v AS SELECT k, t FROM a; CREATE VIEW w AS SELECT k FROM v WHERE t IS NOT NULL;"
     " CREATE MATERIALIZED VIEW m AS SELECT 1 / k AS x FROM w", [FITS]),
    ("CREATE VIEW v AS SELECT k FROM a; CREATE VIEW w AS SELECT k FROM v; UPDATE a SET k = 0;"
     " CREATE TABLE b AS SELECT 1 / k AS x FROM w", [WRITES, FAILS]),
    ("CREATE TABLE b (k int); CREATE VIEW v AS SELECT k FROM b; INSERT INTO b VALUES (0);"
     " SELECT 1 / k FROM v", [FAILS]),
    ("CREATE VIEW v AS SELECT * FROM a; ALTER TABLE a ADD c int; CREATE TABLE b AS SELECT * FROM v",
     [UNKNOWN]),
    ("CREATE VIEW v (n) AS SELECT k FROM a; CREATE TABLE b AS SELECT n FROM v", [UNKNOWN]),
    ("CREATE VIEW v AS SELECT 1 AS k; DO $$ BEGIN IF EXISTS (SELECT 1 FROM a) THEN CREATE OR REPLACE VIEW v"
     " AS SELECT 0 AS k; END IF; END $$; SELECT 1 / k FROM v", [UNKNOWN]),
    # What a script leaves without a name has the one that PostgreSQL gives it.
    ("ALTER TABLE a ADD CHECK (k > 0); ALTER TABLE a DROP CONSTRAINT a_k_check; UPDATE a SET k = -1",
     [FITS, WRITES]),
    ("CREATE TABLE b (k int CHECK (k > 0), t text, CHECK (t <> ''), CHECK (k > 1), UNIQUE (k, t));"
     " ALTER TABLE b DROP CONSTRAINT b_k_check1, DROP CONSTRAINT b_t_check, DROP CONSTRAINT b_k_t_key;"
     " INSERT INTO b VALUES (1, ''), (1, '')", []),
    # DO blocks: guards, assertions, expressions, loops, handlers.
    ("DO $$ BEGIN IF EXISTS (SELECT 1 FROM a WHERE k = 1) THEN RAISE EXCEPTION 'no'; END IF; END $$",
     [UNKNOWN]),
    ("DO $$ BEGIN IF EXISTS (SELECT 1 FROM zero) THEN RAISE EXCEPTION 'no'; END IF; END $$", [UNKNOWN]),
    ("DO $$ BEGIN ASSERT (SELECT count(*) FROM a) = 0; END $$", [UNKNOWN]),
    ("DO $$ DECLARE x int := (SELECT k FROM a); BEGIN END $$", [UNKNOWN]),
    ("DO $$ DECLARE x int; BEGIN x := 1 / (SELECT min(k) - 1 FROM a); END $$", [UNKNOWN]),
    ("DO $$ DECLARE x int; BEGIN SELECT t INTO x FROM a; END $$", [FITS, UNKNOWN]),
    ("DO $$ DECLARE x int; BEGIN SELECT k INTO STRICT x FROM a; END $$", [FITS, UNKNOWN]),
    ("DO $$ DECLARE x int; BEGIN SELECT count(*) INTO x FROM a; END $$", [FITS]),
    ("DO $$ BEGIN PERFORM 1 / (k - 1) FROM a; END $$", [FAILS]),
    ("DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM a) THEN ALTER TABLE a ADD CHECK (k > 1); END IF; END $$",
     [UNKNOWN]),
    ("DO $$ BEGIN FOR i IN 1..0 LOOP ALTER TABLE a ADD CHECK (k > 1); END LOOP; END $$", [UNKNOWN]),
    ("DO $$ BEGIN RETURN; ALTER TABLE a ADD CHECK (k > 1); END $$", [UNKNOWN]),
    ("DO $$ BEGIN ALTER TABLE a ADD CHECK (k > 1); END $$", [FAILS]),
    (HANDLED.format(name="c", what="check_violation", then="UPDATE a SET k = 6"), [UNKNOWN, WRITES, UNKNOWN]),
    (HANDLED.format(name="c", what="others", then="NULL"), [UNKNOWN]),
    (HANDLED.format(name="c", what="duplicate_object", then="NULL"), [FAILS]),
    (HANDLED.format(name="c", what="duplicate_object OR check_violation", then="NULL"), [UNKNOWN]),
    (HANDLED.format(name="c", what="duplicate_object", then="UPDATE a SET k = 6"),
     [UNKNOWN, WRITES, UNKNOWN]),
    ("ALTER TABLE a ADD CONSTRAINT c CHECK (k > 1) NOT VALID;"
     + HANDLED.format(name="c", what="duplicate_object", then="NULL"), []),
    (HANDLED.format(name="c", what="check_violation", then="NULL") + "; UPDATE a SET k = 1 WHERE id = 2",
     [UNKNOWN, WRITES, UNKNOWN]),
    # Expressions of indexes and of generated columns, of constraints and defaults.
    ("CREATE INDEX i ON a ((t::int))", [FAILS]),
    ("CREATE INDEX i ON a ((n::int))", []),
    ("CREATE INDEX i ON a (k) WHERE 1 / (k - 1) > 0", [FAILS]),
    ("CREATE INDEX i ON a ((t::int)) WHERE k > 5", []),
    ("CREATE UNIQUE INDEX i ON a ((n::int))", [FAILS]),
    ("CREATE UNIQUE INDEX i ON a ((t::int))", [FAILS, UNKNOWN]),
    ("ALTER TABLE a ADD COLUMN x int GENERATED ALWAYS AS (t::int) STORED", [FAILS]),
    ("ALTER TABLE a ADD COLUMN x int GENERATED ALWAYS AS (n::int) STORED", [FITS]),
    ("ALTER TABLE a ADD COLUMN x int GENERATED ALWAYS AS (k) STORED CHECK (x > 1)", [FITS, FAILS]),
    ("ALTER TABLE a ADD CHECK (t::int > 0)", [FAILS]),
    ("ALTER TABLE a ADD COLUMN x filled", [FAILS]),
    ("ALTER TABLE a ADD COLUMN x filled DEFAULT 'x'", []),
    ("ALTER TABLE zero ADD COLUMN x filled", []),
    ("CREATE DOMAIN low AS int CHECK (VALUE > 5); ALTER TABLE a ADD COLUMN x low DEFAULT 1", [UNKNOWN]),
    ("CREATE DOMAIN low AS int CHECK (VALUE > 5); ALTER TABLE a ALTER k TYPE low",
     [UNKNOWN, FITS]),
    ("CREATE TYPE e AS ENUM ('v0'); ALTER TABLE a ADD x text[] DEFAULT '{v1}';"
     " ALTER TABLE a ALTER x DROP DEFAULT, ALTER x TYPE e[] USING x::text[]::e[]", [FAILS, FITS]),
    # Queries.
    ("SELECT 1 / (k - 1) FROM a", [FAILS]),
    ("SELECT 1 / k FROM a", [FITS]),
    ("SELECT 1 / 0", [FAILS]),
    ("SELECT 1", []),
    ("SELECT 1 / (k - 1) FROM zero", [FITS]),
    ("SELECT (SELECT k FROM a)", [FAILS]),
    ("DELETE FROM a WHERE k = 1; SELECT 1 / (k - 1) FROM a", [LOSES, FITS]),
    ("SELECT t::int FROM seen", [FAILS]),
    ("UPDATE a SET t = '0'; SELECT t::int FROM seen", [WRITES, UNKNOWN]),
    ("SELECT k FROM a FOR UPDATE", [UNKNOWN]),
    ("CREATE TABLE b AS SELECT 1 / (k - 1) AS x FROM a", [FAILS]),
    ("CREATE TABLE b AS SELECT 1 / (k - 1) AS x FROM a WITH NO DATA", []),
    ("SELECT 1 / (k - 1) AS x INTO b FROM a", [FAILS]),
    ("CREATE TABLE b AS SELECT NULL AS x FROM a; ALTER TABLE b ALTER x SET NOT NULL", [FITS, FAILS]),
    ("CREATE MATERIALIZED VIEW c AS SELECT 1 / (k - 1) AS x FROM a", [FAILS]),
    ("CREATE MATERIALIZED VIEW c AS SELECT 1 / (k - 1) AS x FROM a WITH NO DATA", []),
    ("CREATE MATERIALIZED VIEW c AS SELECT 1 AS x FROM a; CREATE UNIQUE INDEX i ON c (x)", [FITS, FAILS]),
    ("INSERT INTO zero VALUES (1, 1); REFRESH MATERIALIZED VIEW broken", [FAILS]),
    ("REFRESH MATERIALIZED VIEW broken", [FITS]),
    ("UPDATE a SET k = 1; REFRESH MATERIALIZED VIEW sound", [WRITES, FITS, FAILS]),
    ("EXPLAIN ANALYZE UPDATE a SET k = t::int", [WRITES, FAILS]),
    ("DELETE FROM a RETURNING 1 / (k - 1)", [LOSES, UNKNOWN]),
    # Rules that stand, proven or not, at once or at the end.
    ("ALTER TABLE proven VALIDATE CONSTRAINT low", [FAILS]),
    ("ALTER TABLE proven VALIDATE CONSTRAINT high", [FITS]),
    ("UPDATE proven SET t = t || '!'", [WRITES, UNKNOWN]),
    ("UPDATE proven SET t = t || '!' WHERE id = 2", [WRITES, UNKNOWN]),
    ("ALTER TABLE proven DROP CONSTRAINT low, DROP CONSTRAINT high; UPDATE proven SET k = 0",
     [WRITES, FAILS]),
    ("ALTER TABLE proven ADD CONSTRAINT c NOT NULL k NOT VALID", []),
    ("ALTER TABLE sealed ADD CONSTRAINT c NOT NULL k NOT VALID; ALTER TABLE sealed VALIDATE CONSTRAINT c",
     [FAILS]),
    ("ALTER TABLE sealed ADD CHECK (k > 0 AND k IS NOT NULL) NOT ENFORCED", []),
    ("INSERT INTO late VALUES (1, 9)", [UNKNOWN]),
    ("INSERT INTO late VALUES (1, 9); INSERT INTO a VALUES (9, 9)", [UNKNOWN]),
    ("ALTER TABLE proven ALTER t TYPE text USING lower(t)", [FITS, LOSES, FAILS]),
    ("ALTER TABLE a ADD UNIQUE (n); ALTER TABLE a ALTER n TYPE int USING n::int",
     [FITS, FITS, LOSES, FAILS]),
    ("INSERT INTO booked VALUES (1), (2)", [UNKNOWN]),
    ("CREATE UNIQUE INDEX i ON sealed (k); ALTER TABLE sealed DROP CONSTRAINT sealed_pkey;"
     " ALTER TABLE sealed ADD PRIMARY KEY USING INDEX i", [FITS, FAILS]),
    ("CREATE TABLE p (id int PRIMARY KEY); ALTER TABLE a ADD FOREIGN KEY (k) REFERENCES p", [FAILS]),
    ("UPDATE ruled SET k = 0", [WRITES, UNKNOWN]),
    # A thing that is there already.
    ("CREATE TABLE IF NOT EXISTS a (id int); ALTER TABLE a ADD CHECK (k > 1)", [FAILS]),
    ("ALTER TABLE a ADD COLUMN IF NOT EXISTS k int NOT NULL", []),
    ("CREATE UNIQUE INDEX i ON a (t); CREATE UNIQUE INDEX IF NOT EXISTS i ON a ((1))", [FITS]),
    # Index sizes.
    ("CREATE INDEX i ON wide (k)", [UNKNOWN]),
    ("CREATE INDEX i ON wide USING hash (k)", []),
    ("CREATE INDEX i ON wide (short)", []),
    ("CREATE INDEX i ON a (t)", []),
    ("ALTER TABLE wide ADD UNIQUE (k)", [FITS, UNKNOWN]),
    ("CREATE INDEX i ON a (t); UPDATE a SET t = w.k FROM wide w", [WRITES, UNKNOWN]),
    # Partitions.
    ("ALTER TABLE whole ATTACH PARTITION apart FOR VALUES IN (7)", [UNKNOWN, UNKNOWN]),
    ("CREATE TABLE whole_1 PARTITION OF whole FOR VALUES IN (1)", [UNKNOWN]),
    ("INSERT INTO bounded VALUES (1, 2)", [UNKNOWN]),
    ("INSERT INTO whole VALUES (1, 2)", []),
    # Rows that are inserted, and what they get by themselves.
    ("CREATE TABLE b (id int PRIMARY KEY, k text, t timestamptz); INSERT INTO b (id, k) VALUES (1, 'x');"
     " CREATE UNIQUE INDEX i ON b (k); ALTER TABLE b ALTER t SET NOT NULL", [FITS, FAILS]),
    ("INSERT INTO given (name) VALUES ('one')", [FAILS]),
    ("INSERT INTO given (name) VALUES ('two'); ALTER TABLE given ADD CHECK (made < '2000-01-01')",
     [UNKNOWN]),
    ("CREATE TABLE b (id serial PRIMARY KEY, k text); INSERT INTO b (k) VALUES ('x'), ('x');"
     " CREATE UNIQUE INDEX i ON b (k)", [UNKNOWN, FAILS]),
    # Sequences.
    ("CREATE SEQUENCE s; SELECT setval('s', (SELECT max(k) FROM a))", [FITS]),
    ("CREATE SEQUENCE s; SELECT setval('s', (SELECT min(k) - 1 FROM a))", [UNKNOWN]),
    ("CREATE SEQUENCE s; SELECT setval('s', (SELECT 1 / (min(k) - 1) FROM a))", [FAILS]),
    ("CREATE SEQUENCE s; SELECT setval('s', 5)", []),
    # CASCADE takes foreign keys along, and views or columns that nobody follows.
    (KEYS + "ALTER TABLE p DROP CONSTRAINT p_x_key CASCADE; INSERT INTO c VALUES (5)", []),
    (KEYS + "ALTER TABLE p DROP x CASCADE; INSERT INTO c VALUES (5)", [FITS]),
    (KEYS + "ALTER TABLE p DROP CONSTRAINT p_pkey; INSERT INTO c VALUES (5)", [FAILS]),
    (KEYS + "DROP TABLE p CASCADE; INSERT INTO c VALUES (5)", [FITS]),
    (KEYS + "CREATE UNIQUE INDEX i ON p (x); ALTER TABLE p DROP CONSTRAINT p_x_key CASCADE;"
     " INSERT INTO c VALUES (5)", [FITS, UNKNOWN]),
    ("CREATE TABLE p (x int); CREATE UNIQUE INDEX i ON p (x); CREATE TABLE c (p_x int REFERENCES p (x));"
     " DROP INDEX i CASCADE; INSERT INTO c VALUES (5)", [FITS]),
    ("ALTER TABLE a DROP CONSTRAINT a_pkey CASCADE; INSERT INTO late VALUES (1, 9)", []),
    ("CREATE SCHEMA s; CREATE TABLE s.p (id int PRIMARY KEY); CREATE TABLE c (p_id int REFERENCES s.p);"
     " DROP SCHEMA s CASCADE; INSERT INTO c VALUES (5)", [UNKNOWN]),
    ("CREATE DOMAIN d AS int; CREATE TABLE b (id int, k d CHECK (k > 0)); DROP DOMAIN d CASCADE;"
     " INSERT INTO b VALUES (1)", [UNKNOWN]),
    # A column that goes takes its rules along; another one of its name has none.
    ("ALTER TABLE ruled DROP k; ALTER TABLE ruled ADD k int DEFAULT -1; CREATE TABLE b (k int CHECK (k > 0),"
     " l int NOT NULL); ALTER TABLE b DROP k, DROP l; ALTER TABLE b ADD k int, ADD l int;"
     " INSERT INTO b VALUES (-1)", [LOSES, FITS, FITS]),
    ("CREATE TABLE b (id int, k int, CHECK (k > id)); CREATE UNIQUE INDEX ON b ((k + 1));"
     " ALTER TABLE b DROP k; ALTER TABLE b ADD k int; INSERT INTO b VALUES (1, -1), (2, -1)", [FITS, FITS]),
    # What is renamed keeps its rules.
    ("CREATE TABLE b (k int CHECK (k > 0)); ALTER TABLE b RENAME k TO n; INSERT INTO b VALUES (-1)", [FAILS]),
    ("CREATE TABLE b (k int NOT NULL); ALTER TABLE b RENAME k TO n; INSERT INTO b VALUES (NULL)", [FAILS]),
    ("CREATE TABLE b (k int UNIQUE); ALTER TABLE b RENAME k TO n; INSERT INTO b VALUES (1), (1)", [FAILS]),
    ("CREATE TABLE b (k int, t text); CREATE UNIQUE INDEX i ON b (lower(t)) WHERE k > 0; ALTER TABLE b RENAME"
     " t TO u; ALTER TABLE b RENAME k TO l; INSERT INTO b VALUES (1, 'a'), (1, 'A')", [FITS, FAILS]),
    (KEYS + "ALTER TABLE c RENAME p_x TO q; INSERT INTO c VALUES (5)", [FAILS]),
    (KEYS + "ALTER TABLE p RENAME x TO y; ALTER TABLE p RENAME TO q; INSERT INTO c VALUES (5)", [FAILS]),
    ("CREATE TABLE p (id int PRIMARY KEY); ALTER TABLE p RENAME id TO n; ALTER TABLE p RENAME TO q;"
     " CREATE TABLE c (q_n int REFERENCES q); INSERT INTO c VALUES (5)", [FAILS]),
    ("ALTER TABLE ruled RENAME TO r2; UPDATE r2 SET k = 0", [WRITES, UNKNOWN]),
    # A constraint takes an index over, with its name.
    ("CREATE TABLE b (k int); CREATE UNIQUE INDEX i ON b (k); ALTER TABLE b ADD CONSTRAINT u UNIQUE USING"
     " INDEX i; ALTER TABLE b DROP CONSTRAINT u; INSERT INTO b VALUES (1), (1)", [FITS]),
    ("CREATE TABLE b (k int); CREATE UNIQUE INDEX i ON b (k); ALTER TABLE b ADD PRIMARY KEY USING INDEX i;"
     " INSERT INTO b VALUES (NULL)", [FITS, FITS, FAILS]),
    ("ALTER TABLE sealed ADD m int; INSERT INTO sealed VALUES (2, 2); ALTER TABLE sealed ADD UNIQUE NULLS NOT"
     " DISTINCT (m)", [FAILS]),
    # Rows that go or change with others, over however many tables.
    (CHAIN + "UPDATE p SET id = 5; ALTER TABLE c ADD CHECK (p_id = 5)", [WRITES, UNKNOWN, UNKNOWN]),
    (CHAIN + "CREATE TABLE g (c_id int REFERENCES c ON DELETE CASCADE); INSERT INTO g VALUES (1);"
     " DELETE FROM p; ALTER TABLE g ADD CHECK (c_id > 5)", [LOSES, UNKNOWN, UNKNOWN]),
    (CHAIN + "CREATE TABLE g (c_id int REFERENCES c); INSERT INTO g VALUES (1); TRUNCATE p CASCADE;"
     " ALTER TABLE g ADD CHECK (c_id > 5)", [LOSES, UNKNOWN, UNKNOWN]),
    ("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p_id int REFERENCES p); INSERT INTO p VALUES (1);"
     " INSERT INTO c VALUES (1); UPDATE p SET id = 5", [WRITES, FAILS]),
]  # fmt: skip


@pytest.fixture(scope="module")
async def world(postgres: PostgresServer) -> AsyncIterator[str]:
    """A database with rows, which every case leaves as it was."""
    await create_database(postgres.url(), "foretelling")
    async with session(postgres.url("foretelling")) as connection:
        await connection.execute(BEFORE)
    yield postgres.url("foretelling")
    await drop_database(postgres.url(), "foretelling")


_NEWER_THAN_17 = re.compile(r"CONSTRAINT \w+ NOT NULL|NOT ENFORCED")


async def _version(url: str) -> int:
    async with session(url) as connection:
        return int(connection.get_server_version().major)


def of(answers: Answers) -> list[str]:
    return [probe.verdict for probes in answers.probes for probe in probes]


@pytest.mark.parametrize(("sql", "expected"), CASES, ids=[sql[:60] for sql, _ in CASES])
async def test_rows_say_it_or_nobody_knows(world: str, sql: str, expected: list[str]) -> None:
    statements = read_statements(sql)
    if _NEWER_THAN_17.search(sql) and await _version(world) < 18:
        pytest.skip("only PostgreSQL 18 takes it, which preflight says of an older one")
    answers = await ask(world, statements)
    assert of(answers) == expected, answers
    first = next(
        (place for place, each in enumerate(answers.probes) if any(p.verdict == FAILS for p in each)), None
    )
    if first is not None or UNKNOWN not in expected:
        assert await runs(world, statements) == first


async def test_rows_that_a_policy_hides_are_not_counted_as_none(world: str) -> None:
    """Catches "fits" of a role that its own policies keep from the rows which the server proves."""
    role, (scheme, rest) = "kept_off", world.split("://")
    async with session(world) as connection:
        await connection.execute(
            f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT ALL ON SCHEMA public TO {role};"
            f"CREATE TABLE hidden (id int, k int); INSERT INTO hidden VALUES (1, NULL);"
            f"ALTER TABLE hidden OWNER TO {role}; ALTER TABLE hidden FORCE ROW LEVEL SECURITY;"
            f"ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; GRANT CONNECT ON DATABASE foretelling TO {role}"
        )
    answers = await ask(
        f"{scheme}://{role}:x@{rest.partition('@')[2]}",
        read_statements("ALTER TABLE hidden ALTER k SET NOT NULL"),
    )
    assert of(answers) == [UNKNOWN]
