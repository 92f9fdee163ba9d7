"""SIGKILL of one service with 300 Runs under way: how much later the last of them is done than without it.

The killed service is started again as a supervisor does, by the same command, after systemd's usual 0.1 s.
Each round with a kill follows one without, of as many Runs on the same system, and is compared with it.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.result import Result, repeated
from bench.system import System, all_at_once, names, register, running
from shared.contracts.topics import SERVICES

RUNS = 300
RESTART_S = 0.1
_WARM_UP = 100
_KILLED_AT = 0.4
"""Of the time that the round without a kill took: by then all have begun, and hardly one has ended."""


@dataclass(frozen=True)
class Kill:
    """One round: seconds from the first request to the last end, without and with the kill."""

    victim: str
    under_way: int
    without_s: float
    with_s: float

    @property
    def later_s(self) -> float:
        return self.with_s - self.without_s


async def measure(victims: Sequence[str] = SERVICES, repeats: int = 3) -> list[Result]:
    """Seconds that the last Run is late, for each service that was killed."""
    with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as folder:
        async with running(Path(folder)) as system:
            await _all(system, "warm", _WARM_UP)
            kills = [await _one(system, victim, number) for number in range(repeats) for victim in victims]
    return [_result(victim, [kill for kill in kills if kill.victim == victim]) for victim in victims]


async def _one(system: System, victim: str, number: int) -> Kill:
    without_s = await _all(system, f"spared-{victim}-{number}", RUNS)
    killing = asyncio.create_task(_kill(system, victim, without_s * _KILLED_AT))
    with_s = await _all(system, f"killed-{victim}-{number}", RUNS)
    return Kill(victim, await killing, without_s, with_s)


async def _all(system: System, kind: str, count: int) -> float:
    """Seconds that so many Runs take, all asked for at once."""
    projects = names(kind, count)
    await register(system.driver, projects)
    return count / await all_at_once(system.driver, projects, count)


async def _kill(system: System, victim: str, after_s: float) -> int:
    """How many Runs were under way then."""
    ended = system.driver.ended
    await asyncio.sleep(after_s)
    under_way = RUNS - (system.driver.ended - ended)
    system.services[victim].kill()
    await asyncio.sleep(RESTART_S)
    system.services[victim] = system.start(victim)
    return under_way


def _result(victim: str, kills: Sequence[Kill]) -> Result:
    under_way = min(kill.under_way for kill in kills)
    without_s = statistics.mean(kill.without_s for kill in kills)
    name = f"{victim} killed with {under_way} runs under way, which take {without_s:.1f} s: later by"
    return repeated(name, [kill.later_s for kill in kills], "s")
