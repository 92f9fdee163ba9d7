"""A package that got past the registry, a pushed fix, a seed: the executor judges them itself.

The server of these tests lets its role run programs, so what is not stopped leaves a file behind.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from services.executor.clients import migrations, reverting
from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import session
from services.executor.stages import deploy, migrate
from services.executor.stages.project_tree import migrations_at
from shared.contracts.projects import PrismaPaths, StagingData
from shared.errors import Failure
from shared.packages.archive import pack_folder
from tests.executor.conftest import NewDatabase
from tests.executor.merge_world import NEW, STATUS
from tests.executor.project_world import BRANCH, EXPAND, World, make_world, proven
from tests.executor.test_review import reviewing
from tests.packages.package_files import packed

_EVIDENCE = "SELECT to_regclass('public.evidence')"


def evil(folder: Path) -> str:
    """A script that leaves a table and a file when it runs."""
    return f"CREATE TABLE evidence (a int);\nCOPY (SELECT 1) TO PROGRAM 'touch {folder}/ran';\n"


async def with_package(world: World, sql: str, down_sql: str | None = None) -> World:
    """The world whose first migration is another one, put straight into the content store."""
    folder = world.folder / "package"
    first = folder / "prisma/migrations" / world.installed[0].name
    (first / "migration.sql").write_text(sql)
    if down_sql is not None:
        (first / "down.sql").write_text(down_sql)
    digest = await world.tools.content.put(pack_folder(folder))
    checksum = hashlib.sha256(sql.encode()).hexdigest()
    changed = world.installed[0].model_copy(update={"checksum": checksum})
    return replace(world, package=digest, installed=(changed, *world.installed[1:]))


async def nothing_ran(world: World) -> bool:
    databases = "SELECT count(*) FROM pg_database WHERE datname ~ 'proof'"
    left = [await world.value(world.production, _EVIDENCE), await world.value(world.production, databases)]
    return left == [None, 0] and not (world.folder / "ran").exists()


@pytest.mark.parametrize("where", ["migration.sql", "down.sql"])
async def test_a_review_refuses_before_anything_of_the_package_runs(
    tmp_path: Path, new_database: NewDatabase, where: str
) -> None:
    """Would catch a rehearsal, or a question about rows, that runs a package's SQL before it is judged."""
    database = await new_database()
    made = await reviewing(tmp_path, database)
    package = await made.tools.content.put(packed({**NEW, f"{STATUS}/{where}": evil(tmp_path)}))
    made.world.upgrade = made.world.upgrade.model_copy(update={"to_package": package})
    with pytest.raises(Failure) as failed:
        await made.review()
    (finding,) = [each for each in failed.value.outcome.findings if "PROGRAM" in each.detail]
    assert finding.subject.endswith(where)
    assert "line 2" in finding.detail
    assert finding.cure
    async with session(database) as connection:
        assert await connection.fetchval(_EVIDENCE) is None
    assert not (tmp_path / "ran").exists()


async def test_a_question_about_rows_does_not_run_what_it_asks(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    """Would catch an expression of a package that reads a file of production's server during review."""
    world = await make_world(tmp_path, new_database)
    (tmp_path / "secret").write_text("hidden")
    sql = f"ALTER TABLE users ADD CHECK (pg_read_file('{tmp_path}/secret') = 'hidden');\n"
    world = await with_package(world, sql)
    with pytest.raises(Failure, match="production cannot take"):
        await proven(world)


async def test_a_migrate_refuses_before_staging_is_written(tmp_path: Path, new_database: NewDatabase) -> None:
    """Would catch a package that was changed in the content store after the plan."""
    world = await with_package(await make_world(tmp_path, new_database), evil(tmp_path))
    with pytest.raises(Failure) as failed:
        await proven(world)
    assert any("PROGRAM" in each.detail for each in failed.value.outcome.findings)
    assert await nothing_ran(world)
    assert await world.value(world.staging_url, _EVIDENCE) is None


async def test_a_fix_on_the_upgrade_branch_is_judged_too(tmp_path: Path, new_database: NewDatabase) -> None:
    """Would catch a migration that nobody has published: a maintainer's push to the branch."""
    world = await make_world(tmp_path, new_database)
    facts = await proven(world)
    path = f"prisma/migrations/{world.installed[0].folder}/migration.sql"
    fixed = await world.commit(BRANCH, {path: (EXPAND + evil(tmp_path)).encode()}, "A fix")
    with pytest.raises(Failure):
        await migrate.run(world.job("migrate"), world.migrate_task(fixed), world.tools)
    assert await nothing_ran(world)
    # Straight to production, as if staging had taken it and somebody had approved it.
    checksum = hashlib.sha256((EXPAND + evil(tmp_path)).encode()).hexdigest()
    taken = facts.with_(
        commit=fixed,
        tree=await world.clone.tree(fixed),
        migrations=tuple(
            each.with_(checksum=checksum) if each.folder == world.installed[0].folder else each
            for each in facts.migrations
        ),
    )
    task = world.deploy_task(taken)
    with pytest.raises(Failure, match="a migration must not run"):
        await deploy.run(world.job("deploy"), task, world.tools)
    assert await nothing_ran(world)
    assert not world.journal.touched_production()


async def test_a_seed_is_held_to_the_same(tmp_path: Path, new_database: NewDatabase) -> None:
    """Would catch a partner's own file that runs with the rights of staging's role."""
    world = await make_world(tmp_path, new_database)
    definition = world.project.definition
    staging = StagingData(data="seed", seed="prisma/seed.sql")
    seeded = definition.model_copy(update={"staging": staging})
    world.project = world.project.model_copy(update={"definition": seeded})
    world.base = await world.commit("main", {"prisma/seed.sql": evil(tmp_path).encode()}, "A seed")
    with pytest.raises(Failure, match="must not run") as failed:
        await proven(world)
    (finding,) = failed.value.outcome.findings
    assert finding.subject == "prisma/seed.sql"
    assert await nothing_ran(world)


async def test_a_way_down_that_changed_since_it_was_tried_does_not_run(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    """Would catch a down.sql that the repository changed after the candidate was proven."""
    world = await make_world(tmp_path, new_database)
    await proven(world)
    history = await migrations_at(world.clone, await world.clone.head(BRANCH) or "", PrismaPaths())
    folders = [each.folder for each in world.installed]
    ours = [each for each in history if each.folder == folders[0]]
    await migrations.apply(world.production, history, (1, 1), wanted=[ours[0].folder], run=folders)
    changed = [Migration(each.folder, each.sql, each.checksum, evil(tmp_path)) for each in ours]
    with pytest.raises(Failure, match=r"a down\.sql must not run"):
        await reverting.revert(world.production, changed, (1, 2), kept={})
    assert await nothing_ran(world)
    async with session(world.production) as connection:
        assert await connection.fetchval("SELECT count(*) FROM session_events") == 0
