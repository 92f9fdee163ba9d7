"""Deploy brings exactly what was approved, in an order that old and new code survive, or stops before."""

from pathlib import Path

import pytest

from local.postgres import postgres_bin_folder
from services.executor.clients import migrations
from services.executor.clients.migration_files import read_migrations
from services.executor.clients.postgres import schema_digest
from services.executor.stages import deploy, migrate, record
from services.executor.stages.project_tree import kept_ref
from shared.errors import Failure, Stale
from tests.executor.conftest import NewDatabase, SavedWorlds
from tests.executor.project_world import BRANCH, CONTRACT, INIT, PEOPLE, RUN, World, make_world, proven
from tests.executor.test_migrate import branch_with


@pytest.fixture(autouse=True)
def postgres_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPGRADES_POSTGRES_BIN", str(postgres_bin_folder()))


async def test_production_gets_the_candidate_and_staging_goes(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database)
    candidate = await proven(world)
    job = world.job("deploy")
    facts = await deploy.run(job, world.deploy_task(candidate), world.tools)

    assert await world.clone.head("main") == facts.commit == await world.live()
    assert await world.clone.show(facts.commit, "version-map.yaml") == b"auth-system: 1.3.0\n"
    assert await world.clone.show(facts.commit, "systems/auth-system/signin.py") == b"old = False\n"
    assert await world.clone.is_ancestor(candidate.commit, facts.commit)
    assert facts.production_schema == candidate.staging_schema == await schema_digest(world.production)
    assert facts.backup is not None
    assert facts.backup == job.backup
    assert await world.tools.backups.store.has(facts.backup)
    assert not await world.tools.content.has(facts.backup), "packages' readers find no dump"
    assert await world.value(world.production, "SELECT count(email) FROM users") == PEOPLE
    names = [step.name for step in facts.steps]
    assert names == ["dump", "expand", "push", "activate", "health", "contract", "health"]
    written = [effect.name for effect in world.journal.effects if effect.production]
    assert written == ["expand", "push", "activate", "contract"]

    removed = await record.run(world.job("record"), world.record_task(candidate.commit), world.tools)
    assert len(removed.removed) == 3
    assert await world.clone.head(BRANCH) is None
    assert await world.clone.ref(kept_ref(RUN)) == facts.commit
    assert await world.live(RUN) is None
    await record.run(world.job("record"), world.record_task(candidate.commit), world.tools)


async def test_what_staging_has_refuted_is_shown_and_stops_nothing(worlds: SavedWorlds) -> None:
    """Catches a deploy that can never go through: it was foretold to fail, and staging has refuted that."""
    world, _ = await worlds.proven()
    # The function calls itself immutable and hides that it reads a setting; foretelling only reads.
    hidden = 'SELECT U&"current\\005fsetting"($1)'
    fixed = f"CREATE FUNCTION fixed(text) RETURNS text LANGUAGE sql IMMUTABLE AS $${hidden}$$;"
    path = "prisma/migrations/20260102000000_fixed/migration.sql"
    files = {"prisma/migrations/20260101000000_init/migration.sql": INIT, path: fixed}
    history = read_migrations({name: text.encode() for name, text in files.items()})
    await migrations.apply(world.production, history, (0, 0))
    await world.commit(BRANCH, {path: fixed.encode()}, "What production has")
    condition = "fixed('transaction_read_only') = 'off'"
    script = (
        f"{CONTRACT}ALTER TABLE users ADD CONSTRAINT w CHECK ({condition});\n"
        "ALTER TABLE users DROP CONSTRAINT w;\n"
    )
    facts = await migrate.run(world.job("migrate"), await branch_with(world, script), world.tools)
    await world.tools.trials.end(RUN)
    (refuted,) = facts.refuted
    assert "line 2: rows of users that do not satisfy fixed('transaction_read_only')" in refuted
    task = world.deploy_task(facts)
    with pytest.raises(Failure, match=r"production's rows would make it fail: .* line 2$"):
        await deploy.run(world.job("deploy"), task, world.tools)
    assert not world.journal.touched_production()
    assert facts.copied is not None
    known = task.model_copy(update={"refuted": facts.refuted, "copied_at": facts.copied.made_at})
    done = await deploy.run(world.job("deploy"), known, world.tools)
    assert done.steps[0].name == "foretold to fail"
    assert f"{refuted}" in done.steps[0].detail
    assert "it passed on staging with a copy of 20" in done.steps[0].detail


