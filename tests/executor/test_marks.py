"""Each mark is a promise: migrations go up with rows there, and what was said of the way back holds."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from local.postgres import postgres_bin_folder
from services.executor.clients.backup import Programs
from services.executor.clients.postgres import described, execute_script, session
from services.executor.clients.probes import ask
from services.executor.clients.rehearsal import Rehearsed, Step, rehearse
from services.executor.clients.row_digests import RowDigest, digests
from services.executor.clients.triggers import reach_of
from services.executor.domain.marks import costs, mark
from shared.contracts.impact import StatementImpact, WayDownMark
from shared.sql.classing import classify
from shared.sql.scene import Scene
from shared.sql.script import alone_in, read_statements
from tests.conftest import NewDatabase
from tests.migration_histories.real import tables_of

# A role, and whatever else only a superuser makes, is among what they make.
pytestmark = pytest.mark.superuser

SETUP = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE teams (id int PRIMARY KEY, name text);
CREATE TABLE users (
    id serial PRIMARY KEY, name text NOT NULL, mood mood DEFAULT 'good', tags text[],
    team int REFERENCES teams, level int GENERATED ALWAYS AS IDENTITY
);
CREATE TABLE log (line text);
CREATE TABLE watched (id int, seen int);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO log VALUES ('changed'); RETURN NEW; END $$;
CREATE TRIGGER noting AFTER UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION noted();
CREATE TABLE told (id int);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_notify('told', 'x'); RETURN NEW; END $$;
CREATE TRIGGER telling AFTER INSERT OR UPDATE ON told FOR EACH ROW EXECUTE FUNCTION tell();
CREATE FUNCTION add_up(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN $1 + 1; END $$;
CREATE FUNCTION log_it(int) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO log VALUES ('called'); RETURN $1; END $$;
CREATE TRIGGER moody BEFORE UPDATE OF mood ON users FOR EACH ROW WHEN (NEW.mood = 'bad')
    EXECUTE FUNCTION noted();
CREATE INDEX good_ones ON users (id) WHERE mood = 'good';
CREATE MATERIALIZED VIEW sums AS SELECT count(*) AS n FROM users;
CREATE UNIQUE INDEX one_sum ON sums (n);
CREATE STATISTICS together ON id, team FROM users;
CREATE SCHEMA shop;
CREATE TABLE shop.goods (id int);
CREATE PUBLICATION everything FOR TABLE users;
CREATE SEQUENCE loose;
SELECT lo_from_bytea(4711, 'large');
"""
ROWS = """
INSERT INTO teams VALUES (1, 'one'), (2, 'two');
INSERT INTO users (name, mood, tags, team) VALUES ('1', 'good', '{a}', 1), ('22', 'bad', NULL, NULL);
INSERT INTO watched VALUES (1, 0);
INSERT INTO told VALUES (1);
INSERT INTO shop.goods VALUES (1);
SELECT setval('loose', 70);
"""


@dataclass(frozen=True)
class Seen:
    """A database as a person would look at it."""

    schema: tuple[str, ...]
    rows: dict[str, RowDigest]
    beside: tuple[object, ...]
    """Rights, where sequences stand, large objects and publications."""


async def look(url: str) -> Seen:
    async with session(url) as connection:
        beside = (
            await connection.fetch(
                "SELECT c.relname, array_agg(a::text ORDER BY a::text) FROM pg_class c, unnest(c.relacl) a"
                " WHERE c.relnamespace = 'public'::regnamespace GROUP BY 1 ORDER BY 1"
            ),
            await connection.fetch("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"),
            await connection.fetch("SELECT oid, lo_get(oid) FROM pg_largeobject_metadata ORDER BY 1"),
            await connection.fetch("SELECT pubname, tablename FROM pg_publication_tables ORDER BY 1, 2"),
            await connection.fetch("SELECT evtname FROM pg_event_trigger ORDER BY 1"),
            await connection.fetch("SELECT srvname FROM pg_foreign_server ORDER BY 1"),
        )  # fmt: skip
        told = tuple(tuple(tuple(row) for row in rows) for rows in beside)
        return Seen(await described(connection), await digests(connection, await tables_of(connection)), told)


@pytest.fixture
async def world(new_database: NewDatabase) -> AsyncIterator[tuple[str, str]]:
    """A database with rows, and one like it without."""
    full, bare = await new_database(), await new_database()
    for url, script in ((full, SETUP + ROWS), (bare, SETUP)):
        async with session(url) as connection:
            await connection.execute(script)
    yield full, bare
    async with session(full) as connection:
        await connection.execute("DROP ROLE IF EXISTS marked_role")


