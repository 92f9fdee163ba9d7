"""Nobody approves a deploy without knowing whether production's backup comes back."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from local.postgres import postgres_bin_folder
from services.executor.stages import deploy, prove_backup
from services.executor.stages.backup_trials import BackupTrials
from shared.clients.database_urls import database_of
from shared.contracts.facts import CheckResult, MigrateFacts
from shared.contracts.tasks import ProveBackupTask
from shared.errors import Failure
from tests.executor.conftest import NewDatabase, SavedWorlds
from tests.executor.project_world import World, make_world, proven


@pytest.fixture(autouse=True)
def postgres_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPGRADES_POSTGRES_BIN", str(postgres_bin_folder()))


async def told(world: World, facts: MigrateFacts, deadline_s: float = 60.0) -> CheckResult:
    """What the stage says of the backup."""
    task = ProveBackupTask(commit=facts.commit)
    job = replace(world.job("prove-backup"), deadline_s=deadline_s)
    (result,) = (await prove_backup.run(job, task, world.tools)).results
    return result


async def copies(world: World) -> object:
    """How many databases of trials there are."""
    pattern = f"{database_of(world.production)}\\_drill\\_%"
    return await world.value(
        world.production, f"SELECT count(*) FROM pg_database WHERE datname LIKE '{pattern}'"
    )


async def test_what_came_back_while_checks_ran_is_not_tried_again(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database)
    candidate = await proven(world, keep_trial=True)
    assert candidate.backup_tried
    # Nobody is kept from deciding by a trial that takes its time, and it goes on.
    late = await told(world, candidate, deadline_s=0.001)
    assert late.verdict == "needs-sign-off"
    assert "could not be tried in time" in late.detail
    assert "run continue" in late.detail
    result = await told(world, candidate)
    assert (result.verdict, result.name, result.kind) == ("passed", "backup", "restore")
    assert await copies(world) == 0
    # Rows come meanwhile; nothing else does.
    await world.execute(world.production, "INSERT INTO users VALUES (100, 'late@x.example')")
    task = world.deploy_task(candidate, without_backup=False)
    facts = await deploy.run(world.job("deploy"), task, world.tools)
    (step,) = [step for step in facts.steps if step.name == "backup proven"]
    assert step.detail.startswith("all but rows is as when one was restored")


async def test_another_backup_than_the_one_that_came_back_is_tried(worlds: SavedWorlds) -> None:
    world, candidate = await worlds.proven()
    assert (await told(world, candidate)).verdict == "passed"
    # As if it had been made by other programs.
    effects = world.journal.effects
    (place,) = [place for place, effect in enumerate(effects) if effect.name == "backup-proven"]
    effects[place] = replace(effects[place], detail='["another", "restored and compared"]')
    task = world.deploy_task(candidate, without_backup=False)
    facts = await deploy.run(world.job("deploy"), task, world.tools)
    (step,) = [step for step in facts.steps if step.name == "backup proven"]
    assert step.detail.startswith("restored into a scratch database")


@pytest.mark.superuser
async def test_an_unproven_backup_says_what_it_means_and_stops_an_unaware_deploy(
    worlds: SavedWorlds, new_database: NewDatabase
) -> None:
    world, candidate = await worlds.proven()
    role = database_of(world.production)
    await world.execute(await new_database(), f'ALTER ROLE "{role}" NOCREATEDB')
    result = await told(world, candidate)
    assert result.verdict == "needs-sign-off"
    for words in ("permission denied", f'Cure: ALTER ROLE "{role}" CREATEDB', "Whoever signs this off"):
        assert words in result.detail
    task = world.deploy_task(candidate, without_backup=False)
    with pytest.raises(Failure, match="does not come back") as caught:
        await deploy.run(world.job("deploy"), task, world.tools)
    assert caught.value.outcome.findings[0].cure == f'ALTER ROLE "{role}" CREATEDB'
    assert not world.journal.touched_production()
    facts = await deploy.run(world.job("deploy"), world.deploy_task(candidate), world.tools)
    assert facts.backup is not None
    assert await copies(world) == 0


async def test_a_trial_that_hangs_stops_no_other_and_who_waits_for_it_looks_before_it_begins(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database)
    called: list[bool] = []
    came = asyncio.Event()

    async def says_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(True)
        came.set()

    server = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    silent = f"postgresql://a@127.0.0.1:{server.sockets[0].getsockname()[1]}/shop"
    trials = BackupTrials()
    first, second = world.job("migrate"), replace(world.job("migrate"), run_id="run-00000000000b")
    await trials.begin(first, silent, tmp_path)
    await came.wait()
    await trials.begin(second, silent, tmp_path)
    (waiting,) = [each for each in asyncio.all_tasks() if each.get_name().endswith(second.run_id)]
    other = replace(first, run_id="run-00000000000c")
    tried = await trials.result(other, world.production, tmp_path, 60.0)
    assert tried is not None
    assert tried.findings == ()
    # Another worker rolls the second Run back meanwhile.
    world.job("roll-back")
    async with world.journal.effect("destroy-staging"):
        await trials.end(first.run_id)
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert called == [True]
    # One that works has a limit of its own.
    short = BackupTrials(limit_s=0.01)
    late = await short.result(replace(second, run_id="run-00000000000d"), silent, tmp_path, 60.0)
    assert late is not None
    assert "could not be tried in time" in late.findings[0].detail
    server.close()


async def test_what_moves_while_production_is_dumped_stops_the_deploy(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database)
    candidate = await proven(world, keep_trial=True)
    asked: list[bool] = []

    async def freeze() -> None:
        asked.append(True)
        if len(asked) == 2:
            await world.execute(world.production, "CREATE TABLE meanwhile (a int)")

    with pytest.raises(Failure, match="not what was approved any more: production's schema"):
        await deploy.run(
            world.job("deploy"), world.deploy_task(candidate), replace(world.tools, freeze=freeze)
        )
    assert not world.journal.touched_production()
    assert not [each for each in asyncio.all_tasks() if each.get_name().startswith("backup trial")]
