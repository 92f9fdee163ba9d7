"""The one interface of the runners, and the order that two of them hand to the launcher."""

import marshal
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shared.isolation.child import Call, Finished
from shared.isolation.limits import Limits
from shared.isolation.network import Destination, Gateway

LAUNCHER = Path(__file__).with_name("inside.py")
WATCHING = Path(__file__).with_name("watching.py")
# Folders that every command has for itself: a copy of what lies in them would be neither wanted nor small.
_PRIVATE = ("/", "/tmp", "/var/tmp")


class CannotIsolate(RuntimeError):
    """A runner cannot be used here. The message says why, and what cures it."""


class Runner(Protocol):
    """Runs commands that others wrote.

    Each runs in a copy of its folder, which is gone afterwards, with everything that it has started.
    """

    name: str
    """bubblewrap, container or none."""
    groups: bool
    """Whether a control group limits the memory of all processes of a command together."""

    async def run(self, call: Call, limits: Limits, destinations: Sequence[Destination] = ()) -> Finished:
        """Run it; `destinations` are what it may reach. Raises `DeadlineExceeded` and `Unreachable`."""
        ...


@dataclass(frozen=True)
class Order:
    """The launcher's task; `copy` is the folder's copy, from where to where, as the launcher sees it."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    cwd: str
    copy: tuple[str, str] | None
    folders: tuple[str, ...]
    rlimits: list[tuple[int, int, int]]
    uid: int | None
    disk: str | None
    supervise: bool
    drop_rights: bool = False
    filter: bytes | None = None
    """System calls that the launcher is to refuse; none where somebody else does."""
    watched_bytes: int = 0
    """How much memory all processes may have together, where the launcher is to see to that; 0 elsewhere."""
    watched_cpu_s: int = 0
    """How much CPU time they may use together, in the same way."""

    def written(self, gateway: Gateway, status: int) -> int:
        """A descriptor from which the launcher reads the order."""
        document: dict[str, Any] = {
            **self.__dict__,
            "argv": list(self.argv),
            "status": status,
            "socket": gateway.theirs.fileno(),
            "listen": [(each.address, each.port) for each in gateway.listening],
            "aliases": sorted({each.address for each in gateway.listening if each.alias}),
        }
        return in_memory(marshal.dumps(document, 4))


def launcher_argv(descriptor: int) -> tuple[str, ...]:
    """The launcher, by the interpreter itself: a virtual environment would only cost time."""
    return (interpreter(), "-I", "-S", str(LAUNCHER), str(descriptor))


def interpreter() -> str:
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def at_home(environment: Mapping[str, str], home: str) -> dict[str, str]:
    """The variables with this home; a command that was given none has none."""
    return {**environment, "HOME": home} if "HOME" in environment else dict(environment)


def is_private(folder: Path) -> bool:
    """Whether the folder is one that every command has for itself, empty."""
    return os.path.realpath(folder) in _PRIVATE


def in_memory(content: bytes) -> int:
    """A descriptor to a file that is in memory only, at its beginning."""
    descriptor = os.memfd_create("upgradepath")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def read_status(descriptor: int) -> tuple[int, dict[str, int]] | None:
    """Exit code and counts as the launcher wrote them; none when it was killed before it could.

    A command may write there too, so nothing is trusted but that they are numbers.
    """
    os.set_blocking(descriptor, False)
    try:
        words = os.read(descriptor, 200).split()
    except BlockingIOError:
        return None
    try:
        exit_code, disk_full, cpu_ms, peak_kib, kills, refusals = (int(word) for word in words)
    except ValueError:
        return None
    return exit_code, {
        "disk_full": disk_full,
        "cpu_ms": cpu_ms,
        "memory_peak": peak_kib << 10,
        "memory_kills": kills,
        "process_refusals": refusals,
    }