async def marked(world: tuple[str, str], sql: str) -> tuple[WayDownMark, tuple[str, ...], Rehearsed]:
    full, bare = world
    statements = read_statements(sql)
    answers = await ask(full, statements)
    impacts = tuple(
        StatementImpact.model_validate(each.model_dump() | {"probes": found})
        for each, found in zip(classify(statements, Scene()), answers.probes, strict=True)
    )
    rehearsed = (await rehearse(bare, [Step("one", statements, None)]))["one"]
    assert rehearsed.error is None
    return *mark(statements, impacts, Scene(), await reach_of(full), rehearsed.gone), rehearsed


async def run(url: str, sql: str) -> None:
    async with session(url) as connection:
        await execute_script(connection, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TYPE mood ADD VALUE 'fine' BEFORE 'bad'",
        "ALTER TABLE users DROP CONSTRAINT users_pkey, ALTER id DROP DEFAULT, ALTER id TYPE text,"
        " ADD CONSTRAINT users_pkey PRIMARY KEY (id); DROP SEQUENCE users_id_seq",
        "ALTER TABLE users ALTER id DROP DEFAULT; DROP SEQUENCE users_id_seq;"
        " ALTER TABLE users ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (START 100)",
        "ALTER TABLE users ALTER level DROP IDENTITY",
        "ALTER TABLE users ALTER level SET GENERATED BY DEFAULT",
        "CREATE SEQUENCE teams_id_seq; ALTER TABLE teams ALTER id SET DEFAULT nextval('teams_id_seq');"
        " ALTER SEQUENCE teams_id_seq OWNED BY teams.id; SELECT setval('teams_id_seq', 2)",
        "ALTER SEQUENCE loose OWNED BY teams.id INCREMENT 5",
        "ALTER TABLE users ALTER name TYPE int USING name::int",
        "ALTER TABLE users ALTER name TYPE text[] USING ARRAY[name]",
        "ALTER TABLE users ALTER tags TYPE text USING tags[1]",
        "DROP MATERIALIZED VIEW sums; DROP STATISTICS together; ALTER TABLE watched DISABLE TRIGGER noting",
        "CREATE RULE quiet AS ON DELETE TO log DO INSTEAD NOTHING",
        "DROP INDEX CONCURRENTLY good_ones",
        "CREATE UNIQUE INDEX CONCURRENTLY names ON users (name)",
        "ALTER TABLE teams ADD doubled int; UPDATE teams SET doubled = add_up(id)",
        "CREATE TABLE n (id int); GRANT SELECT ON n TO PUBLIC; INSERT INTO n VALUES (1); TRUNCATE n",
    ],
)  # fmt: skip
async def test_reversible_statements_lead_back_to_schema_and_rows(world: tuple[str, str], sql: str) -> None:
    before = await look(world[0])
    found, because, rehearsed = await marked(world, sql)
    assert (found, rehearsed.left) == ("reversible", ()), because
    await run(world[0], sql)
    await run(world[0], rehearsed.down_sql)
    after = await look(world[0])
    assert (after.schema, after.rows) == (before.schema, before.rows)
    # No number that a row has is given again.
    await run(world[0], "INSERT INTO users (name) VALUES ('later'), ('last')")


