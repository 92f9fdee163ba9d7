"""The runners of Projects' commands, and what of a worker's a hostile check might reach on this machine."""

import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.clients.processes import Finished, run
from shared.isolation.bare import Bare
from shared.isolation.bubblewrap import Bubblewrap
from shared.isolation.choosing import Isolation
from shared.isolation.container import Container
from shared.isolation.limits import Limits
from shared.isolation.network import Destination
from shared.isolation.runner import Runner

PATH = os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin"))
SMALL = Limits(memory_mib=256, disk_mib=32, processes=64, cpu_s=2, printed_mib=2)
ISOLATING = ("bubblewrap", "container")
RUNNERS = (*ISOLATING, "none")


def needed(program: str) -> None:
    if shutil.which(program) is None and "CI" not in os.environ:
        pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="session")
def bubblewrap() -> Bubblewrap:
    needed("bwrap")
    return Bubblewrap()


@pytest.fixture(scope="session")
def container() -> Container:
    needed("podman")
    return Container("podman --runtime runc")


@pytest.fixture(params=RUNNERS)
def isolation(request: pytest.FixtureRequest) -> Isolation:
    return Isolation(_runner(request), SMALL)


@pytest.fixture(params=ISOLATING)
def isolating(request: pytest.FixtureRequest) -> Isolation:
    return Isolation(_runner(request), SMALL)


def _runner(request: pytest.FixtureRequest) -> Runner:
    runner: Runner = Bare() if request.param == "none" else request.getfixturevalue(request.param)
    return runner


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "greeting.txt").write_text("hello\n")
    return folder


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """What of the worker's a check might reach."""
    folder = tmp_path_factory.mktemp("worker")
    (folder / "secret").write_text("s3cret")
    (folder / "neighbour").mkdir()
    (folder / "neighbour" / "greeting.txt").write_text("theirs")
    outside = folder / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    victim = subprocess.Popen(["sleep", "infinity"], env={"WORKERS_SECRET": "k" * 40})
    abstract = f"upgradepath-{secrets.token_hex(4)}"
    listeners = [socket.create_server(("127.0.0.1", 0))]
    for address in (f"\0{abstract}", str(folder / "s")):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen()
        listeners.append(listener)
    yield {
        "secrets": folder / "secret",
        "neighbour": folder / "neighbour",
        "outside": outside,
        "victim": victim.pid,
        "port": listeners[0].getsockname()[1],
        "abstract": abstract,
        "socket": folder / "s",
    }
    assert victim.poll() is None, "a check has ended a process of the worker's"
    assert not list(outside.iterdir())
    victim.kill()
    victim.wait()
    for listener in listeners:
        listener.close()


async def attack(
    isolation: Isolation, checkout: Path, program: str, *more: Destination, deadline_s: float = 60
) -> Finished:
    return await run(
        [sys.executable, "-S", "-c", program],
        cwd=checkout,
        environment={"PATH": PATH, "HOME": "/"},
        deadline_s=deadline_s,
        isolation=isolation,
        destinations=more,
    )


_ALL = """
import json, subprocess, sys
said = {}
for name, program in json.load(sys.stdin).items():
    argv = [sys.executable, "-S", "-c", program]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True)
    said[name] = (done.stdout + done.stderr).decode(errors="replace")
print(json.dumps(said))
"""


def attack_together(runner: Runner, checkout: Path, programs: dict[str, str]) -> dict[str, str]:
    """The words that each program printed, all of them in one command: a process each, one after the other.

    The command has the CPU time of as many commands, as it counts for all its processes together.
    """

    async def attack_with_all() -> Finished:
        return await run(
            [sys.executable, "-S", "-c", _ALL],
            cwd=checkout,
            environment={"PATH": PATH, "HOME": "/"},
            stdin=json.dumps(programs).encode(),
            deadline_s=120,
            isolation=Isolation(runner, SMALL.model_copy(update={"cpu_s": SMALL.cpu_s * len(programs)})),
            separate=True,
        )

    finished = asyncio.run(attack_with_all())
    assert finished.exit_code == 0, finished
    said: dict[str, str] = json.loads(finished.stdout)
    return said


def processes_with(mark: str) -> list[int]:
    return [
        each.pid
        for each in psutil.process_iter(["cmdline"])
        if any(mark in word for word in each.info["cmdline"] or ()) and each.status() != psutil.STATUS_ZOMBIE
    ]
