"""What one command may use, alone and with all that it starts, in each runner."""

import os
import secrets
import signal
import sys
from pathlib import Path

import pytest

from shared.isolation.bare import Bare
from shared.isolation.bubblewrap import Bubblewrap
from shared.isolation.cgroups import Cgroups
from shared.isolation.choosing import Isolation
from tests.security.runners import SMALL, attack, processes_with

NOTHING_COUNTS = Cgroups(2, {})
HOGS = {
    "memory": ("b = []\nwhile True: b.append(bytearray(16 << 20))", "256 MiB of memory"),
    "disk": (
        "for n in range(99):\n    with open(f'fill{n}', 'wb') as file: file.write(bytes(8 << 20))",
        "wrote more than 32 MiB",
    ),
    "CPU time": ("while True: pass", "more than 2 s of CPU time"),
    "output": ("while True: print('x' * 1000)", "printed more than 2 MiB"),
}


@pytest.mark.parametrize("hog", HOGS)
async def test_a_hog_is_ended_and_the_verdict_says_of_what(
    hog: str, isolating: Isolation, checkout: Path
) -> None:
    program, words = HOGS[hog]
    finished = await attack(isolating, checkout, program)
    assert finished.exceeded is not None, finished
    assert words in finished.exceeded


@pytest.mark.parametrize("hog", ["CPU time", "output"])
async def test_a_hog_is_ended_without_isolation(hog: str, checkout: Path) -> None:
    program, words = HOGS[hog]
    finished = await attack(Isolation(Bare(), SMALL), checkout, program)
    assert finished.exceeded is not None
    assert words in finished.exceeded


async def test_a_fork_bomb_is_bounded_and_leaves_nothing(isolating: Isolation, checkout: Path) -> None:
    mark = f"bomb-{secrets.token_hex(6)}"
    program = f"""
import os, time
mark, started = {mark!r}, 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
        started += 1
except OSError:
    print("started", started)
    raise SystemExit(1)
"""
    finished = await attack(isolating, checkout, program)
    assert int(finished.output.split()[1]) < SMALL.processes, finished.output
    assert not processes_with(mark)


# Eight processes that stay below the limit of one, and what no process has any more.
TOGETHER = """
import mmap, os, sys, time
for _ in range(8):
    if os.fork() == 0:
        memory = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for at in range(0, 64 << 20, 4096):
            memory[at] = 1
        time.sleep(600)
raise SystemExit(os.wait()[1] != 0)
"""
SHARED = """
import mmap, os, time
memory = mmap.mmap(-1, 128 << 20)
for at in range(0, 128 << 20, 4096):
    memory[at] = 1
for _ in range(8):
    if os.fork() == 0:
        for at in range(0, 128 << 20, 4096):
            memory[at]
        os._exit(0)
for _ in range(8):
    assert os.wait()[1] == 0
"""


async def test_the_memory_of_all_processes_together_is_limited(isolation: Isolation, checkout: Path) -> None:
    await _ends_for_memory(isolation, checkout)


# No process lives for long enough to meet its own limit.
FORKS = """
import os, time
while True:
    if os.fork() == 0:
        end = time.process_time() + 0.2
        while time.process_time() < end: pass
        os._exit(0)
    os.wait()
"""


async def test_the_cpu_time_of_all_processes_together_is_limited(
    isolation: Isolation, checkout: Path
) -> None:
    """Would catch a command that forks for ever and so uses a processor up to its deadline."""
    finished = await attack(isolation, checkout, FORKS, deadline_s=60)
    assert finished.exceeded == "used more than 2 s of CPU time", finished
    assert finished.duration_ms < 30_000


# Nobody has waited for the two when they are ended, so they are in no count of their parent's.
TWO_AT_WORK = "'{0}' -S -c 'while 1: pass' & '{0}' -S -c 'while 1: pass' & wait"


