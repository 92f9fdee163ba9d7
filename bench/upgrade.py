"""A whole upgrade of the example through the services, against a shell script of the same steps.

Ours begins at the request for a plan and ends with the record; its sign-offs and the approval are answered at
once. It does more than the script: a plan with what the rows say, each migration there and back in a scratch
database, all of them replayed in an empty one, fences, and a journal of it all.

CPU seconds are of the processes and of the programs that they ran, without PostgreSQL's server and the
partner's app, which both need alike.
"""

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.result import Result, against, repeated
from local import example
from local.hosting import open_account
from local.postgres import EmbeddedPostgres
from shared.clients.database_urls import with_database
from shared.contracts.runs import RunView
from tests.support.portal import Portal, publish_examples
from tests.support.system import Embedded

REPEATS = 5
_SCRIPT = Path(__file__).with_suffix(".sh")


async def measure(repeats: int = REPEATS) -> list[Result]:
    """Seconds of both, one after the other in each repeat, and of each of our stages."""
    ours: list[float] = []
    by_hand: list[float] = []
    ours_cpu: list[float] = []
    by_hand_cpu: list[float] = []
    stages: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as folder:
        system = Embedded(Path(folder) / "world")
        await system.start()
        try:
            await publish_examples(system)
            for place in range(repeats):
                by_hand.append(await _by_hand(system, f"hand{place}", Path(folder), by_hand_cpu))
                took_s, run = await _through_the_services(system, f"ours{place}", ours_cpu)
                ours.append(took_s)
                for name, seconds in _stages(run, took_s).items():
                    stages[name].append(seconds)
        finally:
            await system.stop()
    return [
        repeated("upgrade: a shell script of the same steps", by_hand, "s"),
        repeated("upgrade: through the services", ours, "s", median(by_hand)),
        against("upgrade: least of ours, least of the script's", min(ours), "s", min(by_hand)),
        repeated("upgrade: CPU of the services and their programs", ours_cpu, "s", median(by_hand_cpu)),
        *(repeated(f"upgrade: {name}", seconds, "s") for name, seconds in stages.items()),
    ]


async def _through_the_services(system: Embedded, partner: str, cpu_s: list[float]) -> tuple[float, RunView]:
    portal = await Portal.make(system, partner)
    try:
        await portal.introduce()
        began, cpu = time.perf_counter(), system.cpu_s()
        done = await portal.mira.upgrade("auth-system")
        took_s = time.perf_counter() - began
        cpu_s.append(system.cpu_s() - cpu)
        if done.status != "succeeded":
            raise RuntimeError(f"the upgrade did not succeed: {done}")
        return took_s, done
    finally:
        await portal.close()


def _stages(run: RunView, took_s: float) -> dict[str, float]:
    """Seconds of each stage's own work, and of what lies between them."""
    found: dict[str, float] = {
        each.stage: (each.finished_at - each.started_at).total_seconds()
        for each in run.stages
        if each.started_at is not None and each.finished_at is not None
    }
    return {**found, "between the stages": took_s - sum(found.values())}


async def _by_hand(system: Embedded, partner: str, folder: Path, cpu_s: list[float]) -> float:
    portal = await Portal.make(system, partner)
    work = folder / partner
    work.mkdir()
    system_name, new = example.NEW_RELEASE
    old = dict(example.FIRST_RELEASES)[system_name]
    programs = EmbeddedPostgres(folder / "unused").bin_folder
    environment = {
        "PATH": os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"])),
        "HOME": str(work),
        "LANG": "C.UTF-8",
        "REPOSITORY": str(portal.example.repository),
        "WORK": str(work),
        "PRODUCTION_URL": portal.example.production_url,
        "STAGING_URL": with_database(system.postgres_url, f"{partner}_staging_by_hand"),
        "SERVER_URL": system.postgres_url,
        "OLD": str(example.package_folder(system_name, old)),
        "NEW": str(example.package_folder(system_name, new)),
        "HOSTING_URL": open_account(system.world, partner),
        "RUN": "by-hand",
    }
    try:
        began, cpu = time.perf_counter(), _cpu_of_programs_s()
        await _run(["bash", str(_SCRIPT)], environment)
        cpu_s.append(_cpu_of_programs_s() - cpu)
        return time.perf_counter() - began
    finally:
        await portal.close()


def _cpu_of_programs_s() -> float:
    """Of those that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{command[-1]} ended with {process.returncode}:\n{said.decode()}")
