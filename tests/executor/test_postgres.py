"""The digest of a schema sees what matters and nothing else."""

import traceback

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.executor.clients.catalogue import description
from services.executor.clients.catalogue_columns import COLUMNS, NOT_READ, REFERENCES
from services.executor.clients.catalogue_rows import query
from services.executor.clients.postgres import (
    create_database,
    described,
    drop_database,
    names_qualified,
    schema_description,
    schema_digest,
    session,
    words,
)
from shared.clients.database_urls import database_of, place, schema_of, server_url, with_database
from shared.errors import Retry
from tests.executor.conftest import NewDatabase

STATEMENTS = (
    "CREATE TABLE a (id serial PRIMARY KEY, \"Name\" text NOT NULL DEFAULT 'x', n numeric(10, 2))",
    "CREATE TYPE mood AS ENUM ('sad', 'glad')",
    "CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42'",
    "CREATE TABLE b (id int GENERATED ALWAYS AS IDENTITY, j jsonb, CHECK (id > 0))",
    "CREATE VIEW v AS SELECT 1 AS one",
    "CREATE SEQUENCE s INCREMENT 5",
    "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
    "CREATE SCHEMA other",
)
MORE = (
    "ALTER TABLE a ADD COLUMN extra text",
    'ALTER TABLE a ALTER COLUMN "Name" DROP NOT NULL',
    "ALTER TABLE a ALTER COLUMN n TYPE numeric(12, 2)",
    "ALTER TABLE a ALTER COLUMN n SET DEFAULT 1",
    "ALTER TABLE b ADD CONSTRAINT j_is_there CHECK (j IS NOT NULL)",
    'CREATE INDEX ON a ("Name")',
    "ALTER TYPE mood ADD VALUE 'calm'",
    "CREATE OR REPLACE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 43'",
    "CREATE OR REPLACE VIEW v AS SELECT 1 AS one, 2 AS two",
    "ALTER SEQUENCE s INCREMENT 6",
    "CREATE TABLE other.c ()",
    "CREATE TRIGGER t BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
    "DROP VIEW v",
)


async def run(url: str, *scripts: str) -> None:
    async with session(url) as connection:
        for script in scripts:
            await connection.execute(script)


async def test_a_catalogue_that_is_not_asked_has_nothing_to_say(new_database: NewDatabase) -> None:
    """Would catch a description that misses things, because their catalogue looked empty."""
    url = await new_database()
    for scripts in ((), STATEMENTS, MORE):
        await run(url, *scripts)
        async with session(url) as connection, names_qualified(connection):
            columns = tuple(tuple(row) for row in await connection.fetch(COLUMNS))
            references = tuple(tuple(row) for row in await connection.fetch(REFERENCES))
            every = frozenset({catalogue for catalogue, _, _ in columns} - NOT_READ.keys())
            for asked in (description(every), query(columns, references, every)):
                lines = {row["line"] for row in await connection.fetch(asked)}
                assert lines <= set(await described(connection))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(STATEMENTS))
async def test_the_order_of_making_does_not_matter(new_database: NewDatabase, order: list[str]) -> None:
    one, two = await new_database(), await new_database()
    await run(one, *STATEMENTS)
    await run(two, *order)
    assert await schema_description(one) == await schema_description(two)


async def test_the_order_of_columns_and_rows_do_not_matter(new_database: NewDatabase) -> None:
    one, two = await new_database(), await new_database()
    await run(one, "CREATE TABLE t (a int, b text)", "INSERT INTO t VALUES (1, 'x')")
    await run(two, "CREATE TABLE t (b text)", "ALTER TABLE t ADD COLUMN a int")
    assert await schema_digest(one) == await schema_digest(two)


async def test_every_change_is_seen(new_database: NewDatabase) -> None:
    url = await new_database()
    await run(url, *STATEMENTS)
    seen = [await schema_digest(url)]
    for statement in MORE:
        await run(url, statement)
        seen.append(await schema_digest(url))
    assert len(set(seen)) == len(seen)


