"""Prepare makes a branch and a masked staging database, or says what is not as the plan saw it."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.executor.clients.dressing import dress, dressing
from services.executor.clients.postgres import create_database, drop_database, session
from services.executor.stages import prepare
from services.executor.stages.project_tree import kept_ref
from shared.clients.staging import staging_database_name, staging_owner
from shared.contracts.projects import Hosting
from shared.errors import Failure
from tests.executor.conftest import Made, NewDatabase
from tests.executor.project_world import BRANCH, PEOPLE, RUN, make_world


async def test_branch_and_masked_rows_are_there_and_again(tmp_path: Path, new_database: NewDatabase) -> None:
    world = await make_world(tmp_path, new_database)
    first = await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    again = await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    assert first.copied is not None
    assert again.copied is not None
    assert again.copied.made_at > first.copied.made_at, "the rows are those of the later moment"
    assert first == again.model_copy(update={"copied": first.copied})
    assert first.commit == world.base
    assert first.rows == {"users": PEOPLE}
    assert first.masked_columns == 1
    assert world.staging_url.endswith(first.database)
    assert await world.clone.head(BRANCH) == world.base
    assert await world.clone.ref(kept_ref(RUN)) == world.base
    real = "SELECT count(*) FROM users WHERE email LIKE '%x.example'"
    assert await world.value(world.staging_url, real) == 0
    assert await world.value(world.production, real) == PEOPLE
    assert not world.journal.touched_production()
    said = {effect.name: effect.detail for effect in await world.journal.of_run()}
    assert said["copy-rows"] == f"{PEOPLE} rows of 1 tables, 0 MiB"


async def test_a_push_since_the_plan_is_named(tmp_path: Path, new_database: NewDatabase) -> None:
    world = await make_world(tmp_path, new_database)
    await world.commit("main", {"notes.txt": b"x"}, "Shout louder")
    with pytest.raises(Failure, match="moved since the plan") as caught:
        await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    (finding,) = caught.value.outcome.findings
    assert finding.kind == "drift"
    assert "Mira: Shout louder" in finding.detail
    assert finding.cure == "request a new plan"
    assert await world.clone.head(BRANCH) is None


async def test_a_schema_that_the_migrations_do_not_make_is_named(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database)
    await world.execute(world.production, "CREATE INDEX by_hand ON users (email)")
    with pytest.raises(Failure, match="not what the Project's migrations make") as caught:
        await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    assert "by_hand" in caught.value.outcome.findings[0].detail


async def test_what_the_hosting_keeps_in_production_is_left_alone(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    """Schemas that no file names, and declared ones that a file names; what is the Project's counts."""
    world = await make_world(tmp_path, new_database)
    await world.execute(
        world.production,
        "CREATE SCHEMA provider; CREATE TABLE provider.sessions (id int PRIMARY KEY);"
        " CREATE SCHEMA shop; CREATE TABLE shop.sold (id int);"
        " CREATE PUBLICATION provider_feed FOR TABLE users",
    )
    # A comment in a schema file of the Project names the second one, so it is the Project's until declared.
    main = "prisma/schema/main.prisma"
    text = (await world.clone.show(world.base, main) or b"") + b"\n// what is sold: shop.sold\n"
    world.base = await world.commit("main", {main: text}, "Say where")
    job = world.job("prepare")
    with pytest.raises(Failure) as caught:
        await prepare.run(job, world.prepare_task(), world.tools)
    told = caught.value.outcome.findings[0].detail
    assert "shop" in told
    assert "provider" not in told
    hosting = Hosting(schemas=("shop",))
    definition = world.project.definition.model_copy(update={"hosting": hosting})
    declared = job.project.model_copy(update={"definition": definition})
    await prepare.run(replace(job, project=declared), world.prepare_task(), world.tools)
    there = "SELECT count(*) FROM pg_namespace WHERE nspname IN ('provider', 'shop')"
    assert await world.value(world.staging_url, there) == 0
    assert await world.value(world.production, there) == 2


