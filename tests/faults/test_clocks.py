"""The mechanism alone: a process has the time that its file says, and what is monotonic goes on as it is."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from functools import partial
from operator import eq
from pathlib import Path

import pytest

from tests.brokers.place import eventually
from tests.faults.clocks import Clock

_PROGRAM = """
import sys, time
from datetime import UTC, datetime
from tests.faults.clocks import follow_the_clock_that_is_named

follow_the_clock_that_is_named()
for _ in sys.stdin:
    now = datetime.now(UTC).timestamp()
    assert abs(time.time() - now) < 1
    print(now, time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), flush=True)
"""


class Told:
    """A process that tells its times when it is asked."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def is_off_by_s(self) -> float:
        """Its wall clock against ours; the clocks that nobody sets must be ours."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        wall, monotonic, uptime = map(float, (await self._process.stdout.readline()).split())
        assert monotonic == pytest.approx(time.monotonic(), abs=1)
        assert uptime == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=1)
        return wall - time.time()


async def test_a_clock_jumps_and_is_set_right(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    clock.skew(-5)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM),
        env={**os.environ, **clock.variables},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told = Told(process)
    try:
        assert await told.is_off_by_s() == pytest.approx(-5, abs=1), "from its first moment on"
        for jump_s in (3600, -7200, 0):
            clock.jump(jump_s)
            await eventually(told.is_off_by_s, partial(eq, pytest.approx(jump_s - 5, abs=1)))
    finally:
        process.kill()
        await process.wait()