async def test_our_fence_and_prismas_table_are_not_seen(new_database: NewDatabase) -> None:
    url = await new_database()
    before = await schema_digest(url)
    await run(
        url,
        "CREATE SCHEMA upgradepath",
        "CREATE TABLE upgradepath.fence (fence bigint)",
        "CREATE TABLE _prisma_migrations (id text PRIMARY KEY)",
    )
    assert await schema_digest(url) == before


async def test_a_database_is_made_once_and_dropped_with_its_sessions(new_database: NewDatabase) -> None:
    server = await new_database()
    await create_database(server, "test_made")
    with pytest.raises(asyncpg.DuplicateDatabaseError):
        await create_database(server, "test_made")
    lingering = await asyncpg.connect(with_database(server, "test_made"))
    assert await drop_database(server, "test_made")
    assert not await drop_database(server, "test_made")
    lingering.terminate()


async def test_an_unreachable_server_is_tried_again_and_its_password_is_not_told() -> None:
    with pytest.raises(Retry) as caught:
        await schema_digest("postgresql://app:hush@127.0.0.1:1/shop")
    assert "127.0.0.1:1/shop" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_prismas_parameters_are_not_postgresqls() -> None:
    url = "postgresql://u:p@h:1/my%20db?schema=app&connection_limit=5&sslmode=require"
    assert server_url(url) == "postgresql://u:p@h:1/my%20db?sslmode=require"
    assert schema_of(url) == "app"
    assert schema_of("postgresql://h/x") == "public"
    assert database_of(url) == "my db"
    assert place(url) == "h:1/my db"


PERSON = "ann@real.example"


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        (f"INSERT INTO people VALUES (2, '{PERSON}')", "people_email_key"),
        (f"INSERT INTO people VALUES (NULL, 'x{PERSON}')", '"id" of relation "people"'),
        (f"INSERT INTO people VALUES (3, '{PERSON}x{PERSON}')", "people_email_check"),
        ("UPDATE people SET id = email::int", "for type integer"),
        ("SELECT email::json FROM people", "22P02"),
        ("CREATE TABLE ages (age int); COPY ages FROM PROGRAM 'echo " + PERSON + "'", "for type integer"),
        (f"DO $$ BEGIN RAISE EXCEPTION 'odd: {PERSON}' USING DETAIL = '{PERSON}'; END $$", "P0001"),
        ("SELECT email::regclass FROM people", "does not exist"),
        ("SELECT quote_ident(email)::regrole FROM people", "does not exist"),
        ("DO $$ BEGIN EXECUTE (SELECT 'SELECT ' || quote_ident(email) FROM people); END $$", "42703"),
        ("DO $$ BEGIN EXECUTE (SELECT 'SELECT ' || email || '()' FROM people); END $$", "42703"),
        (f"DO $$ BEGIN RAISE unique_violation USING MESSAGE = '{PERSON}'; END $$", "23505"),
    ],
)
@pytest.mark.superuser
async def test_an_error_that_leaves_a_session_quotes_no_row(
    new_database: NewDatabase, statement: str, left: str
) -> None:
    url = await new_database()
    await run(
        url,
        "CREATE TABLE people (id int NOT NULL, email text UNIQUE CHECK (length(email) < 20));"
        f"INSERT INTO people VALUES (1, '{PERSON}')",
    )
    with pytest.raises(asyncpg.PostgresError) as caught:
        await run(url, statement)
    printed = "".join(traceback.format_exception(caught.value))
    said = "\n".join(line for line in printed.splitlines() if "asyncpg.exceptions" in line)
    assert PERSON not in printed
    assert PERSON not in repr(vars(caught.value))
    assert left in said + words(caught.value)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("DROP TABLE houses", 'table "houses" does not exist'),
        ("ALTER TABLE people ALTER agee SET NOT NULL", 'column "agee" of relation "people" does not exist'),
        (
            "DO $$ BEGIN UPDATE people SET agee = 1; END $$",
            'column "agee" of relation "people" does not exist',
        ),
        ("SELECT 'houses'::regclass", 'relation "houses" does not exist'),
    ],
)
async def test_what_a_script_names_itself_is_told(new_database: NewDatabase, script: str, said: str) -> None:
    url = await new_database()
    await run(url, "CREATE TABLE people (age int)")
    connection = await asyncpg.connect(url)
    try:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(script)
    finally:
        await connection.close()
    assert said in words(caught.value, script)
