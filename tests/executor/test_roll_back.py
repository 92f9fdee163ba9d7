"""After a rollback everything is as before, each line of it proven; and no row is lost unasked."""

from pathlib import Path

import pytest

from local.postgres import postgres_bin_folder
from services.executor.clients.postgres import schema_digest
from services.executor.stages import deploy, prepare, roll_back
from services.executor.stages.data_impact import foresee
from services.executor.stages.project_tree import migrations_at, tables_at
from services.executor.stages.ways_down import find_ways_down
from shared.contracts.facts import MigrateFacts, PlannedMigration
from shared.contracts.projects import PrismaPaths
from shared.contracts.tasks import InstalledMigration
from shared.errors import Failure
from shared.packages.package import read_package
from tests.executor.conftest import NewDatabase, SavedWorlds
from tests.executor.project_world import BRANCH, PEOPLE, RUN, World, make_world, proven


@pytest.fixture(autouse=True)
def postgres_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPGRADES_POSTGRES_BIN", str(postgres_bin_folder()))


async def deployed(world: World) -> tuple[MigrateFacts, str]:
    candidate = await proven(world)
    facts = await deploy.run(world.job("deploy"), world.deploy_task(candidate), world.tools)
    assert facts.backup is not None
    return candidate, facts.backup


async def assert_as_before(world: World, candidate: MigrateFacts) -> None:
    head = await world.clone.head("main")
    assert head is not None
    assert await world.clone.tree(head) == await world.clone.tree(world.base)
    assert await schema_digest(world.production) == candidate.production_schema
    live = await world.live()
    assert live is not None
    assert await world.clone.tree(live) == await world.clone.tree(world.base)
    assert await world.clone.head(BRANCH) is None
    assert await world.live(RUN) is None
    assert await world.value(world.production, "SELECT count(email) FROM users") >= PEOPLE  # type: ignore[operator]


async def test_a_deploy_is_undone_and_later_rows_are_kept(worlds: SavedWorlds) -> None:
    world, candidate, _ = await worlds.deployed()
    await world.execute(world.production, "INSERT INTO users VALUES (99, 'new@x.example')")
    facts = await roll_back.run(world.job("roll-back"), world.roll_back_task(candidate), world.tools)
    assert [line.what for line in facts.proof if line.same] == [
        "files of branch main",
        "version-map.yaml",
        "config/",
        "production's schema",
        "live commit",
    ]
    assert [step.name for step in facts.steps] == [
        "push revert",
        "activate",
        "health",
        "undo migrations",
        "health",
        "remove staging",
    ]
    await assert_as_before(world, candidate)
    assert await world.value(world.production, "SELECT count(*) FROM users") == PEOPLE + 1
    again = await roll_back.run(world.job("roll-back"), world.roll_back_task(candidate), world.tools)
    assert again.proof == facts.proof


@pytest.mark.parametrize("step", ["expand", "push", "activate", "contract"])
async def test_a_deploy_that_stopped_anywhere_is_undone(worlds: SavedWorlds, step: str) -> None:
    world, candidate = await worlds.proven()
    world.journal.fail_at = step
    with pytest.raises(ConnectionError):
        await deploy.run(world.job("deploy"), world.deploy_task(candidate), world.tools)
    world.journal.fail_at = "push revert" if step == "contract" else None
    if step == "contract":
        with pytest.raises(ConnectionError):
            await roll_back.run(world.job("roll-back"), world.roll_back_task(candidate), world.tools)
        world.journal.fail_at = None
    facts = await roll_back.run(world.job("roll-back"), world.roll_back_task(candidate), world.tools)
    assert all(line.same for line in facts.proof)
    await assert_as_before(world, candidate)


async def test_before_a_deploy_nothing_was_touched(worlds: SavedWorlds) -> None:
    world, candidate = await worlds.proven()
    await world.commit("main", {"notes.txt": b"x"}, "A hotfix")
    await world.execute(world.production, "CREATE INDEX by_hand ON users (email)")
    task = world.roll_back_task(candidate, deploy_began=False)
    facts = await roll_back.run(world.job("roll-back"), task, world.tools)
    assert all(line.same for line in facts.proof)
    assert "Mira: A hotfix" in facts.proof[0].now
    assert "changed by others" in next(line.now for line in facts.proof if "schema" in line.what)
    assert not world.journal.touched_production()
    assert await world.clone.head(BRANCH) is None


async def test_a_run_that_never_prepared_is_rolled_back_too(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database)
    nothing = {"deploy_began": False, "branch": None, "base": None, "migrations": ()}
    facts = await roll_back.run(world.job("roll-back"), world.roll_back_task(None, **nothing), world.tools)
    assert [line.same for line in facts.proof] == [True]
    await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    some = {"deploy_began": False, "migrations": ()}
    facts = await roll_back.run(world.job("roll-back"), world.roll_back_task(None, **some), world.tools)
    assert all(line.same for line in facts.proof)


async def test_what_others_committed_since_is_kept(worlds: SavedWorlds) -> None:
    world, candidate, _ = await worlds.deployed()
    await world.commit("main", {"notes.txt": b"1\n2\n4\n"}, "Count on")
    facts = await roll_back.run(world.job("roll-back"), world.roll_back_task(candidate), world.tools)
    head = await world.clone.head("main")
    assert head is not None
    assert await world.clone.show(head, "notes.txt") == b"1\n2\n4\n"
    assert await world.clone.show(head, "systems/auth-system/signin.py") == b"old = True\n"
    assert await world.clone.show(head, "version-map.yaml") == b"auth-system: 1.2.4\n"
    assert await world.live() == head
    assert all(line.same for line in facts.proof)
    assert "Mira: Count on" in facts.proof[0].now


