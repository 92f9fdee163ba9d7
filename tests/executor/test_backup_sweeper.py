"""Backups go when their term has ended, and none that a Run may need; a deletion is finished whoever dies."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from services.executor.clients.backup_places import PLACE, EarlierPlaces
from services.executor.clients.backup_store import BackupStore
from services.executor.stages.backup_sweeper import GONE, BackupSweeper
from shared.clients.content import ContentStore
from shared.contracts.stages import BackupDeleted, RunExecutorStage
from shared.contracts.values import Digest
from shared.errors import Failure, Retry
from shared.jobs.pruning import RUNS_THAT_ARE_OVER
from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database
from shared.storage.migrations import migrate_async
from tests.conftest import PostgresServer
from tests.support.backups import backups
from tests.support.golden_messages import GOLDEN

JOB = """
    insert into jobs (run_id, fence, project_id, stage, attempt, state, generation, digest, command, cause,
        result, accepted_at)
    values ($1, $2, $3, $4, 1, $5, 1, '', '{}', '{}', json_build_object('outcome',
        json_build_object('kind', $6::text)), now() - $7 * interval '1 day')
"""
EFFECT = """
    insert into effects (run_id, stage, attempt, fence, generation, name, production, detail, intended_at)
    values ($1, 'deploy', 1, 1, 1, 'backup', false, $2, now() - $3 * interval '1 day')
