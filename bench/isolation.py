"""What isolation costs: a check in each runner against none, and the example's upgrade with and without.

Each round measures all ways one after the other, so that what disturbs one disturbs the others.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.result import Result, repeated
from local.example import EXAMPLES
from shared.clients.processes import run, run_trusted
from shared.isolation.bare import Bare
from shared.isolation.bubblewrap import Bubblewrap
from shared.isolation.choosing import Isolation, RunnerSettings
from shared.isolation.container import Container
from shared.isolation.limits import Limits
from shared.isolation.runner import Runner
from tests.support.portal import Portal, publish_examples
from tests.support.system import Embedded

ROUNDS = 15
UPGRADES = 3
_CHECK = ("python", "-m", "unittest", "discover", "-s", "tests", "-t", ".")


async def measure() -> list[Result]:
    """Milliseconds of the example's own unit tests, and seconds of its upgrade."""
    return [*await _checks(), *await _upgrades()]


def _runners() -> list[str]:
    """The runners of this machine; the last one where it has an engine for containers."""
    return ["none", "bubblewrap", *(["container"] if shutil.which("podman") else [])]


async def _checks() -> list[Result]:
    project = EXAMPLES / "project"
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/"}
    makers: dict[str, Callable[[], Runner]] = {
        "none": Bare,
        "bubblewrap": Bubblewrap,
        "container": lambda: Container(RunnerSettings().runner_engine),
    }
    ways = {name: Isolation(makers[name](), Limits()) for name in _runners()}
    took: dict[str, list[float]] = {name: [] for name in ("without a runner", *ways)}
    for _ in range(ROUNDS):
        for name, seconds in took.items():
            began = time.perf_counter()
            if name in ways:
                done = await run(
                    _CHECK, cwd=project, environment=environment, deadline_s=60, isolation=ways[name]
                )
            else:
                done = await run_trusted(_CHECK, cwd=project, environment=environment, deadline_s=60)
            seconds.append((time.perf_counter() - began) * 1000)
            if done.exit_code != 0:
                raise RuntimeError(f"{name}: {done.output}")
    floor = median(took["without a runner"])
    return [repeated(f"isolation: a check, {name}", each, "ms", floor) for name, each in took.items()]


async def _upgrades() -> list[Result]:
    took: dict[str, list[float]] = {name: [] for name in _runners()}
    for place in range(UPGRADES):
        for name, seconds in took.items():
            with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as folder:
                seconds.append(await _upgrade(Path(folder), name, f"{name}{place}"))
    floor = median(took["none"])
    return [repeated(f"isolation: an upgrade, {name}", each, "s", floor) for name, each in took.items()]


async def _upgrade(folder: Path, runner: str, partner: str) -> float:
    # The children of this process take it over.
    os.environ["UPGRADES_RUNNER"] = runner
    system = Embedded(folder / "world", {"UPGRADES_RUNNER": runner})
    await system.start()
    try:
        await publish_examples(system)
        portal = await Portal.make(system, partner)
        try:
            await portal.introduce()
            began = time.perf_counter()
            done = await portal.mira.upgrade("auth-system")
            took_s = time.perf_counter() - began
            if done.status != "succeeded":
                raise RuntimeError(f"the upgrade did not succeed: {done}")
            return took_s
        finally:
            await portal.close()
    finally:
        await system.stop()
        del os.environ["UPGRADES_RUNNER"]
