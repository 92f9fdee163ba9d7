"""Races of two executors for one Run: one falls asleep between intent and write, the other takes over.

`python -m tests.faults.races --races 1000 --seed 1`: two worker processes on one database, SIGSTOP past the
lease, and SIGCONT once the other is done. Then Git, database and production are read from outside: no write
of a loser may follow one of its successor, and each Run is answered by its winner alone, once.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from local.postgres import EmbeddedPostgres
from local.process import Child
from services.executor.handlers import HANDLERS
from shared.contracts.stages import RunExecutorStage, StageFinished
from shared.jobs.handlers import WorkerInbox
from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database
from shared.storage.migrations import migrate_async
from shared.storage.tables import OutboxRow
from tests.faults.race_field import Field
from tests.jobs.job_world import Full, as_sent, record, until

FIELDS = 20
RESOURCES = ("git", "database", "activation")
_WITHIN_S = 120.0
_EXECUTORS = ("one", "two")


@dataclass(frozen=True)
class Race:
    """One Run, and where the first that gets it falls asleep.

    `superseded`: the planner sends a newer command meanwhile; else the same one is taken over.
    `idle`: the successor finds nothing to do, and only passes the fences.
    """

    command: RunExecutorStage
    asleep_at: str
    superseded: bool
    idle: bool

    @property
    def last(self) -> RunExecutorStage:
        """The command that the successor works on."""
        if not self.superseded:
            return self.command
        return self.command.model_copy(update={"fence": self.command.fence + 1, "attempt": 2})


@dataclass
class Outcome:
    """What the races came to; `wrongs` is empty when all went well."""

    races: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """The losers' writes that the resource refused, by resource."""
    wrongs: list[str] = field(default_factory=list)


