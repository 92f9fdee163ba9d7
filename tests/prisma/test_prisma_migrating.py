"""Prisma's own engine on a real PostgreSQL: what it says of migrations, histories and rows."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from services.executor.clients import migration_files, migrations
from services.executor.clients.postgres import schema_description
from shared.prisma import migrating
from shared.prisma.engine import EngineError
from shared.prisma.fragments import merge
from shared.prisma.migrating import Migrations, data_loss, diagnose, diff, diff_from_migrations
from shared.prisma.ownership import Unified
from shared.prisma.parser import Files
from tests.conftest import NewDatabase

EXAMPLES = Path(__file__).parents[2] / "examples"

SCHEMA = """
enum Role {
  ADMIN
  USER
}
model User {
  id    Int      @id @default(autoincrement())
  mail  String   @unique @db.VarChar(80)
  role  Role     @default(USER)
  tags  String[]
  price Decimal? @db.Decimal(10, 2)
  at    DateTime @default(now())
  posts Post[]
  @@map("users")
}
model Post {
  id     BigInt @id
  user   User   @relation(fields: [userId], references: [id])
  userId Int
  raw    Json?
  @@index([userId])
}
"""
FILES = {"a.prisma": SCHEMA}
FIRST, SECOND = "20250101000000_init", "20250102000000_nick"


@pytest.fixture(scope="module")
async def history() -> Migrations:
    """Two migrations that make the schema, and one column more."""
    return {FIRST: await diff({}, FILES), SECOND: 'ALTER TABLE "users" ADD COLUMN "nick" TEXT;\n'}


def as_ours(history: Migrations) -> tuple[migration_files.Migration, ...]:
    return migration_files.read_migrations(
        {f"prisma/migrations/{folder}/migration.sql": sql.encode() for folder, sql in history.items()}
    )


async def databases(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
    finally:
        await connection.close()


async def test_migrations_are_compared_with_a_schema_and_no_database_is_left(
    new_database: NewDatabase, history: Migrations
) -> None:
    url = await new_database()
    before, untouched = await databases(url), await schema_description(url)
    with_nick = {"a.prisma": SCHEMA.replace("  tags ", "  nick  String?\n  tags ")}
    assert await diff_from_migrations(url, history, with_nick) == ""
    assert 'DROP COLUMN "nick"' in await diff_from_migrations(url, history, FILES)
    with pytest.raises(EngineError, match=r"P3006.*20250103000000_bad(.|\n)*nowhere"):
        await diff_from_migrations(url, {**history, "20250103000000_bad": "DROP TABLE nowhere;"}, FILES)
    assert await databases(url) == before
    assert await schema_description(url) == untouched


async def test_a_database_is_compared_with_a_schema(new_database: NewDatabase, history: Migrations) -> None:
    url = await new_database()
    assert await migrating.diff_from_database(url, FILES) == await diff({}, FILES)
    await migrations.apply(url, as_ours(history), (1, 1))
    assert await migrating.diff_from_database(url, FILES) == (
        '-- AlterTable\nALTER TABLE "users" DROP COLUMN "nick";\n'
    )


async def test_what_we_applied_prisma_finds_done_and_the_other_way_round(
    new_database: NewDatabase, history: Migrations
) -> None:
    ours, theirs = await new_database(), await new_database()
    assert (await diagnose(ours, history)).unapplied == (FIRST, SECOND)
    await migrations.apply(ours, as_ours(history), (1, 1))
    found = await diagnose(ours, history)
    assert found.has_table
    assert found.up_to_date
    assert await migrating.apply_migrations(ours, history) == ()

    assert await migrating.apply_migrations(theirs, history) == (FIRST, SECOND)
    done = await migrations.apply(theirs, as_ours(history), (1, 1))
    assert [each.folder for each in done] == [FIRST, SECOND]
    assert await schema_description(ours) == await schema_description(theirs)


async def test_edited_failed_missing_and_strange_migrations_are_named(
    new_database: NewDatabase, history: Migrations
) -> None:
    url = await new_database()
    await migrating.apply_migrations(url, history)
    edited = await diagnose(url, {**history, SECOND: history[SECOND] + "-- edited"})
    assert (edited.edited, edited.up_to_date) == ((SECOND,), False)
    assert (await diagnose(url, {FIRST: history[FIRST]})).unknown == (SECOND,)
    renamed = await diagnose(url, {FIRST: history[FIRST], "20250102000000_alias": history[SECOND]})
    assert (renamed.unknown, renamed.unapplied) == ((SECOND,), ("20250102000000_alias",))
    assert renamed.diverged_after == FIRST
    bad = {**history, "20250103000000_bad": "DROP TABLE nowhere;"}
    with pytest.raises(EngineError, match=r"No such table: nowhere$"):
        await migrating.apply_migrations(url, bad)
    assert (await diagnose(url, bad)).failed == ("20250103000000_bad",)


async def test_losses_are_counted_in_the_rows_that_exist(
    new_database: NewDatabase, history: Migrations
) -> None:
    url = await new_database()
    await migrating.apply_migrations(url, {FIRST: history[FIRST]})
    without_mail = SCHEMA.replace("  mail  String   @unique @db.VarChar(80)\n", "")
    after = {"a.prisma": without_mail.replace("  price ", "  must  String\n  price ")}
    empty = await data_loss(url, {FIRST: history[FIRST]}, after)
    assert (empty.warnings, empty.impossible) == ((), ())
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO users (mail) VALUES ('a'), ('b')")
    await connection.close()
    filled = await data_loss(url, {FIRST: history[FIRST]}, after)
    assert filled.steps == empty.steps
    assert [("`mail`" in each, "2 non-null values" in each) for each in filled.warnings] == [(True, True)]
    assert ["There are 2 rows" in each for each in filled.impossible] == [True]


async def test_a_server_that_is_away_is_an_error_of_the_connection(history: Migrations) -> None:
    with pytest.raises(OSError, match="127"):
        await diagnose("postgresql://nobody@127.0.0.1:1/nothing", history)


async def test_stopped_in_the_middle_nothing_is_left(new_database: NewDatabase, history: Migrations) -> None:
    url = await new_database()
    before = await databases(url)
    slow = {FIRST: "SELECT pg_sleep(60);"}
    asking = asyncio.create_task(diff_from_migrations(url, slow, FILES))
    for _ in range(1000):
        if await databases(url) != before:
            break
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await databases(url) == before


async def test_a_shadow_that_a_killed_process_left_is_swept(
    new_database: NewDatabase, history: Migrations
) -> None:
    url = await new_database()
    connection = await asyncpg.connect(url)
    old, fresh = "upgradepath_shadow_1700000000_ab", "upgradepath_shadow_9999999999_cd"
    for name in (old, fresh):
        await connection.execute(f'CREATE DATABASE "{name}"')
    await diff_from_migrations(url, history, FILES)
    assert {old, fresh} & await databases(url) == {fresh}
    await connection.execute(f'DROP DATABASE "{fresh}"')
    await connection.close()


async def test_several_at_once_do_not_mix(new_database: NewDatabase, history: Migrations) -> None:
    urls = [await new_database() for _ in range(3)]
    applied = await asyncio.gather(*(migrating.apply_migrations(url, history) for url in urls))
    assert applied == [(FIRST, SECOND)] * 3


def example(system: str | None = None) -> tuple[Files, Migrations]:
    """The example Project's schema files and migrations, after the upgrade of a System where one is named."""
    project = EXAMPLES / "project/prisma"
    files = {path.name: path.read_text() for path in sorted(project.glob("schema/*.prisma"))}
    sql = {path.parent.name: path.read_text() for path in project.glob("migrations/*/migration.sql")}
    if system is not None:
        package = EXAMPLES / "systems" / system / "prisma"
        files[f"{Path(system).parent}.prisma"] = (package / "schema.prisma").read_text()
        had = {folder.partition(f"{Path(system).parent}_")[2] for folder in sql}
        for path in sorted(package.glob("migrations/*/migration.sql")):
            name = path.parent.name.partition("_")[2]
            if name not in had:
                sql[f"2027{len(sql):010}_{name}"] = path.read_text()
    return files, sql


@pytest.mark.parametrize("upgraded", [None, "auth-system/1.3.0"])
async def test_the_examples_migrations_make_its_schema(
    new_database: NewDatabase, upgraded: str | None
) -> None:
    files, sql = example(upgraded)
    merged = merge(files)
    assert isinstance(merged, Unified)
    assert await diff_from_migrations(await new_database(), sql, merged.files) == ""
