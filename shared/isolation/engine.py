"""Podman or Docker as a program: where it is, what it can limit, and the words of one `run`."""

import json
import os
import resource
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shared.isolation.cgroups import CPU_WEIGHT
from shared.isolation.limits import Limits
from shared.isolation.runner import CannotIsolate

_KNOWN = ("podman", "docker")
_ANSWERS_WITHIN_S = 30
# What an engine's program reads; the worker's secrets are not among them.
_VARIABLES = ("HOME", "PATH", "USER", "LOGNAME", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS")
_PREFIXES = ("XDG_", "DOCKER_", "CONTAINER_", "CONTAINERS_")
_CURES = {
    "permission denied while trying to connect": "add this user to the group docker (`usermod -aG docker`),"
    " or use podman, which needs no group",
    "cannot connect to the docker daemon": "start it (`systemctl start docker`), or point DOCKER_HOST to it",
    "cannot connect to podman": "start its service, or unset CONTAINER_HOST",
    "image not known": "pull it first (`podman pull`), and name it in UPGRADES_RUNNER_IMAGE",
    "no such image": "pull it first (`docker pull`), and name it in UPGRADES_RUNNER_IMAGE",
    "unable to find image": "pull it first (`docker pull`), and name it in UPGRADES_RUNNER_IMAGE",
    "executable file not found": "the image needs Python 3.11 or later as `python3`",
    "no such file or directory: oci runtime": "the image needs Python 3.11 or later as `python3`",
    "cgroup": "give the engine's options in UPGRADES_RUNNER_ENGINE, for example"
    " `podman --cgroup-manager=cgroupfs --runtime runc`",
}


@dataclass(frozen=True)
class Engine:
    """An engine's program with the options that every call gets, for example `podman --runtime runc`."""

    argv: tuple[str, ...]
    is_podman: bool
    controllers: frozenset[str]
    """What it can limit for all processes of a container together: memory, pids, cpu."""
    rootless: bool

    @classmethod
    def find(cls, words: str) -> "Engine":
        """As the setting names it, or the first that is installed. Blocks. Raises `CannotIsolate`."""
        argv = tuple(shlex.split(words)) or tuple(filter(shutil.which, _KNOWN))[:1]
        if not argv:
            raise CannotIsolate("neither podman nor docker is installed: apt-get install podman runc")
        program = shutil.which(argv[0])
        if program is None:
            raise CannotIsolate(f"UPGRADES_RUNNER_ENGINE names {argv[0]}, which is not installed")
        argv = (program, *argv[1:])
        is_podman = "podman" in _asked(argv, "--version").lower()
        told = json.loads(_asked(argv, "info", "--format", "{{json .}}"))
        if is_podman:
            host = told["host"]
            controllers = frozenset(host.get("cgroupControllers") or ())
            return cls(argv, True, controllers, bool(host["security"]["rootless"]))
        names = {"MemoryLimit": "memory", "PidsLimit": "pids", "CPUShares": "cpu"}
        controllers = frozenset(name for key, name in names.items() if told.get(key))
        shared_users = ("rootless", "userns")
        options = told.get("SecurityOptions") or ()
        return cls(argv, False, controllers, any(name in each for each in options for name in shared_users))

    def run(self, name: str, limits: Limits, deadline_s: float, *, interactive: bool) -> list[str]:
        """The words that limit a container and take rights from it, without mounts and program."""
        memory = limits.memory_bytes + limits.disk_bytes
        files = _at_most(resource.RLIMIT_NOFILE, limits.open_files)
        tmp = f"rw,exec,nosuid,nodev,size={limits.disk_bytes},mode=1777"
        words = [*self.argv, "run", "--rm", "--name", name, "--pull", "never", "--log-driver", "none"]
        words += ["--network", "none", "--hostname", "check", "--ipc", "private", "--cgroupns", "private"]
        words += ["--read-only", "--tmpfs", f"/tmp:{tmp}", "--shm-size", str(64 << 20), "--workdir", "/"]
        words += ["--user", "0:0", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        # What is mounted keeps the machine's labels, so SELinux would refuse to read it.
        words += ["--security-opt", "label=disable"]
        words += ["--ulimit", f"nofile={files}:{files}", "--ulimit", "core=0:0"]
        words += ["--no-healthcheck", "--stop-timeout", "0"]
        if "memory" in self.controllers:
            words += ["--memory", str(memory), "--memory-swap", str(memory)]
        if "pids" in self.controllers:
            # The launcher is a process too.
            words += ["--pids-limit", str(limits.processes + 2)]
        if "cpu" in self.controllers:
            words += ["--cpu-shares", str(1024 * CPU_WEIGHT // 100)]
        if self.is_podman:
            words += [
                "--timeout",
                str(round(deadline_s) + 60),
                "--read-only-tmpfs=false",
                "--image-volume",
                "ignore",
                "--systemd",
                "false",
            ]
            words += ["--no-hosts", "--http-proxy=false"]
            if not self.rootless:
                # Its own default is higher than a worker without CAP_SYS_RESOURCE may give.
                words += ["--ulimit", f"nproc={limits.processes}:{limits.processes}"]
        return words + (["--interactive"] if interactive else [])

    def remove(self, name: str) -> None:
        """Kill a container and remove it; safe to repeat. Blocks. Raises `CannotIsolate`."""
        stop = ("--time", "0") if self.is_podman else ()
        done = _called(self.argv, "rm", "--force", "--volumes", *stop, name)
        # Docker finds nothing to remove a failure.
        if done.returncode != 0 and "no such container" not in done.stderr.lower():
            raise CannotIsolate(f"the container {name} cannot be removed: {_last(done.stderr)}")

    def why(self, printed: str) -> str:
        """What an engine printed when it did not start a container, with the cure where we know it."""
        return explained(f"{Path(self.argv[0]).name} started no container: {_last(printed)}")


def engine_variables() -> dict[str, str]:
    """What of this process' environment an engine's program needs."""
    return {
        name: value for name, value in os.environ.items() if name in _VARIABLES or name.startswith(_PREFIXES)
    }


def explained(said: str) -> str:
    """The sentence, and what to do about it."""
    for words, cure in _CURES.items():
        if words in said.lower():
            return f"{said}; {cure}"
    return said


def _asked(argv: tuple[str, ...], *words: str) -> str:
    done = _called(argv, *words)
    # Docker's program prints what it knows of itself, and that it knows nothing of the engine.
    failed = done.stderr if done.returncode != 0 or "cannot connect" in done.stderr.lower() else ""
    if failed:
        raise CannotIsolate(explained(f"{Path(argv[0]).name} does not answer: {_last(failed)}"))
    return done.stdout


def _called(argv: tuple[str, ...], *words: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            (*argv, *words),
            env=engine_variables(),
            capture_output=True,
            text=True,
            timeout=_ANSWERS_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotIsolate(f"{argv[0]} does not answer: {error}") from None


def _last(printed: str) -> str:
    lines = printed.strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def _at_most(kind: int, most: int) -> int:
    """Not more than this process has, which the engine could not give."""
    hard = resource.getrlimit(kind)[1]
    return most if hard == resource.RLIM_INFINITY else min(most, hard)
