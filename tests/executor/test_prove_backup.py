"""Nobody approves a deploy without knowing whether production's backup comes back."""

from dataclasses import replace
from pathlib import Path

import pytest

from local.postgres import postgres_bin_folder
from services.executor.stages import deploy, prove_backup
from shared.clients.database_urls import database_of
from shared.contracts.facts import CheckResult, MigrateFacts
from shared.contracts.tasks import ProveBackupTask
from shared.errors import Failure
from tests.executor.conftest import NewDatabase
from tests.executor.project_world import World, make_world, proven


@pytest.fixture(autouse=True)
def postgres_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPGRADES_POSTGRES_BIN", str(postgres_bin_folder()))


async def told(world: World, facts: MigrateFacts) -> CheckResult:
    """What the stage says of the backup."""
    task = ProveBackupTask(commit=facts.commit)
    (result,) = (await prove_backup.run(world.job("prove-backup"), task, world.tools)).results
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
    result = await told(world, candidate)
    assert (result.verdict, result.name, result.kind) == ("passed", "backup", "restore")
    assert await copies(world) == 0
    # Rows come meanwhile; nothing else does.
    await world.execute(world.production, "INSERT INTO users VALUES (100, 'late@x.example')")
    task = world.deploy_task(candidate, without_backup=False)
    facts = await deploy.run(world.job("deploy"), task, world.tools)
    (step,) = [step for step in facts.steps if step.name == "backup proven"]
    assert step.detail.startswith("all but rows is as when one was restored")


async def test_another_backup_than_the_one_that_came_back_is_tried(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database)
    candidate = await proven(world)
    assert (await told(world, candidate)).verdict == "passed"
    # As if it had been made by other programs.
    effects = world.journal.effects
    (place,) = [place for place, effect in enumerate(effects) if effect.name == "backup-proven"]
    effects[place] = replace(effects[place], detail='["another", "restored and compared"]')
    task = world.deploy_task(candidate, without_backup=False)
    facts = await deploy.run(world.job("deploy"), task, world.tools)
    (step,) = [step for step in facts.steps if step.name == "backup proven"]
    assert step.detail.startswith("restored into a scratch database")


async def test_an_unproven_backup_says_what_it_means_and_stops_an_unaware_deploy(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database)
    candidate = await proven(world)
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
