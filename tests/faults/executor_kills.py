"""Kill -9 the whole executor at random instants of a migration; every Run must end by itself, as asked.

    python -m tests.faults.executor_kills --kills 100 --seed 7

It is `upgradepath service executor` beside the four others on Apache Kafka and PostgreSQL, with Git, masking
and the partner's own app; whenever it is dead it is only started again, as a supervisor does. Each Run is
of a Project of its own, which goes on to its end, is undone after it, or meets a migration that fails in
production alone. It is killed in the stage `migrate`, and while production's schema goes up or down.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from local import example, kafka
from local.example import EXAMPLES
from services.executor.clients.postgres import create_database, drop_database
from shared.clients.database_urls import with_database
from tests.faults.kill_phases import EFFECT_UNDER_WAY, PHASES, STAGE_UNDER_WAY, Kind, Phase, Tally, told
from tests.faults.kill_release import FAILS, LASTS, MORE_ROWS, ONWARD, VISITS, make, scripts
from tests.faults.ledger import Ledger, audit, look_at_world
from tests.faults.load import Asked
from tests.faults.looks import State, misled_prisma, state_of, unlike
from tests.faults.rig import Rig
from tests.faults.session import at_rest

EXECUTOR = "executor"
SERVICES = ("registry", "notifier", "planner", "validator")
_WITHIN_S = 400.0
_LOOK_EVERY_S = 0.005
_KILLS_PER_RUN = (3, 10)
_SYSTEM = example.NEW_RELEASE[0]


def edits() -> dict[str, str]:
    """The example's project file with checks of its own: staging's rows have gone up once, and not twice."""
    text = (
        (EXAMPLES / "project" / "upgradepath.toml").read_text().partition("[checks.validate.unit-tests]")[0]
    )
    visits = " and ".join(f"visits <> {each}" for each in VISITS.values())
    for name, query in (
        ("validate.visits", f"select count(*) from users where {visits}"),
        (
            "check-workflows.ends",
            f"select count(*) from sessions where expires_at <> created_at + interval '{LASTS}'",
        ),
    ):
        text += f'[checks.{name}]\nkind = "sql"\nquery = "{query}"\nexpect = "0"\n\n'
    # A session's length is what is looked at, and a shifted date keeps its order alone.
    schema = EXAMPLES / "project" / "prisma" / "schema" / "auth-system.prisma"
    before, model, rest = schema.read_text().partition("model Session {")
    kept = before + model + rest.replace("/// @mask date 7", "/// @mask keep")
    return {"upgradepath.toml": text, "prisma/schema/auth-system.prisma": kept}


class Hunt:
    """One rig with one executor, and a Project per Run."""

    def __init__(self, rig: Rig, seed: int, say: Callable[[str], None], enough: asyncio.Event) -> None:
        self.tally = Tally()
        self._enough = enough
        self._rig = rig
        self._random = random.Random(seed)
        self._say = say
        self._watching: Any
        self._takes_s = {phase: phase.takes_s for phases in PHASES.values() for phase in phases}
        self._number = 0
        self._before: State = ("", {})
        self._after: State = ("", {})

    async def run(self, kills: int, *, measured: bool) -> Tally:
        """So many kills, or fewer if something is wrong or it is enough.

        `measured`: nobody is killed in the first Run, so that it is known how long everything takes here;
        else all of them may happen in that one.
        """
        for version in (ONWARD, FAILS):
            await self._rig.publish(_SYSTEM, version, make(version, self._rig.folder / "releases"))
        self._watching = await asyncpg.connect(self._rig.databases[EXECUTOR])
        try:
            await self._one("is undone", {} if measured else self._drawn("is undone", kills))
            while self.tally.killed < kills and not self.tally.faults and not self._enough.is_set():
                kind: Kind = self._random.choice(("goes on", "goes on", "is undone", "fails"))
                tried = min(self._random.randint(*_KILLS_PER_RUN), kills - self.tally.killed)
                await self._one(kind, self._drawn(kind, tried))
        finally:
            await self._watching.close()
        await at_rest(self._rig)
        self.tally.faults += (await audit(self._rig)).findings
        return self.tally

    def _drawn(self, kind: Kind, kills: int) -> dict[Phase, list[float]]:
        """Where somebody dies, as shares of the time that each phase takes."""
        phases = PHASES[kind]
        chosen = self._random.choices(phases, [each.weight for each in phases], k=kills)
        return {
            phase: sorted(self._random.uniform(0, 1) for _ in range(chosen.count(phase)))
            for phase in phases
            if phase in chosen
        }

    async def _one(self, kind: Kind, instants: Mapping[Phase, Sequence[float]]) -> None:
        """One Project from its registration to its end."""
        self._number += 1
        partner, began = f"kill{self._number}", time.monotonic()
        where = f"run {self._number}, which {kind}"
        databases = await self._database_names()
        project = await self._rig.register_real(partner, edits())
        production = self._rig.real[project].production_url
        await _execute(production, MORE_ROWS)
        if self._number == 1:
            await self._know_what_is_wanted(production)
        killed = self.tally.killed
        asked = self._rig.load.ask(
            project, {_SYSTEM: FAILS if kind == "fails" else ONWARD}, undo=kind == "is undone"
        )
        try:
            for phase in PHASES[kind]:
                await self._through(phase, asked, instants.get(phase, ()))
            await self._rig.load.until(lambda: asked.ended_s is not None, _WITHIN_S)
        except TimeoutError:
            self.tally.faults.append(f"{where}: it did not end within {_WITHIN_S:g} s: {asked.run}")
        else:
            self.tally.faults += [f"{where}: {fault}" for fault in await self._look(project, kind, asked)]
        await example.destroy(self._rig.world, self._rig.real.pop(project).checkout)
        for name in ("production", "staging"):
            await drop_database(self._rig.postgres.url(), f"{partner}_{name}")
        if left := await self._database_names() - databases:
            self.tally.faults.append(f"{where}: databases are left: {sorted(left)}")
        killed = self.tally.killed - killed
        self.tally.runs[kind] = self.tally.runs.get(kind, 0) + 1
        self.tally.ends_s[killed > 0].append(asked.took_s or 0.0)
        self._say(
            f"{where}: {killed} kills, {asked.took_s or 0:.1f} s"
            f" (with its Project {time.monotonic() - began:.1f} s); {self.tally.killed} kills in all,"
            f" at work again {told(self.tally.again_s)}"
        )

    async def _through(self, phase: Phase, asked: Asked, instants: Sequence[float]) -> None:
        """Kill at these instants of a phase, counted anew from whoever works on it then; until it is over."""
        generation, killed_s, began = 0, 0.0, 0.0
        for instant in [*instants, None]:
            by = await self._by(phase, asked, above=generation)
            if by is None:
                self.tally.late += instant is not None
                continue
            if killed_s:
                self.tally.again_s.append(time.monotonic() - killed_s)
            began, generation = time.monotonic(), by
            if instant is None:
                break
            await asyncio.sleep(instant * self._takes_s[phase])
            if await self._by(phase, asked, above=0) != generation:
                self.tally.late += 1
                continue
            self._rig.processes[EXECUTOR].send_signal(signal.SIGKILL)
            killed_s = time.monotonic()
            self.tally.kills[phase.name] = self.tally.kills.get(phase.name, 0) + 1
        await self._by(phase, asked, above=sys.maxsize)
        if killed_s:
            self.tally.over_s.append(time.monotonic() - killed_s)
        elif began:
            self._takes_s[phase] = time.monotonic() - began

    async def _by(self, phase: Phase, asked: Asked, *, above: int) -> int | None:
        """The first generation above that one at work on it; none once it is over. Raises TimeoutError."""
        async with asyncio.timeout(_WITHIN_S):
            while True:
                query = EFFECT_UNDER_WAY if phase.effect else STAGE_UNDER_WAY
                about = [asked.id, phase.stage, *([phase.effect] if phase.effect else [])]
                by, over = await self._watching.fetchrow(query, *about)
                if by is not None and by > above:
                    return int(by)
                if over or asked.ended_s is not None:
                    return None
                await asyncio.sleep(_LOOK_EVERY_S)

    # --- what is seen from outside ---------------------------------------------------------------

    async def _know_what_is_wanted(self, production: str) -> None:
        """Before, as it is; after, as plain execution of the same scripts makes it."""
        self._before = await state_of(production)
        server, name = self._rig.postgres.url(), "kills_after"
        await create_database(server, name)
        url = with_database(server, name)
        migrations = EXAMPLES / "project" / "prisma" / "migrations"
        for path in sorted(migrations.glob("*/migration.sql")):
            await _execute(url, path.read_text())
        await _execute(url, (EXAMPLES / "data" / "production.sql").read_text())
        await _execute(url, MORE_ROWS)
        for script in scripts(ONWARD).values():
            await _execute(url, script)
        self._after = await state_of(url)
        await drop_database(server, name)

    async def _look(self, project: str, kind: Kind, asked: Asked) -> list[str]:
        """What is wrong with a Run that has ended, and with its Project."""
        made, faults = self._rig.real[project], []
        wanted = "succeeded" if kind == "goes on" else "rolled-back"
        assert asked.run is not None
        if asked.run.status != wanted:
            faults.append(f"it is {asked.run.status}: {asked.run.blocked_by}")
        faults += [f"people had to help: {each}" for each in self._rig.load.helped]
        went_up = kind == "goes on"
        faults += unlike(await state_of(made.production_url), self._after if went_up else self._before)
        history = _history(made.repository)
        ours = [folder for folder in history if folder.endswith(tuple(name[15:] for name in scripts(FAILS)))]
        if len(ours) != (len(scripts(ONWARD)) if went_up else 0):
            faults.append(f"the branch has of the Run's migrations {ours}")
        faults += await misled_prisma(made.production_url, history)
        ledger = Ledger()
        await look_at_world(self._rig, project, ledger)
        hosting = self._rig.world.folder / project.removesuffix("-portal") / "hosting"
        faults += [f"left in the hosting: {path.name}" for path in hosting.glob("staging-*")]
        return faults + ledger.findings

    async def _database_names(self) -> set[str]:
        connection = await asyncpg.connect(self._rig.postgres.url())
        try:
            return {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
        finally:
            await connection.close()


def _history(repository: Path) -> dict[str, str]:
    """Folder to script of the migrations on production's branch, as they are to the byte."""
    paths = example.git(repository, "ls-tree", "-r", "--name-only", "main", "prisma/migrations").splitlines()
    return {
        path.split("/")[-2]: subprocess.check_output(
            ["git", "cat-file", "blob", f"main:{path}"], cwd=repository
        ).decode()
        for path in paths
        if path.endswith("/migration.sql")
    }


