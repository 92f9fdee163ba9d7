"""The same schema on servers of two major versions is the same schema; what differs is told with both."""

from collections.abc import AsyncIterator

import pytest

from local.postgres import EmbeddedPostgres
from services.executor.clients.postgres import create_database, drop_database, session
from services.executor.stages.same_schema import unlike
from tests.conftest import PostgresServer

SCHEMA = """
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE t (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text NOT NULL DEFAULT 'x'::text, b numeric(10, 2),
    c timestamptz DEFAULT now(), d varchar(5) COLLATE "C", e jsonb DEFAULT '{}', s serial,
    g int GENERATED ALWAYS AS (1 + 1) STORED, i interval DEFAULT '1 day',
    parent int NOT NULL REFERENCES parents,
    CONSTRAINT many CHECK (a IN ('p', 'q') OR a LIKE 'z%' OR id BETWEEN 1 AND 3)
);
CREATE INDEX lower_d ON t (lower(d)) INCLUDE (b) WHERE d IS NOT NULL;
CREATE UNIQUE INDEX one_parent ON t (parent) NULLS NOT DISTINCT; CREATE STATISTICS st ON a, (id + 1) FROM t;
CREATE VIEW v AS SELECT x.id, x.a, (SELECT count(*) FROM parents) AS n, EXTRACT(year FROM x.c) AS y,
    CASE WHEN x.b > 1 THEN 'a' ELSE 'b' END AS z FROM t x JOIN parents USING (id) WHERE x.a IN ('p', 'q')
    GROUP BY x.id, x.a, 4, 5 ORDER BY 1;
CREATE VIEW w AS SELECT DISTINCT ON (a) a, row_number() OVER (PARTITION BY a ORDER BY id) AS r FROM t;
CREATE VIEW u WITH (security_barrier = true) AS SELECT a FROM t UNION SELECT s.a FROM (SELECT a FROM t) s;
CREATE MATERIALIZED VIEW m AS SELECT id, sum(n) AS s FROM v GROUP BY id; CREATE INDEX by_s ON m (s);
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT f.a + count(*)::int FROM t; END;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER stamped AFTER UPDATE OF a ON t FOR EACH ROW WHEN (OLD.a IS DISTINCT FROM NEW.a)
    EXECUTE FUNCTION stamp();
CREATE RULE also AS ON INSERT TO t WHERE NEW.id > 5 DO ALSO INSERT INTO parents VALUES (NEW.id);
CREATE POLICY p ON t USING (a = current_user AND id IN (SELECT id FROM parents));
CREATE DOMAIN word AS text NOT NULL DEFAULT 'a' CHECK (VALUE ~ '^a');
CREATE TYPE days AS RANGE (subtype = date);
CREATE TYPE k AS ENUM ('a', 'b'); CREATE TYPE pair AS (a int, b word); CREATE COLLATION plain FROM "POSIX";
CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int, initcond = '0');
CREATE TABLE parts (id int NOT NULL, d date NOT NULL, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
CREATE TABLE parts_24 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE heir (more text COLLATE plain) INHERITS (t);
"""


@pytest.fixture
async def both(postgres: PostgresServer, postgres_15: EmbeddedPostgres) -> AsyncIterator[tuple[str, str]]:
    async with session(postgres.url()) as connection:
        if connection.get_server_version().major < 18:
            pytest.skip("the session's server is an old one, too")
    urls = (postgres_15.url("two_versions"), postgres.url("two_versions"))
    for url in urls:
        await create_database(url.replace("two_versions", "postgres"), "two_versions")
        async with session(url) as connection:
            await connection.execute(SCHEMA)
    yield urls
    for url in urls:
        await drop_database(url.replace("two_versions", "postgres"), "two_versions")


async def test_one_schema_on_two_versions_is_one_schema(both: tuple[str, str]) -> None:
    assert await unlike(both[0], both[1]) == ()
    assert await unlike(both[1], both[0]) == ()
    # Only the newer one can say that a column has no nulls from now on.
    async with session(both[1]) as connection:
        await connection.execute("ALTER TABLE t ADD CONSTRAINT from_now_on NOT NULL b NOT VALID")
        await connection.execute("CREATE OR REPLACE VIEW u AS SELECT 'other'::text AS a")
    told = await unlike(both[0], both[1])
    assert "PostgreSQL 15" in told[0]
    assert "PostgreSQL 18" in told[0]
    assert {" ".join(line.split()[:3]) for line in told[1:]} == {
        "- column public.t.b", "+ column public.t.b", "+ constraint public.t.from_now_on",
        "- column public.heir.b", "+ column public.heir.b", "+ constraint public.heir.from_now_on",
        "- view public.u", "+ view public.u",
    }  # fmt: skip
