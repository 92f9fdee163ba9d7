"""Every step has a way down that leads back to the same schema, or it is said that it has none and why."""

from collections.abc import AsyncIterator

import pytest

from services.executor.clients.postgres import (
    create_database,
    drop_database,
    execute_script,
    schema_description,
    session,
)
from services.executor.clients.rehearsal import Rehearsed, Step, rehearse
from shared.sql.script import read_statements
from tests.conftest import NewDatabase, PostgresServer

BEFORE = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE teams (id int PRIMARY KEY, name text NOT NULL DEFAULT 'x');
CREATE TABLE users (
    id serial PRIMARY KEY, email text UNIQUE, name varchar(20), team int REFERENCES teams ON DELETE CASCADE,
    mood mood DEFAULT 'good', moods mood[], big bigint GENERATED ALWAYS AS IDENTITY,
    double int GENERATED ALWAYS AS (team * 2) STORED, CONSTRAINT short CHECK (length(name) < 20)
);
CREATE INDEX by_name ON users (lower(name)) WHERE name IS NOT NULL;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER stamped BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE VIEW names AS SELECT id, name FROM teams;
"""


@pytest.fixture(scope="module")
async def world(postgres: PostgresServer) -> AsyncIterator[str]:
    """A database to which every way down leads back."""
    await create_database(postgres.url(), "ways_down")
    async with session(postgres.url("ways_down")) as connection:
        await connection.execute(BEFORE)
    yield postgres.url("ways_down")
    await drop_database(postgres.url(), "ways_down")


async def rehearsed(url: str, sql: str, down_sql: str | None = None) -> Rehearsed:
    return (await rehearse(url, [Step("one", read_statements(sql), down_sql)]))["one"]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE n (id serial PRIMARY KEY, t int REFERENCES teams); CREATE INDEX ON n (t);",
        "ALTER TABLE users ADD a text, ADD b serial, ADD c int GENERATED ALWAYS AS IDENTITY UNIQUE",
        "ALTER TABLE users DROP email, DROP mood; ALTER TABLE users DROP team CASCADE",
        "ALTER TABLE users DROP big, DROP id",
        "DROP TABLE users",
        "DROP TABLE teams CASCADE",
        "ALTER TABLE users RENAME email TO mail; ALTER TABLE users ALTER mail SET NOT NULL",
        "ALTER TABLE users RENAME TO people; ALTER TABLE people ADD x int; ALTER TABLE people RENAME x TO y",
        "ALTER TABLE users ALTER name TYPE text, ALTER mood TYPE text, ALTER mood SET DEFAULT 'bad'",
        "ALTER TABLE users ALTER mood DROP DEFAULT, ALTER id DROP DEFAULT, ALTER name SET NOT NULL",
        "ALTER TABLE teams ALTER name DROP NOT NULL, ALTER name SET DEFAULT 'y' || 'z'",
        "ALTER TABLE users DROP CONSTRAINT short, ADD CONSTRAINT short CHECK (length(name) < 30)",
        "ALTER TABLE users ADD CONSTRAINT k FOREIGN KEY (id) REFERENCES teams NOT VALID,"
        " DROP CONSTRAINT users_team_fkey",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON users (name)",
        "DROP INDEX CONCURRENTLY by_name",
        "ALTER TYPE mood ADD VALUE 'fine' BEFORE 'bad'",
        "ALTER TYPE mood RENAME VALUE 'bad' TO 'sad'",
        "CREATE TYPE new_mood AS ENUM ('good'); ALTER TABLE users ALTER mood DROP DEFAULT,"
        " ALTER mood TYPE new_mood USING mood::text::new_mood;"
        " ALTER TYPE mood RENAME TO old_mood; ALTER TYPE new_mood RENAME TO mood",
        "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "DROP TRIGGER stamped ON users; DROP FUNCTION stamp(); DROP VIEW names",
        "CREATE FUNCTION f(a int, b text DEFAULT 'x') RETURNS int LANGUAGE sql AS 'SELECT 1';"
        " CREATE VIEW v AS SELECT f(1)",
        "CREATE SCHEMA shop; CREATE TABLE shop.t (id int); CREATE DOMAIN shop.d AS int CHECK (VALUE > 0)",
        "CREATE SEQUENCE q START 5; CREATE TYPE pair AS (a int, b text);"
        " CREATE MATERIALIZED VIEW m AS SELECT 1 AS one",
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON users FOR SELECT USING (id > 0)",
        "CREATE OR REPLACE VIEW names AS SELECT id, name, 1 AS one FROM teams",
        "DO $$ BEGIN EXECUTE format('ALTER TABLE %I ADD x int', 'users'); EXECUTE 'DROP VIEW names'; END $$",
        "LOCK TABLE users; UPDATE users SET name = 'x'; ALTER INDEX by_name RENAME TO by_names",
        "CREATE SCHEMA s; ALTER TABLE users SET SCHEMA s",
        "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);"
        " ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b; CREATE TABLE c (a int REFERENCES a)",
        "CREATE UNIQUE INDEX u ON teams (id, name); ALTER TABLE users ADD email2 text,"
        " ADD CONSTRAINT k FOREIGN KEY (team, email2) REFERENCES teams (id, name)",
        "ALTER TABLE users RENAME CONSTRAINT users_pkey TO people_pkey;"
        " ALTER INDEX users_email_key RENAME TO mails; ALTER TABLE teams RENAME CONSTRAINT teams_pkey TO t",
        "ALTER TABLE users ALTER mood TYPE text, DROP moods; DROP TYPE mood CASCADE",
        "ALTER TABLE teams DROP CONSTRAINT teams_pkey CASCADE, ADD no int, ADD CONSTRAINT teams_pkey"
        " PRIMARY KEY (no)",
        "ALTER TABLE users DROP mood, ADD mood int NOT NULL DEFAULT 1",
        "ALTER TABLE users DROP CONSTRAINT users_pkey, DROP id, ADD id uuid NOT NULL,"
        " ADD CONSTRAINT users_pkey PRIMARY KEY (id)",
    ],
)  # fmt: skip
async def test_the_way_that_we_make_leads_back(world: str, sql: str) -> None:
    before = await schema_description(world)
    found = await rehearsed(world, sql)
    assert found.error is None
    assert found.left == (), found.down_sql
    # The rehearsal has gone down and up again; now down for good.
    assert await schema_description(world) != before
    async with session(world) as connection:
        await connection.execute(found.down_sql)
    assert await schema_description(world) == before


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE kinds ALTER number TYPE numeric(10, 4)",
        "ALTER TABLE kinds ALTER number TYPE text; ALTER TABLE kinds ALTER share TYPE numeric(65, 30)",
        "ALTER TABLE kinds DROP nothing",
        "ALTER TABLE kinds DROP nothing, ADD nothing int NOT NULL DEFAULT 7",
        "UPDATE kinds SET share = share",
        "-- only a comment",
    ],
)
async def test_rows_come_back_as_they_were(new_database: NewDatabase, sql: str) -> None:
    """Where no value goes, none comes back as another: neither 1.0000 for 1, nor a default for a null."""
    url = await new_database()
    async with session(url) as connection:
        await connection.execute(
            "CREATE TABLE kinds (number int, share float8, nothing text);"
            " INSERT INTO kinds VALUES (1, 0.5), (NULL, NULL), (-3, 2);"
            " ALTER TABLE kinds ALTER nothing SET DEFAULT random()::text"
        )
        before = await connection.fetch("SELECT number, share, nothing FROM kinds ORDER BY 1")
    found = await rehearsed(url, sql)
    assert (found.error, found.left) == (None, ())
    async with session(url) as connection:
        await execute_script(connection, found.down_sql)
        assert await connection.fetch("SELECT number, share, nothing FROM kinds ORDER BY 1") == before


async def test_a_way_down_of_the_package_is_tried_too(world: str) -> None:
    found = await rehearsed(world, "ALTER TABLE users ADD a int, ADD b int", "ALTER TABLE users DROP a")
    assert found.left == (
        "left: column public.users.b integer null=t default= identity= generated= collation=",
    )
    found = await rehearsed(world, "ALTER TABLE users DROP a", "ALTER TABLE users DROP a")
    assert found.left == ('it fails: column "a" of relation "users" does not exist (42703)',)
    assert [each.name for each in found.gone] == ["a"]
    assert (await rehearsed(world, "ALTER TABLE users DROP b")).left == ()


@pytest.mark.parametrize(
    ("down_sql", "left"),
    [
        ("-- back\nDROP INDEX\nCONCURRENTLY IF EXISTS by_team;\n", 0),
        ("drop index concurrently by_name", 2),
        ("CREATE INDEX CONCURRENTLY by_time ON users (big)", 2),
        ("VACUUM users", 1),
    ],
)
async def test_a_way_down_that_no_transaction_takes_is_tried_for_good(
    postgres: PostgresServer, down_sql: str, left: int
) -> None:
    await create_database(postgres.url(), "ways_alone")
    url = postgres.url("ways_alone")
    async with session(url) as connection:
        await connection.execute(BEFORE)
    found = await rehearsed(url, "CREATE INDEX CONCURRENTLY by_team ON users (team)", down_sql)
    await drop_database(postgres.url(), "ways_alone")
    assert (found.error, found.down_sql, len(found.left)) == (None, down_sql, left)


async def test_a_step_that_fails_is_named_with_its_line(world: str) -> None:
    found = await rehearsed(world, "SELECT 1;\nALTER TABLE nowhere ADD a int")
    assert found.error == (2, 'relation "nowhere" does not exist (42P01)')