async def test_a_migration_that_production_lacks_is_named(tmp_path: Path, new_database: NewDatabase) -> None:
    world = await make_world(tmp_path, new_database)
    path = "prisma/migrations/20260102000000_later/migration.sql"
    world.base = await world.commit("main", {path: b"SELECT 1"}, "Later")
    with pytest.raises(Failure) as caught:
        await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    (finding,) = caught.value.outcome.findings
    assert (finding.kind, finding.subject) == ("migration", "20260102000000_later")
    assert "apply it to production first" in finding.cure


async def test_a_seed_file_stands_in_for_the_copy(tmp_path: Path, new_database: NewDatabase) -> None:
    world = await make_world(tmp_path, new_database)
    definition = world.project.definition
    staging = definition.staging.model_copy(update={"data": "seed", "seed": "seed.sql"})
    world.project = world.project.model_copy(
        update={"definition": definition.model_copy(update={"staging": staging})}
    )
    with pytest.raises(Failure, match=r"seed\.sql is missing"):
        await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    world.base = await world.commit("main", {"seed.sql": b"-- To be written.\n"}, "Nothing yet")
    await world.clone.push([(f"refs/heads/{BRANCH}", None, await world.clone.head(BRANCH))])
    facts = await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    assert (facts.rows, facts.masked_columns) == ({"users": 0}, 0)
    await world.clone.push([(f"refs/heads/{BRANCH}", None, await world.clone.head(BRANCH))])
    seed = b"INSERT INTO users VALUES (7, 'made@up.example')"
    world.base = await world.commit("main", {"seed.sql": seed}, "Seed")
    await world.clone.push([(f"refs/heads/{BRANCH}", None, await world.clone.head(BRANCH))])
    facts = await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    assert (facts.rows, facts.masked_columns) == ({"users": 1}, 0)


async def test_what_an_earlier_run_left_is_dropped_and_nothing_else(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database)
    mine, repository = world.project.id, world.project.repository
    signed = {
        "run-aaaaaaaaaaaa": staging_owner(mine, repository, "run-aaaaaaaaaaaa", 0),
        "run-bbbbbbbbbbbb": staging_owner("other-portal", repository, "run-bbbbbbbbbbbb", 0),
        "run-cccccccccccc": staging_owner(mine, "another repository", "run-cccccccccccc", 0),
        "run-dddddddddddd": staging_owner(mine, repository, "run-dddddddddddd", 99),
        "run-eeeeeeeeeeee": staging_owner(mine, repository, "run-aaaaaaaaaaaa", 0),
        "run-ffffffffffff": "a copy of somebody",
    }
    names = {run: staging_database_name(world.staging, run) for run in signed}
    try:
        for run, words in signed.items():
            await create_database(world.staging, names[run])
            await world.execute(world.staging, f"COMMENT ON DATABASE {names[run]} IS '{words}'")
        await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
        await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
        there = (
            "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname ~ 'run_[b-f]+$'"
        )
        assert await world.value(world.production, there) == " ".join(list(names.values())[1:])
        assert await world.value(world.staging_url, "SELECT count(*) FROM users") == PEOPLE
    finally:
        for name in names.values():
            await drop_database(world.staging, name)


async def test_stagings_owner_keeps_a_schema_that_productions_owner_has_by_name(made: Made) -> None:
    """`ALTER SCHEMA public OWNER TO` is a cure of ours; its rights are those of staging's owner too."""
    _, production = await made("ALTER SCHEMA public OWNER TO {role}; GRANT USAGE ON SCHEMA public TO PUBLIC;")
    _, staging = await made("SELECT 1;")
    async with session(production) as connection:
        worn = await dressing(connection)
    async with session(staging) as connection:
        await dress(connection, worn)
        await connection.execute("CREATE TABLE mine (id int)")
