"""The mechanism alone: a place that is armed ends one process, once; every place that is passed is listed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.faults.armed import Armed

_PROGRAM = """
import asyncio
from shared import crash_points

async def work():
    crash_points.enter("executor")
    with crash_points.inside("deploy"):
        async with crash_points.around("git-push"):
            print("pushed", flush=True)
    crash_points.reached("upgrades.RunStage.v1", "commit", "after")

asyncio.run(work())
print("ended", flush=True)
"""
NAMES = [
    "executor.RunStage.commit.after",
    "executor.deploy.git-push.after",
    "executor.deploy.git-push.before",
]


async def _run(**variables: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM),
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_a_place_ends_one_process_once(tmp_path: Path) -> None:
    points = Armed(tmp_path)
    assert await _run(**points.variables) == (0, "pushed\nended\n")
    assert points.reached() == NAMES
    points.arm("executor.deploy.git-push.after")
    assert await _run(**points.variables) == (-signal.SIGKILL, "pushed\n")
    assert points.waiting() == []
    assert await _run(**points.variables) == (0, "pushed\nended\n")


async def test_without_a_folder_nothing_happens() -> None:
    assert await _run() == (0, "pushed\nended\n")
