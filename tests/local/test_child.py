"""A program that we start never outlives us, however we end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from local.ports import free_port, is_free
from local.process import CannotStart, Child

_WORLD = """
import asyncio, os, sys
from pathlib import Path
from local.broker import EmbeddedBroker
from local.postgres import EmbeddedPostgres

async def main():
    with EmbeddedPostgres(Path(sys.argv[1]), fsync=False):
        async with EmbeddedBroker():
            print("up", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


def _sleeper(folder: Path) -> Child:
    return Child(["sleep", "60"], log=folder / "log", cwd=folder, env={"PATH": "/usr/bin:/bin"})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent ended")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_its_owner(tmp_path: Path, end: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _WORLD, str(tmp_path / "postgres")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        children = psutil.Process(owner.pid).children(recursive=True)
        assert {"tansu", "postgres"} <= {child.name().split("-")[0] for child in children}
        owner.send_signal(end)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []
    finally:
        owner.kill()
        owner.wait()
        assert owner.stdout is not None
        owner.stdout.close()


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[Child] = []
    thread = threading.Thread(target=lambda: started.append(_sleeper(tmp_path)))
    thread.start()
    thread.join()
    # A second one: had the first been told to end, it would have been by the time this one runs.
    started.append(_sleeper(tmp_path))
    try:
        assert [child.running for child in started] == [True, True]
    finally:
        for child in started:
            child.kill()


def test_stop_kills_what_does_not_listen(tmp_path: Path) -> None:
    deaf = Child(
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(15, signal.SIG_IGN); print('deaf'); signal.pause()",
        ],
        log=tmp_path / "log",
        cwd=tmp_path,
        env={"PYTHONUNBUFFERED": "1"},
    )
    while "deaf" not in deaf.log_tail():
        assert deaf.running
    deaf.stop(signal.SIGTERM, patience_s=0.05)
    assert not deaf.running


def test_a_program_that_cannot_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="cannot be executed"):
        Child([str(tmp_path / "absent")], log=tmp_path / "log", cwd=tmp_path, env={})


def test_a_free_port_is_free() -> None:
    assert is_free(free_port())
