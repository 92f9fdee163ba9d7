"""Which runner a machine has, what is said where one does not work, and what a killed worker leaves."""

import asyncio
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest

from shared.isolation import system
from shared.isolation.bare import Bare
from shared.isolation.bubblewrap import Bubblewrap
from shared.isolation.child import Call
from shared.isolation.choosing import RunnerSettings, choose, required, why_none
from shared.isolation.container import Container
from shared.isolation.limits import Limits
from shared.isolation.runner import CannotIsolate
from tests.security.runners import PATH, RUNNERS, SMALL, needed, processes_with

NO_NAMESPACES = "bwrap: No permissions to create a new namespace"
NOT_RUNNING = (
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
)
DENIED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole of `PATH`: the machine has only the programs in it."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o700)
    return file


def settings(folder: Path, **more: object) -> RunnerSettings:
    # What was found is kept for each settings: these are of this test alone.
    return RunnerSettings.model_validate({"runner_readable": str(folder)} | more)


def test_a_server_refuses_to_run_without_isolation_unless_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotIsolate, match="UPGRADES_RUNNER_ALLOW_NONE"):
        required(settings(tmp_path, runner="none"))
    told = settings(tmp_path, runner="none", runner_allow_none=True)
    assert required(told).name == "none"


def test_a_machine_without_any_runner_is_refused_with_the_reasons(programs: Path) -> None:
    assert choose(settings(programs)).name == "none"
    with pytest.raises(CannotIsolate, match=r"apt-get install bubblewrap.*apt-get install podman"):
        required(settings(programs))


def test_bubblewrap_without_namespaces_is_refused_and_another_runner_is_taken(programs: Path) -> None:
    program(programs, "bwrap", f"echo '{NO_NAMESPACES}' >&2; exit 1")
    with pytest.raises(CannotIsolate, match="bubblewrap does not work here: bwrap: No permissions"):
        choose(settings(programs, runner="bubblewrap"))
    assert NO_NAMESPACES in why_none(settings(programs))
    podman = shutil.which("podman", path=os.defpath)
    if podman is not None or "CI" in os.environ:
        taken = choose(settings(programs, runner_engine=f"{podman} --runtime /usr/sbin/runc"))
        assert taken.name == "container"


@pytest.mark.parametrize("missing", ["bubblewrap", "container"])
def test_a_runner_that_is_asked_for_is_never_replaced(missing: str, programs: Path) -> None:
    with pytest.raises(CannotIsolate, match="install"):
        choose(settings(programs, runner=missing))


@pytest.mark.parametrize(
    ("said", "cure"), [(NOT_RUNNING, "systemctl start docker"), (DENIED, "usermod -aG docker")]
)
def test_an_engine_that_does_not_answer_is_said_with_the_cure(said: str, cure: str, programs: Path) -> None:
    program(
        programs,
        "docker",
        f"[ $1 = --version ] && echo Docker version 28 || {{ echo '{said}' >&2; exit 1; }}",
    )
    with pytest.raises(CannotIsolate, match=cure):
        choose(settings(programs, runner="container"))


def test_an_image_that_is_not_there_is_said_with_the_cure(container: Container, tmp_path: Path) -> None:
    del container
    wanted = settings(
        tmp_path, runner="container", runner_engine="podman --runtime runc", runner_image="nowhere/nothing:1"
    )
    with pytest.raises(CannotIsolate, match="UPGRADES_RUNNER_IMAGE"):
        choose(wanted)


DOCKER = """
case $1 in
  --version) echo Docker version 28;;
  info) echo '{"MemoryLimit": true, "PidsLimit": true, "CPUShares": true}';;
  run) for word do echo "$word"; done > "$(dirname $0)/said"; echo 'No such image: checks:1' >&2; exit 125;;
esac
"""