class Course:
    """Two executors as processes, and the Projects that they race for."""

    def __init__(
        self, folder: Path, database: Database[WorkerTransaction], executors: dict[str, Child]
    ) -> None:
        self.folder = folder
        self.fields = [Field(folder, f"field-{number}") for number in range(FIELDS)]
        self._database = database
        self._executors = executors
        self._inbox = WorkerInbox(database, HANDLERS, Full([]))

    async def run(self, races: Sequence[Race], outcome: Outcome) -> None:
        """One race for each of some Projects, all at once."""
        for race in races:
            (self.folder / "asleep-at" / f"{race.command.run_id}.{race.asleep_at}").touch()
        await self._inbox.handle_together([as_sent(race.command) for race in races])
        names = {race.command.run_id for race in races}
        await self._until("all are asleep", lambda: self._all_there("asleep", names))
        holders = await self._holders(names)
        loser = Counter(holders.values()).most_common(1)[0][0]
        contested = [race for race in races if holders.get(race.command.run_id) == loser]
        # What the other got is no race, as it will not be stopped.
        self._wake(names - {race.command.run_id for race in contested})
        pid = self._executors[loser.removeprefix("executor@")].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            for race in contested:
                if race.idle:
                    (self.folder / "idle" / race.command.run_id).touch()
            newer = [as_sent(race.last) for race in contested if race.superseded]
            await self._inbox.handle_together(newer)
            await self._until("the other is done", lambda: self._finished(contested))
        finally:
            os.kill(pid, signal.SIGCONT)
        self._wake(names)
        await self._until("the losers have said", lambda: self._all_there("said", names))
        await self._until("nothing is under way", self._settled)
        await self._judge(contested, loser, outcome)

    async def _judge(self, contested: Sequence[Race], loser: str, outcome: Outcome) -> None:
        outcome.races += len(contested)
        answers = await self._answers()
        for race in contested:
            run = race.command.run_id
            said = (self.folder / "said" / run).read_text()
            if said.startswith("refused"):
                outcome.refused[race.asleep_at] += 1
            else:
                outcome.wrongs.append(f"{run} at {race.asleep_at}: {said}")
            workers = [answer.worker for answer in answers if answer.run_id == run]
            if len(workers) != 1 or loser in workers:
                outcome.wrongs.append(f"{run} was answered by {workers or 'nobody'}, {loser} lost it")

    async def judge_histories(self, outcome: Outcome) -> None:
        """No resource saw an older token after a newer one."""
        for one in self.fields:
            for resource, marks in (await one.history()).items():
                if late := one.late(marks):
                    outcome.wrongs.append(f"{one.name}, {resource}: {late} came late")

    def _wake(self, runs: set[str]) -> None:
        for run in runs:
            (self.folder / "wake" / run).touch()

    async def _all_there(self, folder: str, names: set[str]) -> bool:
        return names <= {path.name for path in (self.folder / folder).iterdir()}

    async def _holders(self, runs: set[str]) -> dict[str, str]:
        rows = await self._ask("select run_id, worker from jobs where state = 'leased' and generation = 1")
        return {run: worker for run, worker in rows if run in runs}

    async def _finished(self, races: Sequence[Race]) -> bool:
        rows = await self._ask("select run_id, fence from jobs where state = 'finished'")
        done = {(run, fence) for run, fence in rows}
        return all((race.last.run_id, race.last.fence) in done for race in races)

    async def _settled(self) -> bool:
        wait = "state in ('queued', 'leased') or (lease_until is not null and worker is not null)"
        return not await self._ask(f"select 1 from jobs where {wait}")

    async def _answers(self) -> list[StageFinished]:
        async with self._database.transaction() as tx:
            rows = await tx.session.execute(select(OutboxRow))
            bodies = [row.body or b"" for row in rows.scalars()]
            return [StageFinished.model_validate_json(body) for body in bodies if b'"outcome"' in body]

    async def _ask(self, statement: str) -> Sequence[Any]:
        async with self._database.connection() as connection:
            return (await connection.execute(text(statement))).all()

    async def _until(self, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
        try:
            await until(condition, _WITHIN_S)
        except TimeoutError:
            raise RuntimeError(f"it never came to it that {what}") from None


@asynccontextmanager
async def course(folder: Path, postgres: Any) -> AsyncIterator[Course]:
    """Everything laid out and started; `postgres` makes databases."""
    for name in ("asleep-at", "asleep", "wake", "said", "idle"):
        (folder / name).mkdir(parents=True)
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(postgres.create_database, "races")
        url = postgres.url("races")
        await migrate_async("executor", url)
        database = Database("executor", url, WorkerTransaction)
        stack.push_async_callback(database.close)
        executors = {}
        for instance in _EXECUTORS:
            argv = [sys.executable, "-m", "tests.faults.race_worker", str(folder), instance, url]
            child = Child(argv, log=folder / f"{instance}.log", cwd=Path.cwd(), env=dict(os.environ))
            stack.callback(child.stop, signal.SIGTERM, patience_s=10)
            executors[instance] = child
        laid_out = Course(folder, database, executors)
        for one in laid_out.fields:
            await asyncio.to_thread(postgres.create_database, one.name)
            await one.lay_out(postgres.url(one.name))
        yield laid_out


async def race(folder: Path, postgres: Any, races: int, seed: int) -> Outcome:
    """Run so many races; the seed decides where the losers sleep and what their successors do."""
    chance = random.Random(seed)
    outcome = Outcome()
    async with course(folder, postgres) as laid_out:
        number = 0
        while outcome.races < races:
            fields = laid_out.fields[: races - outcome.races]
            planned = []
            for one in fields:
                number += 1
                command = record(number * 2 - 1, run=f"run-{number:012x}", of=one.name, attempt=1)
                planned.append(
                    Race(command, chance.choice(RESOURCES), chance.random() < 0.5, chance.random() < 0.5)
                )
            await laid_out.run(planned, outcome)
        await laid_out.judge_histories(outcome)
    return outcome


def main() -> None:
    """Exits 1 when a loser's write came through, or a Run was not answered once by its winner."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--races", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="upgradepath-races-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with EmbeddedPostgres(folder / "postgres", fsync=False) as postgres:
            outcome = asyncio.run(race(folder / "course", postgres, arguments.races, arguments.seed))
    refused = ", ".join(f"{count} by {resource}" for resource, count in sorted(outcome.refused.items()))
    print(f"seed {arguments.seed}: {outcome.races} races, writes of losers refused: {refused}")
    for wrong in outcome.wrongs:
        print(wrong)
    print(f"{len(outcome.wrongs)} wrong")
    sys.exit(1 if outcome.wrongs else 0)


if __name__ == "__main__":
    main()
