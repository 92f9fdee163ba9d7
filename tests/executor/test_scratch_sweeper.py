"""The next executor that starts drops what a killed one's trial of a backup left."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.executor.clients.postgres import session
from services.executor.clients.scratch_database import end_trials, of_trial, scratch_database
from services.executor.stages.scratch_sweeper import ScratchSweeper
from shared.clients.database_urls import database_of
from shared.clients.secrets import Secrets
from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database
from shared.storage.migrations import migrate_async
from shared.telemetry.metrics import exposition
from tests.conftest import PostgresServer
from tests.executor.conftest import Made
from tests.support.alarms import rings
from tests.support.golden_messages import GOLDEN
from tests.support.scopes import variable

COMMAND = (GOLDEN / "RunExecutorStage.v1.json").read_text()
JOB = """
    insert into jobs (run_id, fence, project_id, stage, attempt, state, generation, digest, command, cause,
        accepted_at)
    values ('run-' || $1, 1, $1, 'migrate', 1, 'finished', 1, '', $2::json, '{}', now())
"""
pytestmark = pytest.mark.parametrize("made", ["18"], indirect=True)


@pytest.fixture
async def executors(postgres: PostgresServer) -> AsyncIterator[Database[WorkerTransaction]]:
    postgres.create_database("executor_sweeps")
    await migrate_async("executor", postgres.url("executor_sweeps"))
    database = Database("executor", postgres.url("executor_sweeps"), WorkerTransaction)
    yield database
    await database.close()


async def leave(url: str, production: str, ending: str) -> str:
    """As a killed trial leaves its database."""
    name = f"{database_of(production)}_drill_{ending}"
    async with session(url) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
        said = f"upgradepath: a backup of {database_of(production)} is being tried"
        await connection.execute(f"COMMENT ON DATABASE {name} IS '{said}'")
    return name


async def test_an_executor_that_starts_drops_what_a_killed_one_left_and_counts_what_it_cannot(
    made: Made, executors: Database[WorkerTransaction]
) -> None:
    url, plain = await made("ALTER ROLE {role} CREATEDB")
    async with executors.transaction() as tx:
        for project in ("acme-portal", "gone-portal"):
            await tx.fetch(JOB, project, COMMAND.replace("acme-portal", project))
    secrets = Secrets(None, {variable("acme-portal", "production", "acme-production-database"): plain})
    sweeper = ScratchSweeper(executors, secrets)
    async with scratch_database(plain) as living:
        mine = await leave(plain, plain, "0123456789ab")
        others = await leave(url, plain, "0123456789cd")
        assert await sweeper.sweep() == (mine,)
        (metric,) = await sweeper.gauges()
        counted = {sample.labels["state"]: sample.value for sample in metric.samples}
        assert counted == {"left": 1.0, "not asked": 1.0}
        assert rings("scratch-left", exposition([metric]).decode())
        async with session(url) as connection:
            there = {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
            assert {database_of(living), others} <= there
            await connection.execute(f"DROP DATABASE {others}")
        assert await sweeper.sweep() == ()
        assert not rings("scratch-left", exposition(await sweeper.gauges()).decode())


async def test_who_writes_production_ends_trials_of_other_executors_and_nobody_else(made: Made) -> None:
    _, plain = await made("ALTER ROLE {role} CREATEDB")
    async with session(plain) as own:
        trial = await asyncpg.connect(of_trial(plain))
        await trial.execute("BEGIN; CREATE TABLE t (a int)")
        assert await end_trials(plain) == 1
        assert await end_trials(plain) == 0
        assert await own.fetchval("SELECT 1") == 1
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await trial.fetchval("SELECT 1")
        trial.terminate()