async def test_later_commits_that_stand_on_the_upgrade_conflict(worlds: SavedWorlds) -> None:
    world, candidate, _ = await worlds.deployed()
    await world.commit("main", {"systems/auth-system/signin.py": b"old = None\n"}, "Build on it")
    with pytest.raises(Failure, match="stand on the upgrade") as caught:
        await roll_back.run(world.job("roll-back"), world.roll_back_task(candidate), world.tools)
    assert caught.value.outcome.findings[0].subject == "systems/auth-system/signin.py"


async def test_a_contraction_without_a_way_back_needs_consent_and_a_backup(worlds: SavedWorlds) -> None:
    world, candidate, backup = await worlds.deployed(contract_down=False)
    await world.execute(world.production, "INSERT INTO users VALUES (99, 'late@x.example')")
    await world.execute(world.production, "DELETE FROM users WHERE id < 3")
    head = await world.clone.head("main")
    task = world.roll_back_task(candidate, backup=backup)
    with pytest.raises(Failure) as caught:
        await roll_back.run(world.job("roll-back"), task, world.tools)
    (finding,) = caught.value.outcome.findings
    assert (finding.kind, finding.subject) == ("data-loss", world.installed[1].folder)
    assert "--restore-backup" in finding.cure
    assert "users: 1 row added or changed, 2 of 5 rows in the backup removed or changed." in finding.detail
    assert await world.clone.head("main") == head

    task = world.roll_back_task(candidate, restore_backup=True, backup=backup)
    world.journal.fail_at = "restore backup"
    with pytest.raises(ConnectionError):
        await roll_back.run(world.job("roll-back"), task, world.tools)
    world.journal.fail_at = None
    await world.execute(world.production, "INSERT INTO users VALUES (98, 'after@x.example')")
    facts = await roll_back.run(world.job("roll-back"), task, world.tools)
    assert all(line.same for line in facts.proof)
    await assert_as_before(world, candidate)
    late = "SELECT array_agg(id) FROM users WHERE id > 90"
    assert await world.value(world.production, late) == [98], "restored once, so the row after it stays"


async def test_an_expansion_without_a_way_back_is_refused_before_anything_is_written(
    worlds: SavedWorlds,
) -> None:
    world, candidate, _ = await worlds.deployed(down=False)
    head = await world.clone.head("main")
    written = len(world.journal.effects)
    with pytest.raises(Failure, match="without losing rows"):
        await roll_back.run(world.job("roll-back"), world.roll_back_task(candidate), world.tools)
    assert await world.clone.head("main") == head == await world.live()
    assert not any(effect.production for effect in world.journal.effects[written:])


async def test_where_the_new_code_is_ill_the_old_code_comes_back_all_the_same(worlds: SavedWorlds) -> None:
    world, candidate, _ = await worlds.deployed(down=False)
    (world.folder / "hosting" / "production" / "live").write_text(candidate.commit)
    with pytest.raises(Failure, match="without losing rows"):
        await roll_back.run(world.job("roll-back"), world.roll_back_task(candidate), world.tools)
    head = await world.clone.head("main")
    assert head is not None
    assert await world.clone.tree(head) == await world.clone.tree(world.base)
    assert await world.live() == head


async def test_without_a_backup_nothing_can_be_restored(worlds: SavedWorlds) -> None:
    world, candidate, _ = await worlds.deployed()
    task = world.roll_back_task(candidate, restore_backup=True)
    with pytest.raises(Failure, match="no backup"):
        await roll_back.run(world.job("roll-back"), task, world.tools)


async def test_a_schema_that_others_changed_since_is_not_called_the_same(worlds: SavedWorlds) -> None:
    world, candidate, _ = await worlds.deployed()
    await world.execute(world.production, "CREATE INDEX by_hand ON users (email)")
    with pytest.raises(Failure, match="not everything is as before") as caught:
        await roll_back.run(world.job("roll-back"), world.roll_back_task(candidate), world.tools)
    assert [finding.subject for finding in caught.value.outcome.findings] == ["production's schema"]


async def test_a_way_down_that_nobody_wrote_is_made_tried_and_taken(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database, down=False, contract_down=False)
    package = read_package(await world.tools.content.get(world.package))
    sql = {each.name: each.sql for each in package.migrations}
    planned = [
        PlannedMigration.model_validate(each.model_dump() | {"sql": sql[each.name]})
        for each in world.installed
    ]
    known = await tables_at(world.clone, world.base, PrismaPaths())
    foreseen = await foresee(world.production, planned, known, tmp_path)
    schema = await schema_digest(world.production)
    history = await migrations_at(world.clone, world.base, PrismaPaths())
    found = await find_ways_down(world.job("review"), world.tools, history, foreseen, schema, known)
    assert [each.way_down and (each.way_down.mark, each.way_down.source) for each in found] == [
        ("reversible", "generated"),
        ("reversible", "generated"),
    ]
    world.installed = tuple(InstalledMigration.model_validate(each.model_dump()) for each in found)
    candidate, _ = await deployed(world)
    *times, tried = candidate.steps
    assert (len(times), tried.name) == (2, "way down tried")
    assert f"the schema and {PEOPLE} rows of 1 tables are as before" in tried.detail
    await world.execute(world.production, "INSERT INTO users VALUES (99, 'new@x.example')")
    facts = await roll_back.run(world.job("roll-back"), world.roll_back_task(candidate), world.tools)
    assert all(line.same for line in facts.proof)
    await assert_as_before(world, candidate)
    assert await world.value(world.production, "SELECT count(*) FROM users") == PEOPLE + 1
