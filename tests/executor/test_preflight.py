"""What the server lacks is found before anything is applied, and what it has is not doubted."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from services.executor.clients.postgres import session
from services.executor.clients.preflight import lacking
from services.executor.clients.script_needs import needs_of
from shared.clients.database_urls import with_database
from tests.conftest import PostgresServer
from tests.executor.conftest import NewDatabase
from tests.executor.test_migrations import execute, migration

# The database is another's, whose rights the role lacks.
pytestmark = pytest.mark.superuser

ROLE = "preflight_role"


@dataclass(frozen=True)
class Place:
    """One database, as its owner and as a role with few rights sees it."""

    owner: str
    role: str


@pytest.fixture
async def place(new_database: NewDatabase, postgres: PostgresServer) -> AsyncIterator[Place]:
    url = await new_database()
    await execute(
        postgres.url(),
        f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN PASSWORD 'few'",
    )
    # Nobody else connects to a database that we have made.
    await execute(url, f"GRANT CONNECT ON DATABASE {url.rpartition('/')[2]} TO {ROLE}")
    where = url.partition("@")[2]
    yield Place(url, f"postgresql://{ROLE}:few@{where}")
    await execute(url, f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


async def details(url: str, *scripts: str) -> list[str]:
    found = await lacking(url, [migration(f"{number}_m", sql) for number, sql in enumerate(scripts)])
    assert all(each.cure for each in found)
    return [each.detail for each in found]


@pytest.mark.parametrize(
    ("scripts", "told"),
    [
        (["CREATE EXTENSION IF NOT EXISTS postgis"], ["Extension postgis is not available"]),
        (
            ["SELECT 1", 'ALTER TABLE "a" ADD COLUMN "b" vector(3)'],
            ["type vector comes with extension vector"],
        ),
        (['CREATE TABLE a ("b" citext)'], ["type citext comes with extension citext"]),
        (["CREATE TYPE x AS ENUM ('vector(3)'); CREATE TABLE a (vector int, \"vector\" text)"], []),
        (["CREATE INDEX i ON a USING gin (b gin_trgm_ops)"], ["operator class gin_trgm_ops"]),
        (["CREATE TABLE a (id uuid DEFAULT uuid_generate_v4())"], ["function uuid_generate_v4"]),
        (["CREATE EXTENSION plpgsql"], ["Extension plpgsql is there already"]),
        (["CREATE EXTENSION IF NOT EXISTS plpgsql"], []),
    ],
)
async def test_missing_extensions(place: Place, scripts: list[str], told: list[str]) -> None:
    found = await details(place.owner, *scripts)
    assert len(found) == len(told)
    assert all(part in detail for part, detail in zip(told, found, strict=True))


async def available(url: str) -> set[str]:
    """The server's extensions: the embedded one has vector and no others, most have others and no vector."""
    async with session(url) as connection:
        return {row["name"] for row in await connection.fetch("SELECT name FROM pg_available_extensions")}


async def test_what_an_earlier_script_creates_is_not_missing(place: Place) -> None:
    name, kind = ("vector", "vector(3)") if "vector" in await available(place.owner) else ("citext",) * 2
    assert await details(place.owner, f"CREATE EXTENSION {name}", f'CREATE TABLE a ("b" {kind})') == []


async def test_missing_privileges(place: Place) -> None:
    untrusted = "vector" if "vector" in await available(place.owner) else "pg_stat_statements"
    await execute(place.owner, "CREATE TABLE theirs (id int PRIMARY KEY); CREATE TABLE rows_only (id int)")
    await execute(place.owner, f"GRANT SELECT, UPDATE ON rows_only TO {ROLE}")
    found = await details(
        place.role,
        "ALTER TABLE theirs ADD COLUMN x int; UPDATE rows_only SET id = 1; DELETE FROM rows_only",
        "CREATE TABLE mine (their_id int REFERENCES theirs (id)); ALTER TABLE mine ADD COLUMN y int",
        'CREATE INDEX CONCURRENTLY i ON "theirs" (id)',
        f"CREATE EXTENSION {untrusted}; CREATE SCHEMA other",
    )
    assert [detail for detail in found if "theirs" in detail] == [
        f"{ROLE} does not own theirs; postgres does.",
        f"{ROLE} lacks REFERENCES on theirs.",
    ]
    assert f"{ROLE} lacks DELETE on rows_only." in found
    assert not any("UPDATE" in detail or "mine" in detail for detail in found)
    assert any(f"not permitted to create extension {untrusted}" in detail for detail in found)
    assert any("may not create our schema" in detail for detail in found)
    assert any("may not create a schema" in detail for detail in found)
    assert any("may not create anything in it" in detail for detail in found)

    database = place.owner.rpartition("/")[2]
    await execute(place.owner, f"GRANT CREATE ON DATABASE {database} TO {ROLE}")
    await execute(place.owner, f"GRANT CREATE ON SCHEMA public TO {ROLE}; ALTER TABLE theirs OWNER TO {ROLE}")
    await execute(place.owner, f"GRANT ALL ON rows_only TO {ROLE}")
    assert (
        await details(
            place.role,
            "ALTER TABLE theirs ADD COLUMN x int; DELETE FROM rows_only; CREATE SCHEMA other",
        )
        == []
    )


async def test_a_database_that_takes_no_writes(place: Place) -> None:
    database = place.owner.rpartition("/")[2]
    await execute(
        with_database(place.owner, "postgres"),
        f"ALTER DATABASE {database} SET default_transaction_read_only = on",
    )
    assert await details(place.owner, "SELECT 1") == ["The database is read-only."]
    await execute(with_database(place.owner, "postgres"), f"ALTER DATABASE {database} RESET ALL")


def test_what_only_newer_servers_know_is_seen_where_it_is_written() -> None:
    needs = needs_of(
        [
            migration("1_a", "SELECT 'MERGE INTO';\n-- NULLS NOT DISTINCT\nSELECT merge FROM virtual"),
            migration("2_b", "SELECT 1;\nALTER TABLE t ADD UNIQUE NULLS NOT DISTINCT (a)"),
        ]
    )
    assert needs.versions == {("NULLS NOT DISTINCT", 15): "prisma/migrations/2_b/migration.sql:2"}


def test_a_script_that_nobody_can_read_does_not_hide_what_the_others_need() -> None:
    """What is wrong with it, its own fault says."""
    needs = needs_of(
        [migration("1_a", "CREATE TABLE ON nothing"), migration("2_b", "CREATE EXTENSION citext")]
    )
    assert [each.name for each in needs.extensions] == ["citext"]