@pytest.mark.parametrize(
    ("sql", "because"),
    [
        ("TRUNCATE teams CASCADE", "the rows of all that refers to teams are deleted"),
        ("TRUNCATE log RESTART IDENTITY; DELETE FROM shop.goods", "rows of shop.goods are deleted"),
        ("DROP SCHEMA shop CASCADE", "the rows of shop.goods go along"),
        ("DROP TYPE mood CASCADE", "the values of users.mood go along"),
        ("UPDATE users SET name = 'x'", "values of users.name are overwritten"),
        ("INSERT INTO log VALUES ('x')", "the rows that are added to log stay"),
        ("ALTER TABLE watched ADD x int; UPDATE watched SET x = 1", "triggers of watched run"),
        ("ALTER TABLE teams ADD x int; UPDATE teams SET x = log_it(id)", "calls log_it()"),
        ("ALTER TABLE teams ADD x int; CREATE RULE r AS ON UPDATE TO teams"
         " DO ALSO INSERT INTO log VALUES ('r'); UPDATE teams SET x = 1", "rules of teams run"),
        ("SELECT lo_put(4711, 0, 'other'); SELECT lo_from_bytea(4712, 'new')", "calls lo_put()"),
        ("SELECT lo_unlink(4711)", "calls lo_unlink()"),
        ("ALTER SEQUENCE users_id_seq RESTART WITH 1", "where the numbers of users_id_seq stood"),
        ("SELECT setval(pg_get_serial_sequence('users', 'id'), 90)", "the numbers of users's own stood"),
        ("DROP SEQUENCE loose", "where the numbers of loose stood"),
        ("GRANT SELECT ON users TO PUBLIC", "rights of users"),
        ("DROP PUBLICATION everything", "publication everything"),
        ("CREATE PUBLICATION more FOR TABLE teams", "create publication"),
        ("ALTER PUBLICATION everything ADD TABLE teams", "alter publication"),
        ("CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
         " CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION e()", "create event trig"),
        ("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w", "create foreign server"),
        ("ALTER TABLE users ALTER name TYPE varchar(1) USING left(name, 1)", "not every value of users.name"),
        ("ALTER TABLE users DROP COLUMN level", "the values of users.level go"),
        ("ALTER TABLE users ALTER name TYPE text USING name || '!'", "not every value of users.name"),
    ],
)  # fmt: skip
async def test_the_backup_brings_back_what_no_statement_does(
    world: tuple[str, str], sql: str, because: str, tmp_path: Path
) -> None:
    before = await look(world[0])
    found, why, _ = await marked(world, sql)
    assert found == "restore only"
    assert any(because in each for each in why), why
    programs = Programs(postgres_bin_folder())
    await programs.dump(world[0], tmp_path / "before.dump")
    await run(world[0], sql)
    assert await look(world[0]) != before
    await programs.restore(world[0], tmp_path / "before.dump", (1, 1))
    assert await look(world[0]) == before


@pytest.mark.parametrize(
    ("sql", "because"),
    [
        ("NOTIFY told, 'x'", "whoever listens is told"),
        ("SELECT pg_notify('told', 'x')", "whoever listens is told"),
        ("INSERT INTO told VALUES (2)", "a trigger of told: calls pg_notify()"),
        ("CREATE FUNCTION s() RETURNS void LANGUAGE sql AS $$ SELECT pg_notify('told', 'x') $$; SELECT s()",
         "s(): calls pg_notify()"),
    ],
)  # fmt: skip
async def test_who_heard_of_it_has_heard_of_it(world: tuple[str, str], sql: str, because: str) -> None:
    found, why, _ = await marked(world, sql)
    assert found == "point of no return"
    assert any(because in each for each in why), why
    heard: list[str] = []
    async with session(world[0]) as connection:
        await connection.add_listener("told", lambda *told: heard.append(told[-1]))
        await run(world[0], sql)
        await connection.execute("SELECT 1")
    assert heard == ["x"]


async def test_a_backup_of_a_database_knows_nothing_of_its_server(
    world: tuple[str, str], tmp_path: Path
) -> None:
    sql = "CREATE ROLE marked_role; GRANT pg_monitor TO marked_role"
    assert (await marked(world, sql))[0] == "point of no return"
    programs = Programs(postgres_bin_folder())
    await programs.dump(world[0], tmp_path / "before.dump")
    await programs.restore(world[0], tmp_path / "before.dump", (1, 1))
    async with session(world[0]) as connection:
        assert await connection.fetchval("SELECT pg_has_role('marked_role', 'pg_monitor', 'MEMBER')")


async def test_what_a_way_down_asks_for_is_said_and_it_fails_where_it_was_said_to(
    world: tuple[str, str],
) -> None:
    sql = "ALTER TYPE mood ADD VALUE 'fine'"
    _, _, rehearsed = await marked(world, sql)
    assert costs(read_statements(sql)) == (
        "going down writes every table with a mood anew, under a lock, and not while a row is 'fine'",
    )
    await run(world[0], sql)
    await run(world[0], "UPDATE users SET mood = 'fine' WHERE mood = 'good'")
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await run(world[0], rehearsed.down_sql)


async def test_a_built_index_comes_and_goes_without_keeping_writers_waiting(world: tuple[str, str]) -> None:
    for sql in ("CREATE INDEX CONCURRENTLY more ON users (name)", "DROP INDEX CONCURRENTLY good_ones"):
        _, _, rehearsed = await marked(world, sql)
        assert alone_in(rehearsed.down_sql) is not None
