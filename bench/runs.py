"""Eight-stage runs through the five services, as five processes, on Apache Kafka and PostgreSQL."""

import asyncio
import math
import statistics
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.floor import commits_per_second, lone_runs
from bench.result import Result, repeated
from bench.system import System, all_at_once, names, register, running
from shared.contracts.topics import SERVICES

FLOOR_RUNS = 2000


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    warm_up: int = 100
    measured: int = 1000
    lone: int = 20
    in_flight: int = 500
    repeats: int = 3
    minutes: float = 10
    rate: float = math.inf
    rows: int = 400_000


@dataclass(frozen=True)
class Round:
    """One repeat: runs per second of the floor and of ours, and CPU seconds per 1,000 runs and process."""

    floor: float
    rate: float
    cpu_s: dict[str, float]


async def measure(size: Size) -> list[Result]:
    """Runs per second against the floor, the CPU that they cost and where, and a run alone."""
    with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as name:
        async with running(Path(name)) as system:
            await asyncio.to_thread(system.postgres.create_database, "floor")
            await register(system.driver, [*names("warm", size.warm_up), *names("lone", size.lone)])
            await all_at_once(system.driver, names("warm", size.warm_up), size.in_flight)
            rounds = [await _round(system, size, number) for number in range(size.repeats)]
            lone = [one async for one in _alone(system, names("lone", size.lone))]
    return [
        *_throughput(rounds),
        *_lone(lone),
        *_cpu(rounds),
    ]


async def _round(system: System, size: Size, number: int) -> Round:
    """Every run of one repeat, with the floor just before and just after."""
    projects = names(f"many-{number}", size.measured)
    await register(system.driver, projects)
    floor_before = await commits_per_second(system.postgres.url("floor"), FLOOR_RUNS)
    cpu_before = system.cpu_s()
    rate = await all_at_once(system.driver, projects, size.in_flight)
    cpu_after = system.cpu_s()
    floor = statistics.mean(
        (floor_before, await commits_per_second(system.postgres.url("floor"), FLOOR_RUNS))
    )
    spent = {name: (cpu_after[name] - cpu_before[name]) * 1000 / size.measured for name in cpu_after}
    return Round(floor, rate, spent)


async def _alone(system: System, projects: Sequence[str]) -> AsyncIterator[tuple[float, float]]:
    """Milliseconds of each Project's run alone, and of the floor just after it."""
    driver = system.driver
    async with lone_runs(system.postgres.url("floor"), system.kafka.bootstrap_servers) as floor:
        for project in projects:
            await driver.request(project)
            await driver.until(partial(driver.took_s.__contains__, project), 60)
            yield driver.took_s[project] * 1000, await floor() * 1000


def _lone(runs: Sequence[tuple[float, float]]) -> list[Result]:
    floors = [floor for _, floor in runs]
    return [
        repeated("raw hops and commits of a run alone", floors, "ms"),
        repeated("one run alone", [took for took, _ in runs], "ms", statistics.median(floors)),
    ]


def _throughput(rounds: Sequence[Round]) -> list[Result]:
    floors = [one.floor for one in rounds]
    rates = [one.rate for one in rounds]
    return [
        repeated("nine commits a run, alone", floors, "runs/s"),
        repeated("eight-stage no-op runs through five services", rates, "runs/s", statistics.mean(floors)),
    ]


def _cpu(rounds: Sequence[Round]) -> list[Result]:
    def of(*names: str) -> list[float]:
        return [sum(one.cpu_s[name] for name in names) for one in rounds]

    unit = "s per 1,000 runs"
    return [
        repeated("CPU of our five processes", of(*SERVICES), unit),
        *(repeated(f"CPU of {name}", of(name), unit) for name in rounds[0].cpu_s),
    ]
