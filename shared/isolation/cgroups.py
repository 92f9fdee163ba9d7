"""A control group for one command, where we may make one: memory, processes and CPU of all of it together."""

import asyncio
import logging
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from shared.isolation.limits import Limits

log = logging.getLogger(__name__)

_ROOT = Path("/sys/fs/cgroup")
_REMOVED_WITHIN_S = 2.0
_CPU_LOOKS_EVERY_S = 0.5
_OLD_AFTER_S = 600
_COMMAND = "upgradepath"
_LEAF = "upgradepath-worker"
_NEEDED = {"memory", "pids"}
_WANTED = {"memory", "pids", "cpu", "cpuacct"}
"""Version 2 counts CPU time in every group, version 1 by a controller of its own."""
CPU_WEIGHT = 100
"""What everybody has by default: all that a command starts counts as one, however many there are of it."""
# Enters the groups before it becomes the program: nothing of it is ever outside of them.
_ENTER = (
    'for group do shift; [ "$group" = -- ] && break;'
    ' echo $$ > "$group/cgroup.procs" || exit 125; done; exec "$@"'
)


@dataclass
class Group:
    """The groups of one command; without any, `prefix` is empty and nothing is counted."""

    folders: dict[str, Path] = field(default_factory=dict)
    used_up: bool = False
    """It was ended for its CPU time."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before the program's own words."""
        if not self.folders:
            return ()
        paths = dict.fromkeys(str(folder) for folder in self.folders.values())
        return ("/bin/sh", "-c", _ENTER, "enter", *paths, "--")

    def counts(self) -> dict[str, int]:
        """How often something was refused or ended: `memory_kills` and `process_refusals`."""
        memory, pids = self.folders.get("memory"), self.folders.get("pids")
        counts = {}
        if memory is not None:
            counts["memory_kills"] = max(
                _value(memory / name, "oom_kill") for name in ("memory.events", "memory.oom_control")
            )
        if pids is not None:
            counts["process_refusals"] = _value(pids / "pids.events", "max")
        if cpu_ms := self.cpu_ms():
            counts["cpu_ms"] = cpu_ms
        counts["cpu_ended"] = int(self.used_up)
        return counts

    def cpu_ms(self) -> int:
        """The CPU time of all that was ever in the group; 0 where nothing counts it."""
        if "cpuacct" in self.folders:
            return int(_text(self.folders["cpuacct"] / "cpuacct.usage") or 0) // 1_000_000
        return max(
            (_value(folder / "cpu.stat", "usage_usec") // 1000 for folder in self.folders.values()), default=0
        )

    @property
    def counts_cpu(self) -> bool:
        """True when the CPU time of all together is known here."""
        return "cpuacct" in self.folders or any(
            _text(folder / "cpu.stat").startswith("usage_usec") for folder in self.folders.values()
        )

    @asynccontextmanager
    async def watched(
        self, limits: Limits, kill: Callable[[int], None]
    ) -> AsyncIterator[Callable[[int], None]]:
        """`kill` what has used more CPU time with all its children; it is told the pid by what this gives.

        The kernel's limit is of each process, and one that forks for ever begins anew each time.
        """
        watching: list[asyncio.Task[None]] = []

        async def watch(pid: int) -> None:
            # Nothing tells of it: the kernel's files are read now and then.
            while self.cpu_ms() < limits.cpu_s * 1000:  # noqa: ASYNC110
                await asyncio.sleep(_CPU_LOOKS_EVERY_S)
            self.used_up = True
            kill(pid)

        try:
            yield lambda pid: watching.append(asyncio.create_task(watch(pid))) if self.folders else None
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)


