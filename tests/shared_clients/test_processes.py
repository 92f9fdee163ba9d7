"""A program's end is ours to decide: deadline, cancellation, leftovers, bounds."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from shared import background
from shared.clients.processes import DeadlineExceeded, run_trusted
from shared.isolation.limits import Limits

CLEAN = {"PATH": "/usr/bin:/bin", "ONLY": "this"}


def gone(pid: str) -> Callable[[], bool]:
    """Asks whether that process has ended."""

    def ask() -> bool:
        try:
            return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return ask


async def until(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within five seconds: nobody tells us of the end of another's child."""
    for _ in range(500):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


async def test_output_and_exit_code_come_back(tmp_path: Path) -> None:
    finished = await run_trusted(
        ["sh", "-c", "cat; echo err >&2; echo out; exit 3"],
        cwd=tmp_path,
        environment=CLEAN,
        deadline_s=10,
        stdin=b"in\n",
    )
    assert (finished.exit_code, finished.output, finished.truncated) == (3, "in\nerr\nout\n", False)


async def test_streams_can_be_separate(tmp_path: Path) -> None:
    finished = await run_trusted(
        ["sh", "-c", "echo err >&2; echo out"],
        cwd=tmp_path,
        environment=CLEAN,
        deadline_s=10,
        separate=True,
    )
    assert (finished.stdout, finished.stderr) == (b"out\n", b"err\n")


async def test_the_environment_is_exactly_what_was_given(tmp_path: Path) -> None:
    program = "import os; print(sorted(os.environ.items()))"
    finished = await run_trusted(
        [sys.executable, "-S", "-c", program], cwd=tmp_path, environment={"A": "b"}, deadline_s=10
    )
    # Python itself sets LC_CTYPE where the locale is "C".
    assert finished.output.replace(", ('LC_CTYPE', 'C.UTF-8')", "") == "[('A', 'b')]\n"


async def test_the_end_of_much_output_is_kept(tmp_path: Path) -> None:
    finished = await run_trusted(
        ["sh", "-c", "yes line | head -c 3000000; echo end"],
        cwd=tmp_path,
        environment=CLEAN,
        deadline_s=20,
        output_bytes_max=1000,
    )
    assert finished.truncated
    assert len(finished.output) == 1000
    assert finished.output.endswith("end\n")


async def test_a_deadline_kills_the_whole_group(tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded) as exceeded:
        await run_trusted(
            ["sh", "-c", "sleep 60 & echo $!; wait"], cwd=tmp_path, environment=CLEAN, deadline_s=0.3
        )
    assert await until(gone(exceeded.value.output))


async def test_leftovers_of_the_group_are_killed(tmp_path: Path) -> None:
    finished = await run_trusted(
        ["sh", "-c", "sleep 60 & echo $!"], cwd=tmp_path, environment=CLEAN, deadline_s=10
    )
    assert await until(gone(finished.output))


async def test_a_detached_grandchild_that_holds_the_pipe_does_not_keep_us(tmp_path: Path) -> None:
    finished = await run_trusted(
        ["sh", "-c", "setsid sleep 60 & echo $!"],
        cwd=tmp_path,
        environment=CLEAN,
        deadline_s=10,
    )
    assert finished.duration_ms < 5000
    detached = psutil.Process(int(finished.output))
    assert detached.is_running()
    detached.kill()


async def test_cancelling_kills_the_group(tmp_path: Path) -> None:
    said = tmp_path / "pid"
    script = "echo $$ > pid.part; mv pid.part pid; sleep 60"
    task = asyncio.create_task(
        run_trusted(["sh", "-c", script], cwd=tmp_path, environment=CLEAN, deadline_s=60)
    )
    assert await until(said.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await until(gone(said.read_text()))


async def test_a_grandchild_is_limited_however_busy_we_are(tmp_path: Path) -> None:
    """Git starts what fetches at once: limits that come after its start come too late for that one."""

    async def busy() -> None:
        while True:
            sum(range(200_000))
            await asyncio.sleep(0)

    limits, task = Limits(memory_mib=512, cpu_s=60), asyncio.create_task(busy())
    argv = ["git", "-c", "alias.x=!ulimit -v; ulimit -t; ulimit -Ht", "x"]
    for _ in range(4):
        finished = await run_trusted(argv, cwd=tmp_path, environment=CLEAN, deadline_s=20, limits=limits)
        assert finished.output.split() == [str(512 << 10), "60", "65"]
    await background.end(task)


async def test_a_program_that_is_not_there_is_a_verdict_and_a_missing_folder_an_error(tmp_path: Path) -> None:
    finished = await run_trusted(["no-such-program"], cwd=tmp_path, environment=CLEAN, deadline_s=10)
    assert finished.exit_code == 127
    assert "no-such-program" in finished.output
    (tmp_path / "plain").write_text("not executable")
    assert (
        await run_trusted([str(tmp_path / "plain")], cwd=tmp_path, environment=CLEAN, deadline_s=10)
    ).exit_code == 126
    with pytest.raises(FileNotFoundError):
        await run_trusted(["sh"], cwd=tmp_path / "gone", environment=CLEAN, deadline_s=10)