"""
# Name to the Project's jobs after its deploy: run, stage, outcome, days ago; `o` is another Run.
HISTORIES = {
    "recorded": ["r record succeeded 40"],
    "rolled back": ["r record succeeded 90", "r roll-back succeeded 40"],
    "failed and followed": ["r deploy failed 90", "o prepare queued 40"],
    "just recorded": ["r record succeeded 20"],
    "recorded and being undone": ["r record succeeded 90", "r roll-back queued 0"],
    "undoing it failed": ["r record succeeded 90", "r roll-back failed 80"],
    "errored, to be tried again": ["r roll-back errored 80"],
    "waits since long": ["r deploy failed 90"],
    "only planned after it": ["r deploy failed 90", "o review succeeded 80"],
    "just followed": ["r deploy failed 90", "o prepare queued 20"],
    "undone after another": ["o prepare failed 90", "r roll-back failed 80"],
}
OVER = {"recorded", "rolled back", "failed and followed"}
_numbers = itertools.count(1)


def run_id(history: str, letter: str) -> str:
    return f"run-{list(HISTORIES).index(history):011x}{'ab'[letter == 'o']}"


PROJECT = RunExecutorStage.read((GOLDEN / "RunExecutorStage.v1.json").read_bytes()).project


class Away(ContentStore):
    """A store whose server is down."""

    async def delete(self, digest: Digest) -> None:
        raise Retry(f"the store does not take away {digest}")


@dataclass
class Executor:
    """Its database and its store, with a backup for each history."""

    database: Database[WorkerTransaction]
    store: BackupStore
    digests: dict[str, Digest] = field(default_factory=dict)

    async def live(self, name: str) -> None:
        project = name.replace(" ", "-").replace(",", "")
        runs = {letter: run_id(name, letter) for letter in "ro"}
        digest = await self.store.store.put(name.encode())
        async with self.database.transaction() as tx:
            await tx.fetch(EFFECT, runs["r"], digest, 95)
            await tx.fetch(JOB, runs["r"], 1, project, "migrate", "finished", "succeeded", 95)
            for fence, (letter, stage, outcome, days) in enumerate(map(str.split, HISTORIES[name]), 2):
                state = "queued" if outcome == "queued" else "finished"
                await tx.fetch(JOB, runs[letter], fence, project, stage, state, outcome, int(days))
        self.digests[name] = digest

    async def kept(self) -> set[str]:
        return {name for name, digest in self.digests.items() if await self.store.has(digest)}

    async def told(self) -> list[BackupDeleted]:
        async with self.database.transaction() as tx:
            rows = await tx.fetch("select body from outbox order by id")
        return [BackupDeleted.model_validate_json(row[0]) for row in rows]


@pytest.fixture
async def executor(postgres: PostgresServer) -> AsyncIterator[Executor]:
    name = f"executor_backups_{next(_numbers)}"
    postgres.create_database(name)
    await migrate_async("executor", postgres.url(name))
    made = Executor(Database("executor", postgres.url(name), WorkerTransaction), backups())
    for name in HISTORIES:
        await made.live(name)
    yield made
    await made.database.close()


async def test_what_is_over_goes_once_and_is_told_and_nothing_else_goes(
    executor: Executor, tmp_path: Path
) -> None:
    """Two sweep at once; one of them finds the store away after the intent, as if it were killed there."""
    killed = BackupSweeper(executor.database, replace(executor.store, store=Away("memory:///")))
    first, second = (BackupSweeper(executor.database, executor.store) for _ in range(2))
    assert await killed.sweep() == ()
    assert await executor.kept() == set(HISTORIES)
    assert not await executor.told()
    (metric,) = await killed.gauges()
    assert [sample.value for sample in metric.samples] == [len(OVER)]
    # What is not deleted must not be forgotten.
    async with executor.database.transaction() as tx:
        await tx.fetch(RUNS_THAT_ARE_OVER.sql, "(0,0)", "(999,0)", (await tx.fetch("select now()"))[0][0])

    gone = [*await asyncio.gather(first.sweep(), second.sweep())]
    assert sorted(digest for one in gone for digest in one) == sorted(executor.digests[name] for name in OVER)
    assert await executor.kept() == set(HISTORIES) - OVER
    told = await executor.told()
    assert sorted(one.backup for one in told) == sorted(executor.digests[name] for name in OVER)
    assert {one.kept_days for one in told} == {30.0}
    assert await first.sweep() == ()
    async with executor.database.transaction() as tx:
        effects = await tx.effects(run_id("recorded", "r"))
    assert [(one.name, one.done_at is not None) for one in effects] == [("backup", False), (GONE, True)]
    with pytest.raises(Failure, match="not kept any more"):
        await executor.store.fetch(PROJECT, executor.digests["recorded"], tmp_path / "gone")


async def test_a_hundred_that_fail_do_not_starve_the_rest_and_what_no_store_has_is_not_called_deleted(
    executor: Executor, tmp_path: Path
) -> None:
    """Catches a sweep of the first page alone, and a false `BackupDeleted` after the store was changed."""
    before, now = (ContentStore((tmp_path / name).as_uri()) for name in ("before", "now"))
    noted = await before.put(b"kept in the place of before")
    unknown = await before.put(b"kept there by a version that noted no place")
    run = run_id("recorded", "r")
    async with executor.database.transaction() as tx:
        await tx.fetch("delete from effects")
        for number in range(250):
            await tx.fetch(EFFECT, run, f"{number:064x}", 95)
        await tx.fetch("update effects set done_at = intended_at")
        await tx.fetch(EFFECT, run, noted, 95)
        await tx.fetch(EFFECT, run, unknown, 95)
        await tx.fetch("update effects set done_at = intended_at")
        place = f"{noted} {(tmp_path / 'before').as_uri()}"
        await tx.fetch(EFFECT.replace("'backup'", f"'{PLACE}'"), run, place, 95)
    today = replace(executor.store, store=now, place=(tmp_path / "now").as_uri())
    sweeper = BackupSweeper(executor.database, today)
    assert await sweeper.sweep() == (noted,)
    assert [one.backup for one in await executor.told()] == [noted]
    assert not await before.has(noted)
    (metric,) = await sweeper.gauges()
    assert [sample.value for sample in metric.samples] == [251]
    named = replace(today, places=EarlierPlaces({(tmp_path / "before").as_uri(): before}))
    assert await BackupSweeper(executor.database, named).sweep() == (unknown,)


async def test_a_place_whose_disk_is_away_has_not_lost_its_backups(tmp_path: Path) -> None:
    """An empty folder where a disk was mounted: nothing is gone, and nothing of it is restored or deleted."""
    url = (tmp_path / "disk").as_uri()
    store = replace(backups(url), place=url)
    for noted in (url, (tmp_path / "other").as_uri()):
        with pytest.raises(Retry, match="is its disk there"):
            await store.has("0" * 64, noted)
        with pytest.raises(Retry, match="is its disk there"):
            await store.fetch(PROJECT, "0" * 64, tmp_path / "target", noted)
    assert not (tmp_path / "other").exists()
    assert not await store.has("0" * 64)