@dataclass(frozen=True)
class Cgroups:
    """The folders below which we may make groups, by controller; `version` is the kernel's interface."""

    version: int
    parents: dict[str, Path]

    @classmethod
    def find(cls, root: Path = _ROOT, own: Path = Path("/proc/self/cgroup")) -> "Cgroups":
        """Those of this process, as the file `own` names them; nothing where we may not write."""
        ours: dict[str, str] = {}
        with suppress(OSError):
            for line in own.read_text().splitlines():
                _, names, path = line.split(":", 2)
                ours.update(dict.fromkeys(names.split(","), path))
        unified = root / ours.get("", "/").lstrip("/")
        if given := _given(unified):
            _sweep({given[0]})
            return cls(2, dict.fromkeys(_WANTED & given[1], given[0]))
        parents = {name: root / name / ours.get(name, "").lstrip("/") for name in _WANTED}
        usable = {
            name: folder
            for name, folder in parents.items()
            if name in ours and folder.is_dir() and os.access(folder, os.W_OK)
        }
        _sweep(set(usable.values()))
        return cls(1, usable)

    @asynccontextmanager
    async def group(self, limits: Limits) -> AsyncIterator[Group]:
        """Groups with these limits, which are gone when the block ends."""
        group, made = Group(), self._make()
        try:
            for name, folder in made.items():
                if self._limit(name, folder, limits):
                    group.folders[name] = folder
            yield group
        finally:
            # The kernel may need a moment for it.
            await asyncio.shield(asyncio.to_thread(_end_all, set(made.values())))

    def _make(self) -> dict[str, Path]:
        label = f"{_COMMAND}-{secrets.token_hex(8)}"
        made = {name: parent / label for name, parent in self.parents.items()}
        done: list[Path] = []
        try:
            for folder in set(made.values()):
                folder.mkdir()
                done.append(folder)
        except OSError:
            for folder in done:
                folder.rmdir()
            return {}
        return made

    def _limit(self, name: str, folder: Path, limits: Limits) -> bool:
        # What is written to the folder in memory counts too.
        memory = str(limits.memory_bytes + limits.disk_bytes)
        pids = {"pids.max": str(limits.processes)}
        files = {
            ("memory", 1): {"memory.limit_in_bytes": memory},
            ("memory", 2): {"memory.max": memory, "memory.swap.max": "0"},
            ("pids", 1): pids,
            ("pids", 2): pids,
            ("cpu", 1): {"cpu.shares": str(CPU_WEIGHT * 1024 // 100)},
            ("cpu", 2): {"cpu.weight": str(CPU_WEIGHT)},
            ("cpuacct", 1): {},
        }[name, self.version]
        try:
            for file, value in files.items():
                (folder / file).write_text(value)
        except OSError:
            return False
        return True


def _text(file: Path) -> str:
    with suppress(OSError):
        return file.read_text()
    return ""


def _value(file: Path, name: str) -> int:
    with suppress(OSError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0


def _given(ours: Path) -> tuple[Path, set[str]] | None:
    """The group below which we may make others (version 2), and its controllers; none where we may not.

    A group that was given to us alone is made ready first: where a group has others below it, processes live
    in those, so we move into one. Source: Linux' `cgroup-v2.rst`, "No Internal Process Constraint".
    """
    try:
        for group in (ours.parent, ours) if ours.name == _LEAF else (ours,):
            if not os.access(group / "cgroup.subtree_control", os.W_OK) or not os.access(group, os.W_OK):
                continue
            given = _words(group / "cgroup.subtree_control")
            if given >= _NEEDED:
                return group, given
            offered = _WANTED & _words(group / "cgroup.controllers")
            if offered >= _NEEDED and _lives_alone(group):
                _move_down(group)
                (group / "cgroup.subtree_control").write_text(
                    " ".join(f"+{name}" for name in sorted(offered))
                )
                return group, offered
    except OSError as refused:
        log.warning("the control group %s is not ours to divide: %s", ours, refused)
    return None


def _words(file: Path) -> set[str]:
    return set(file.read_text().split())


def _lives_alone(group: Path) -> bool:
    """Whether nobody but this process and what it has started is in the group."""
    mine = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    return {int(pid) for pid in _words(group / "cgroup.procs")} <= mine


def _move_down(group: Path) -> None:
    leaf = group / _LEAF
    leaf.mkdir(exist_ok=True)
    for pid in _words(group / "cgroup.procs"):
        # It may have ended meanwhile.
        with suppress(ProcessLookupError):
            (leaf / "cgroup.procs").write_text(pid)


def _sweep(parents: set[Path]) -> None:
    """Remove groups that killed workers left; a new one is kept, as its first process may come yet."""
    before = time.time() - _OLD_AFTER_S
    for parent in parents:
        for left in parent.glob(f"{_COMMAND}-{'[0-9a-f]' * 16}"):
            # Another worker may sweep too, and the kernel keeps a group that is used.
            with suppress(OSError):
                if left.stat().st_ctime < before:
                    left.rmdir()


def _end_all(folders: Iterable[Path]) -> None:
    """End and remove each; what the kernel keeps for now is left to the next worker's sweep. Blocks."""
    for folder in folders:
        try:
            _end(folder)
            _remove(folder)
        except OSError as error:
            log.warning("the control group %s stays behind: %s", folder, error)


def _end(folder: Path) -> None:
    """Kill what is left in a group: it has no other way out than by the hand of root."""
    end = time.monotonic() + _REMOVED_WITHIN_S
    while time.monotonic() < end:
        left = (folder / "cgroup.procs").read_text().split()
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.001)


def _remove(folder: Path) -> None:
    """A group can be removed once its last process is gone, which the kernel needs a moment for."""
    end = time.monotonic() + _REMOVED_WITHIN_S
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.001)
        else:
            return