async def _execute(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def hunt(
    folder: Path,
    kills: int,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    *,
    measured: bool,
    enough: asyncio.Event | None = None,
) -> Tally:
    """So many kills in a system of its own, no more once it is `enough`; what came of them."""
    rig = Rig(folder, kept=(*SERVICES, EXECUTOR), by_command=(EXECUTOR,))
    async with rig.running():
        try:
            return await Hunt(rig, seed, say, enough or asyncio.Event()).run(kills, measured=measured)
        finally:
            await rig.take_down()


def main() -> None:
    """Exits 1 when anything was lost, doubled or stuck, or somebody had to help; 3 when it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.executor_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--keep", type=Path, default=None, help="where logs and data stay")
    given = parser.parse_args()
    if (reason := kafka.availability()) is not None:
        print(f"the rig needs Apache Kafka: {reason}", file=sys.stderr)
        raise SystemExit(3)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="upgradepath-kills-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        tally = asyncio.run(_hunt(folder, given.kills, given.seed))
    print("\n".join(tally.lines()))
    raise SystemExit(1 if tally.faults else 0)


async def _hunt(folder: Path, kills: int, seed: int) -> Tally:
    """Told to stop, it goes to the end of the Run that is under way, and looks at the books."""
    enough = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, enough.set)
    return await hunt(folder, kills, seed, lambda line: print(line, flush=True), measured=True, enough=enough)


if __name__ == "__main__":
    main()