async def moved_branch(world: World) -> None:
    await world.commit("main", {"notes.txt": b"x"}, "A hotfix")


async def moved_upgrade(world: World) -> None:
    await world.commit(BRANCH, {"notes.txt": b"x"}, "One more thing")


async def moved_schema(world: World) -> None:
    await world.execute(world.production, "CREATE INDEX by_hand ON users (email)")


async def edited_history(world: World) -> None:
    await world.execute(world.production, "UPDATE _prisma_migrations SET checksum = 'x'")


@pytest.mark.parametrize(
    ("move", "subject", "detail"),
    [
        (moved_branch, "main", "Mira: A hotfix"),
        (moved_upgrade, BRANCH, "Mira: One more thing"),
        (moved_schema, "production's schema", "Its digest was"),
        (edited_history, "20260101000000_init", "edited after it was applied"),
    ],
)
async def test_what_moved_is_named_before_any_write(
    worlds: SavedWorlds, move: object, subject: str, detail: str
) -> None:
    world, candidate = await worlds.proven()
    assert callable(move)
    await move(world)
    before, head = await schema_digest(world.production), await world.clone.head("main")
    with pytest.raises(Failure) as caught:
        await deploy.run(world.job("deploy"), world.deploy_task(candidate), world.tools)
    (finding,) = caught.value.outcome.findings
    assert finding.subject == subject
    assert detail in finding.detail
    assert not world.journal.touched_production()
    assert await schema_digest(world.production) == before
    assert await world.clone.head("main") == head
    assert await world.live() == world.base
    assert await world.value(world.production, "SELECT to_regclass('upgradepath.attempt')::text") is not None


async def test_a_lost_package_stops_it(worlds: SavedWorlds) -> None:
    world, candidate = await worlds.proven()
    task = world.deploy_task(candidate).model_copy(update={"packages": ("d" * 64,)})
    with pytest.raises(Failure, match="not what was approved"):
        await deploy.run(world.job("deploy"), task, world.tools)


@pytest.mark.parametrize("step", ["backup", "expand", "push", "activate", "contract"])
async def test_after_a_crash_it_goes_on_to_the_same_end(worlds: SavedWorlds, step: str) -> None:
    world, candidate = await worlds.proven()
    world.journal.fail_at = step
    crashed = world.job("deploy")
    with pytest.raises(ConnectionError):
        await deploy.run(crashed, world.deploy_task(candidate), world.tools)
    world.journal.fail_at = None
    facts = await deploy.run(world.job("deploy"), world.deploy_task(candidate), world.tools)
    assert await world.clone.head("main") == facts.commit == await world.live()
    assert facts.production_schema == candidate.staging_schema
    pushes = [effect for effect in world.journal.effects if effect.name == "push"]
    assert len(pushes) == 1
    if step != "backup":
        assert facts.backup == crashed.backup


async def test_a_superseded_worker_writes_nothing(worlds: SavedWorlds) -> None:
    world, candidate = await worlds.proven()
    sleeper = world.job("deploy")
    await deploy.run(world.job("deploy"), world.deploy_task(candidate), world.tools)
    with pytest.raises(Stale):
        await deploy.run(sleeper, world.deploy_task(candidate), world.tools)


async def test_an_app_that_does_not_start_touched_production(worlds: SavedWorlds) -> None:
    world, candidate = await worlds.proven()
    # It started in staging; in production it does not.
    hosting = world.folder / "hosting" / "production"
    (hosting / "live").unlink()
    hosting.rmdir()
    hosting.write_text("in the way")
    with pytest.raises(Failure, match="production did not come up") as caught:
        await deploy.run(world.job("deploy"), world.deploy_task(candidate), world.tools)
    assert caught.value.outcome.findings[0].subject == "environments.production.activate"
    assert world.journal.touched_production()