def test_docker_is_called_with_every_wall_and_with_words_that_it_knows(
    programs: Path, tmp_path: Path
) -> None:
    program(programs, "docker", DOCKER.replace("dirname", shutil.which("dirname", path=os.defpath) or ""))
    with pytest.raises(CannotIsolate, match="docker needs an image"):
        Container("docker")
    with pytest.raises(CannotIsolate, match="docker pull"):
        asyncio.run(Container("docker", "checks:1").run(Call(("true",), tmp_path, {}, 5), Limits()))
    said = (programs / "said").read_text().split("\n")
    pairs = set(pairwise(said))
    assert {
        ("--network", "none"),
        ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"),
        ("--pull", "never"),
        ("--pids-limit", "514"),
        ("--cpu-shares", "1024"),
        ("--memory", str(3 << 30)),
        ("--memory-swap", str(3 << 30)),
        ("--log-driver", "none"),
        ("--ipc", "private"),
    } <= pairs
    assert {"--rm", "--read-only"} <= set(said)
    assert "--privileged" not in said
    client = shutil.which("docker", path=os.defpath + ":/usr/local/bin")
    if client is None:
        return
    # The real client reads the words before it looks for its engine.
    where = {"PATH": os.defpath, "DOCKER_HOST": f"unix://{tmp_path}/nobody", "HOME": str(tmp_path)}
    answer = subprocess.run(
        [client, *filter(None, said)], env=where, capture_output=True, text=True, check=False
    )
    assert "Cannot connect" in answer.stderr, answer.stderr


def test_an_image_s_system_is_what_a_command_sees(container: Container, tmp_path: Path) -> None:
    """An image that has nothing but a file of its own: this machine's programs are shown in it."""
    del container
    name = f"localhost/upgradepath-{secrets.token_hex(4)}"
    with tarfile.open(tmp_path / "image.tar", "w") as image:
        for link in system.LINKS:
            if os.path.islink(f"/{link}"):
                image.add(f"/{link}", link)
        for file, content in {
            "etc/of-the-image": b"of the image",
            "etc/hosts": b"192.0.2.1 images-own\n",
        }.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            image.addfile(entry, BytesIO(content))
    podman = ("podman", "--runtime", "runc")
    subprocess.run(
        [*podman, "import", "--quiet", tmp_path / "image.tar", name], check=True, capture_output=True
    )
    try:
        odd = tmp_path / 'a "checkout", and=more'
        odd.mkdir()
        (odd / "greeting.txt").write_text("hello\n")
        runner = Container(" ".join(podman), name, ["/usr"])
        call = Call(("cat", "/etc/of-the-image", "greeting.txt", "/etc/hosts"), odd, {"PATH": "/usr/bin"}, 60)
        finished = asyncio.run(runner.run(call, SMALL))
    finally:
        subprocess.run([*podman, "rmi", "--force", name], check=True, capture_output=True)
    assert finished.output.startswith("of the imagehello\n127.0.0.1 localhost"), finished
    assert "images-own" not in finished.output


# --- a worker that is killed ---------------------------------------------------------------------

WORKER = """
import asyncio, sys, tempfile
from pathlib import Path
from shared.isolation import system
from shared.isolation.bare import Bare
from shared.isolation.bubblewrap import Bubblewrap
from shared.isolation.child import Call
from shared.isolation.container import Container
from shared.isolation.limits import Limits
name, mark, path, checkout = sys.argv[1:]
runners = {"bubblewrap": Bubblewrap, "container": lambda: Container("podman --runtime runc"), "none": Bare}
program = "import os, time\\nif os.fork() == 0: os.setsid()\\ntime.sleep(600)"
call = Call((sys.executable, "-S", "-c", program, mark), Path(checkout), {"PATH": path, "HOME": "/"}, 600)
asyncio.run(runners[name]().run(call, Limits()))
"""


@pytest.mark.parametrize("name", RUNNERS)
def test_a_killed_worker_leaves_no_process_and_the_next_one_clears_the_rest(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    if name != "none":
        request.getfixturevalue(name)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    mark = f"left-{tmp_path.name}"
    argv = [sys.executable, "-c", WORKER, name, mark, PATH, str(checkout)]
    worker = subprocess.Popen(argv, env=dict(os.environ, TMPDIR=str(scratch)), cwd=Path.cwd())
    until(lambda: len([pid for pid in processes_with(mark) if pid != worker.pid]) >= 2)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    until(lambda: not processes_with(mark))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    if name == "container":
        left = next(folder.name for folder in scratch.iterdir() if stat.S_ISDIR(folder.stat().st_mode))
        Container("podman --runtime runc")
        engine = ["podman", "ps", "--all", "--quiet", "--filter", f"name={left}"]
        assert subprocess.run(engine, capture_output=True, check=True).stdout == b""
    elif name == "none":
        Bare()
    assert list(scratch.iterdir()) == []


def until(good: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not good():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_where_ci_lacks_a_runner_its_tests_fail(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    needed("bwrap")
    with pytest.raises(CannotIsolate):
        Bubblewrap()
    with pytest.raises(CannotIsolate):
        Container()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception):
        needed("bwrap")
