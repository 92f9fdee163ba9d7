"""Kill -9 a worker at random instants of a migration; it must end by itself as if nobody had.

    python -m tests.faults.migration_kills --kills 100 --seed 7

Half of the Runs go on to their end, half meet a migration that fails and are rolled back. Whoever is killed
is only started again, as a supervisor does. At the end the database, read from outside, must be what plain
execution makes of the same scripts (or what it was), and Prisma's own engine must find nothing to do.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import asyncpg

from local.postgres import EmbeddedPostgres
from services.executor.clients import migrations
from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import create_database, drop_database
from services.executor.handlers import HANDLERS
from shared.clients.database_urls import with_database
from shared.contracts.stages import Failed, RunExecutorStage, StageFinished, Succeeded
from shared.contracts.tasks import RecordTask, RollBackTask
from shared.jobs.handlers import WorkerInbox
from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database
from shared.storage.migrations import migrate_async
from tests.faults import migration_worker
from tests.faults.looks import State, misled_prisma, state_of, unlike
from tests.faults.migration_scripts import BASE, ONWARD
from tests.jobs.job_world import COMMIT, Full, as_sent, project

_WITHIN_S = 60.0
# Workers are forked from one that has imported everything: a kill a second instead of one in ten.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.faults.migration_worker"])
_BEFORE, _AFTER = "kills_before", "kills_after"
# A kill may fall behind the end; no more of a Run than this are tried.
_KILLS_PER_RUN = 4
_TURN = 0.6


@dataclass
class Tally:
    """What was done and seen. `late` kills fell after the answer and do not count."""

    kills: int = 0
    late: int = 0
    runs: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    """From a kill to the answer of the stage, starting the process again included."""
    faults: list[str] = field(default_factory=list)


class Rig:
    """One executor's database, one worker process at a time, a database per Run."""

    def __init__(self, server: str, seed: int) -> None:
        self._server = server
        self._executor = with_database(server, "kills_executor")
        self._random = random.Random(seed)
        self._run = 0
        # It grows per Project, and all Runs here are of one.
        self._fence = 0
        self._after: State = ("", {})
        self._before: State = ("", {})
        self._takes_s = 1.0
        self.tally = Tally()

    async def prepare(self) -> None:
        """The databases that others are copied from or compared with, made by plain execution."""
        for name in ("kills_executor", _BEFORE, _AFTER):
            await drop_database(self._server, name)
        await create_database(self._server, "kills_executor")
        await migrate_async("executor", self._executor)
        await create_database(self._server, _BEFORE)
        await migrations.apply(with_database(self._server, _BEFORE), BASE, (0, 0))
        self._before = await self._state(_BEFORE)
        await create_database(self._server, _AFTER)
        connection = await asyncpg.connect(with_database(self._server, _AFTER))
        for each in (*BASE, *ONWARD):
            await connection.execute(each.sql)
        await connection.close()
        self._after = await self._state(_AFTER)

    async def run_kills(self, kills: int) -> Tally:
        await self._one(0)
        while self.tally.kills < kills and not self.tally.faults:
            await self._one(min(self._random.randint(1, _KILLS_PER_RUN), kills - self.tally.kills))
        return self.tally

    async def _one(self, kills: int) -> None:
        """One Run with so many kills spread over its stages."""
        self._run += 1
        name, back = f"kills_{self._run}", self._random.random() < 0.5 and kills > 0
        await self._clone(name)
        instants = sorted(self._random.uniform(0, 1) for _ in range(kills))
        where = f"run {self._run} ({'back' if back else 'onward'}, kills at {instants})"
        # A roll-back takes about half as long as what it undoes.
        upward = [instant for instant in instants if not back or instant < _TURN]
        downward = [instant - _TURN for instant in instants if back and instant >= _TURN]
        try:
            outcome = await self._stage(name, back, "record", upward)
            if back:
                if not isinstance(outcome, Failed) or "violated by some row" not in outcome.reason:
                    self.tally.faults.append(f"{where}: the failing migration was answered with {outcome}")
                outcome = await self._stage(name, back, "roll-back", downward)
            if not isinstance(outcome, Succeeded):
                self.tally.faults.append(f"{where}: it was answered with {outcome}")
            self.tally.faults += [f"{where}: {fault}" for fault in await self._look(name, back)]
        except TimeoutError:
            self.tally.faults.append(f"{where}: no answer within {_WITHIN_S:g} s")
        self.tally.runs += 1
        await drop_database(self._server, name)

    async def _stage(self, name: str, back: bool, stage: str, instants: Sequence[float]) -> object:
        """Send the command; start, kill and start the worker until there is an answer."""
        self._fence += 1
        fence = self._fence
        async with self._database() as database:
            inbox = WorkerInbox(database, HANDLERS, Full([]))
            await inbox.handle_alone(as_sent(self._command(name, back, stage)))
            killed_at: float | None = None
            for instant in [*instants, None]:
                with self._worker() as (worker, told):
                    # A worker that has answered before its death begins nothing again.
                    beginning = asyncio.create_task(_until_told(told))
                    answering = asyncio.create_task(self._answer(database, fence))
                    try:
                        async with asyncio.timeout(_WITHIN_S):
                            await asyncio.wait({beginning, answering}, return_when=asyncio.FIRST_COMPLETED)
                            begun = time.monotonic()
                            if instant is None:
                                outcome = await answering
                        if instant is None and killed_at is not None:
                            self.tally.recoveries_s.append(time.monotonic() - killed_at)
                        if instant is None:
                            if self._run == 1:
                                self._takes_s = time.monotonic() - begun
                            return outcome
                        await asyncio.sleep(instant * self._takes_s)
                        late = answering.done()
                        worker.kill()
                        killed_at = time.monotonic()
                        self.tally.kills += not late
                        self.tally.late += late
                    finally:
                        for task in (beginning, answering):
                            task.cancel()
                        await asyncio.gather(beginning, answering, return_exceptions=True)
        raise AssertionError("the last try has no instant")

    async def _answer(self, database: Database[WorkerTransaction], fence: int) -> object:
        while True:
            async with database.transaction() as tx:
                row = await tx.job(self._run_id, fence)
                if row is not None and row.result is not None:
                    return StageFinished.model_validate(row.result).outcome
            await asyncio.sleep(0.02)

    async def _look(self, name: str, back: bool) -> list[str]:
        """What is wrong with the database, read from outside."""
        history: Sequence[Migration] = BASE if back else (*BASE, *ONWARD)
        url = with_database(self._server, name)
        return [
            *unlike(await self._state(name), self._before if back else self._after),
            *await misled_prisma(url, {each.folder: each.sql for each in history}),
        ]

    async def _state(self, name: str) -> State:
        # An identity counts on over what was rolled back, so the log's numbers are not compared.
        return await state_of(with_database(self._server, name), {"log": "what"})

    @property
    def _run_id(self) -> str:
        return f"run-{self._run:012x}"

    def _command(self, name: str, back: bool, stage: str) -> RunExecutorStage:
        branch = "back" if back else "onward"
        undo = RollBackTask(
            branch=branch,
            base=COMMIT,
            pins_before={},
            production_schema=None,
            deploy_began=True,
            reason="it failed",
        )
        return RunExecutorStage(
            run_id=self._run_id,
            project_id="acme",
            attempt=self._fence,
            fence=self._fence,
            deadline_s=600,
            project=project().model_copy(update={"repository": with_database(self._server, name)}),
            task=undo if stage == "roll-back" else RecordTask(branch=branch, commit=COMMIT),
        )

    async def _clone(self, name: str) -> None:
        connection = await asyncpg.connect(self._server)
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {_BEFORE} STRATEGY FILE_COPY")
        await connection.close()

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncIterator[Database[WorkerTransaction]]:
        database = Database("executor", self._executor, WorkerTransaction)
        try:
            yield database
        finally:
            await database.close()

    @contextlib.contextmanager
    def _worker(self) -> Iterator[tuple[BaseProcess, Connection]]:
        ours, theirs = _PROCESSES.Pipe(duplex=False)
        worker = _PROCESSES.Process(target=migration_worker.main, args=(self._executor, theirs), daemon=True)
        worker.start()
        theirs.close()
        try:
            yield worker, ours
        finally:
            worker.kill()
            worker.join()
            ours.close()


async def _until_told(told: Connection) -> None:
    """Returns when the worker has begun a stage, or is dead."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(told.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(told.fileno())


async def measure(server: str, kills: int, seed: int) -> Tally:
    """So many kills on that server; what came of them."""
    rig = Rig(server, seed)
    await rig.prepare()
    return await rig.run_kills(kills)


def main() -> None:
    """Exits 1 when anything was lost, doubled or stuck."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    with (
        tempfile.TemporaryDirectory(prefix="upgradepath-kills-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", fsync=False) as server,
    ):
        tally = asyncio.run(measure(server.url(), given.kills, given.seed))
    took = sorted(tally.recoveries_s) or [0.0]
    print(
        f"{tally.kills} kills in {tally.runs} runs ({tally.late} more fell after the end);"
        f" from a kill to the answer: median {took[len(took) // 2]:.1f} s, longest {took[-1]:.1f} s"
    )
    for fault in tally.faults:
        print(fault)
    sys.exit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