async def test_children_that_nobody_waits_for_are_named_in_the_verdict(
    bubblewrap: Bubblewrap, checkout: Path
) -> None:
    """Would catch a command that is killed without a reason, for what its children used together."""
    del bubblewrap
    for runner in (Bubblewrap(cgroups=NOTHING_COUNTS), Bare(NOTHING_COUNTS)):
        words = f"import os; os.execv('/bin/sh', ['sh', '-c', {TWO_AT_WORK.format(sys.executable)!r}])"
        finished = await attack(Isolation(runner, SMALL), checkout, words)
        assert finished.exit_code == -signal.SIGKILL, finished
        assert finished.exceeded == "used more than 2 s of CPU time", finished


async def test_where_no_group_counts_the_memory_of_all_processes_is_watched(
    bubblewrap: Bubblewrap, checkout: Path
) -> None:
    del bubblewrap
    for runner in (Bubblewrap(cgroups=NOTHING_COUNTS), Bare(NOTHING_COUNTS)):
        isolation = Isolation(runner, SMALL)
        await _ends_for_memory(isolation, checkout)
        shared = await attack(isolation, checkout, SHARED)
        assert shared.exit_code == 0, "what processes share counts once"
        if runner.name == "bubblewrap":
            hidden = await attack(isolation, checkout, "import os; os.memfd_create('x')")
            assert "Function not implemented" in hidden.output


async def _ends_for_memory(isolation: Isolation, checkout: Path) -> None:
    mark = f"hogs-{secrets.token_hex(6)}"
    finished = await attack(isolation, checkout, f"mark = {mark!r}\n{TOGETHER}", deadline_s=40)
    assert finished.exceeded == "used more than 256 MiB of memory"
    assert not processes_with(mark)


async def test_a_command_stands_back_behind_the_worker(isolation: Isolation, checkout: Path) -> None:
    program = "import os; print(os.nice(0), open('/proc/self/oom_score_adj').read())"
    nice, score = (await attack(isolation, checkout, program)).output.split()
    assert int(nice) > os.nice(0)
    assert int(score) == 500


@pytest.mark.parametrize("stranger", [False, True])
def test_a_group_that_was_given_to_the_worker_alone_is_made_ready(tmp_path: Path, stranger: bool) -> None:
    """A service with `Delegate=yes`: where groups lie below its own, it may not stay in that itself."""
    service = tmp_path / "service"
    service.mkdir()
    processes = [os.getpid(), *([1] if stranger else [])]
    for name, content in {
        "cgroup.controllers": "cpu io memory pids",
        "cgroup.subtree_control": "",
        "cgroup.procs": "\n".join(map(str, processes)),
    }.items():
        (service / name).write_text(content)
    (tmp_path / "own").write_text("0::/service\n")
    found = Cgroups.find(tmp_path, tmp_path / "own")
    if stranger:
        assert found.parents == {}
        assert (service / "cgroup.subtree_control").read_text() == ""
        return
    assert found == Cgroups(2, dict.fromkeys(("cpu", "memory", "pids"), service))
    assert (service / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    leaf = service / "upgradepath-worker"
    assert (leaf / "cgroup.procs").read_text() == str(os.getpid())
    # The next service of the same group finds it ready, from where it was put.
    (service / "cgroup.subtree_control").write_text("cpu memory pids")
    (tmp_path / "own").write_text("0::/service/upgradepath-worker\n")
    assert Cgroups.find(tmp_path, tmp_path / "own") == found


def test_groups_that_killed_workers_left_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = tmp_path / "service"
    left, others = (service / name for name in ("upgradepath-0123456789abcdef", "upgradepath-worker"))
    for folder in (left, others):
        folder.mkdir(parents=True)
    (service / "cgroup.subtree_control").write_text("memory pids")
    (tmp_path / "own").write_text("0::/service\n")
    Cgroups.find(tmp_path, tmp_path / "own")
    assert left.is_dir(), "a new one may get its first process yet"
    monkeypatch.setattr("shared.isolation.cgroups._OLD_AFTER_S", -5)
    Cgroups.find(tmp_path, tmp_path / "own")
    assert not left.exists()
    assert others.is_dir()
