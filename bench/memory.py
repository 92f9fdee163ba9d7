"""What each service holds in memory: at rest, and how that grows over minutes of load.

Resident memory (RSS) counts the pages of libraries that several processes share in each of them; the
proportional share (PSS) divides them. At rest is a service that was started on a schema that is up to date,
and has read what there is.
"""

import asyncio
import math
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, count
from pathlib import Path

import psutil

from bench.result import Result
from bench.system import Driver, System, all_at_once, names, register, running

IN_FLIGHT = 50
EVERY_S = 10.0
_TOLD_EVERY_S = 300.0
_SETTLED_S = 10.0
_WARM_UP_S = 60.0
_PORTION = 200
"""Projects that are registered at a time."""


@dataclass(frozen=True)
class Sample:
    """What one service held, `at_h` hours after the first look, in MB."""

    at_h: float
    rss: float
    pss: float


async def measure(minutes: float, rate: float = math.inf) -> list[Result]:
    """MB of each service at rest; under load, MB in the middle and MB per hour.

    `rate` is how many runs a second are asked for at the most: an hour on a machine that has other work.
    """
    with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as folder:
        async with running(Path(folder)) as system:
            await _begin_anew(system)
            at_rest = {name: _look(psutil.Process(one.pid), 0) for name, one in system.services.items()}
            # What breaks the load, breaks the measurement.
            async with asyncio.TaskGroup() as group:
                load = group.create_task(_load(system.driver, rate))
                await asyncio.sleep(_WARM_UP_S)
                before, began = system.driver.ended, time.monotonic()
                samples = await _samples(system, minutes * 60)
                per_s = (system.driver.ended - before) / (time.monotonic() - began)
                load.cancel()
    results = [Result(f"memory of {name} at rest, RSS", one.rss, "MB") for name, one in at_rest.items()]
    results += [Result(f"memory of {name} at rest, PSS", one.pss, "MB") for name, one in at_rest.items()]
    results.append(Result(f"load of {minutes:g} minutes", per_s, "runs/s"))
    for name, watched in samples.items():
        for kind in ("RSS", "PSS"):
            held = [(one.at_h, one.rss if kind == "RSS" else one.pss) for one in watched]
            results += [_size(f"{name} under load, {kind}", held), _growth(f"{name}, {kind}", held)]
    return results


async def _begin_anew(system: System) -> None:
    """The first start made the schema, which takes more memory than any start after it."""
    for name, child in list(system.services.items()):
        child.stop(signal.SIGTERM, patience_s=10)
        system.services[name] = system.start(name)
    await asyncio.sleep(_SETTLED_S)


async def _load(driver: Driver, rate: float) -> None:
    """Runs without end, each in a Project of its own."""
    for number in count():
        projects = names(f"load-{number}", _PORTION)
        await register(driver, projects)
        if math.isinf(rate):
            await all_at_once(driver, projects, IN_FLIGHT)
        else:
            await _one_by_one(driver, projects, 1 / rate, asked_before=number * _PORTION)


async def _one_by_one(driver: Driver, projects: Sequence[str], every_s: float, asked_before: int) -> None:
    """Ask for one after another; what cannot keep up is not pushed beyond `IN_FLIGHT`."""
    due_s = time.monotonic()
    for asked, project in enumerate(projects, start=asked_before):
        await driver.until(partial(_has_ended, driver, asked - IN_FLIGHT), 300)
        await driver.request(project)
        due_s = max(due_s + every_s, time.monotonic() - every_s)
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))


def _has_ended(driver: Driver, runs: int) -> bool:
    return driver.ended > runs


async def _samples(system: System, seconds: float) -> dict[str, list[Sample]]:
    processes = {name: psutil.Process(one.pid) for name, one in system.services.items()}
    found: dict[str, list[Sample]] = {name: [] for name in processes}
    began, told_s = time.monotonic(), 0.0
    while (at_s := time.monotonic() - began) < seconds:
        for name, process in processes.items():
            if not system.services[name].running:
                raise RuntimeError(f"{name} has ended{system.services[name].log_tail()}")
            found[name].append(_look(process, at_s / 3600))
        if at_s >= told_s:
            told_s += _TOLD_EVERY_S
            sizes = ", ".join(
                f"{name} {seen[-1].rss:.1f} ({seen[-1].pss:.1f})" for name, seen in found.items()
            )
            print(f"{at_s / 60:5.0f} min, {system.driver.ended} runs, RSS (PSS) in MB: {sizes}", flush=True)
        await asyncio.sleep(EVERY_S)
    return found


def _look(process: psutil.Process, at_h: float) -> Sample:
    found = process.memory_full_info()
    return Sample(at_h, found.rss / 1e6, found.pss / 1e6)


def _size(of: str, held: Sequence[tuple[float, float]]) -> Result:
    sizes = [mb for _, mb in held]
    return Result(f"memory of {of}", statistics.median(sizes), "MB", spread=(min(sizes), max(sizes)))


def _growth(of: str, held: Sequence[tuple[float, float]]) -> Result:
    """Of the last two thirds: the first warms up. From … to are those of the middle and of the last third."""
    third = len(held) // 3
    parts = sorted((per_hour(held[third : 2 * third]), per_hour(held[2 * third :])))
    return Result(f"growth of {of}", per_hour(held[third:]), "MB per hour", spread=(parts[0], parts[1]))


def per_hour(held: Sequence[tuple[float, float]]) -> float:
    """The slope by Theil and Sen, the median of all pairs': one garbage collection does not move it."""
    slopes = [(b - a) / (at_b - at_a) for (at_a, a), (at_b, b) in combinations(held, 2)]
    return statistics.median(slopes) if slopes else math.nan
