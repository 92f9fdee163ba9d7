"""What each service holds in memory: at rest, and how that grows over minutes of load.

Resident memory (RSS) counts the pages of libraries that several processes share in each of them; the
proportional share (PSS) divides them. At rest is a service that was started on a schema that is up to date,
and has read what there is.
"""

import asyncio
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import psutil

from bench.result import Result
from bench.system import Driver, System, all_at_once, names, register, running

IN_FLIGHT = 50
EVERY_S = 10.0
_SETTLED_S = 10.0
_WARM_UP_S = 60.0
_PORTION = 200
"""Projects that are registered at a time."""

Sample = tuple[float, float]
"""Seconds since the first one, and MB."""


async def measure(minutes: float) -> list[Result]:
    """MB of each service at rest; under load, MB in the middle and MB per hour by least squares."""
    with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as folder:
        async with running(Path(folder)) as system:
            await _begin_anew(system)
            at_rest = {
                name: psutil.Process(one.pid).memory_full_info() for name, one in system.services.items()
            }
            # What breaks the load, breaks the measurement.
            async with asyncio.TaskGroup() as group:
                load = group.create_task(_load(system.driver))
                await asyncio.sleep(_WARM_UP_S)
                before = system.driver.ended
                samples = await _samples(system, minutes * 60)
                runs = system.driver.ended - before
                load.cancel()
    results = [Result(f"memory of {name} at rest, RSS", one.rss / 1e6, "MB") for name, one in at_rest.items()]
    results += [
        Result(f"memory of {name} at rest, PSS", one.pss / 1e6, "MB") for name, one in at_rest.items()
    ]
    results.append(Result(f"runs in {minutes:g} minutes of load", runs, "runs"))
    for name, watched in samples.items():
        sizes = [mb for _, mb in watched]
        spread = (min(sizes), max(sizes))
        results.append(Result(f"memory of {name} under load", statistics.median(sizes), "MB", spread=spread))
        results.append(_growth(name, watched))
    return results


async def _begin_anew(system: System) -> None:
    """The first start made the schema, which takes more memory than any start after it."""
    for name, child in list(system.services.items()):
        child.stop(signal.SIGTERM, patience_s=10)
        system.services[name] = system.start(name)
    await asyncio.sleep(_SETTLED_S)


async def _load(driver: Driver) -> None:
    """Runs without end, so many at a time, each in a Project of its own."""
    for number in count():
        projects = names(f"load-{number}", _PORTION)
        await register(driver, projects)
        await all_at_once(driver, projects, IN_FLIGHT)


async def _samples(system: System, seconds: float) -> dict[str, list[Sample]]:
    processes = {name: psutil.Process(one.pid) for name, one in system.services.items()}
    found: dict[str, list[Sample]] = {name: [] for name in processes}
    began = time.monotonic()
    while (at := time.monotonic() - began) < seconds:
        for name, process in processes.items():
            found[name].append((at, process.memory_info().rss / 1e6))
        await asyncio.sleep(EVERY_S)
    return found


def _growth(name: str, samples: Sequence[Sample]) -> Result:
    """From all samples; from … to are those of the first and the second half alone."""
    half = len(samples) // 2
    halves = sorted((_per_hour(samples[:half]), _per_hour(samples[half:])))
    return Result(
        f"growth of {name} under load", _per_hour(samples), "MB per hour", spread=(halves[0], halves[1])
    )


def _per_hour(samples: Sequence[Sample]) -> float:
    return 3600 * statistics.linear_regression(*zip(*samples, strict=True)).slope
