"""Namespaces by bubblewrap: a read-only system, a folder of its own in memory, and nobody else in sight."""

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from shared.isolation import system
from shared.isolation.cgroups import Cgroups, Group
from shared.isolation.child import Call, Finished, kill_group, run_child
from shared.isolation.limits import Limits, exceeded_by
from shared.isolation.network import Destination, Gateway
from shared.isolation.runner import (
    CannotIsolate,
    Order,
    at_home,
    in_memory,
    interpreter,
    is_private,
    read_status,
)
from shared.isolation.seccomp import seccomp_filter

_NAMESPACES = ("pid", "net", "ipc", "uts", "cgroup-try")
_GONE_WITHIN_S = 10.0


class Bubblewrap:
    """Commands run in their own user, pid, mount, network, ipc, uts and cgroup namespaces.

    As root, each gets a user id that nobody else has, and no user namespace is needed.
    Raises `CannotIsolate` when the program is missing.
    """

    name = "bubblewrap"

    def __init__(self, readable: Sequence[str] = (), cgroups: Cgroups | None = None) -> None:
        program = shutil.which("bwrap")
        if program is None:
            raise CannotIsolate("bubblewrap is not installed: apt-get install bubblewrap")
        self._program = program
        self._readable = tuple(readable)
        self._root = os.geteuid() == 0
        self._cgroups = Cgroups.find() if cgroups is None else cgroups
        self.groups = "memory" in self._cgroups.parents
        self._filters = {counted: seccomp_filter(memory_files=counted) for counted in (False, True)}
        self._files = system.copied()

    async def run(self, call: Call, limits: Limits, destinations: Sequence[Destination] = ()) -> Finished:
        """See `Runner`."""
        if not call.cwd.is_dir():
            raise FileNotFoundError(2, os.strerror(2), str(call.cwd))
        async with self._cgroups.group(limits) as group, Gateway(destinations) as gateway:
            with ExitStack() as stack:
                status, status_writing = _pipe(stack)
                info, info_writing = _pipe(stack)
                counted = "memory" in group.folders
                order = self._order(call, limits, gateway, group).written(gateway, status_writing)
                stack.callback(os.close, order)
                options, files = self._options(call, limits, gateway, info_writing, self._filters[counted])
                for descriptor in files:
                    stack.callback(os.close, descriptor)
                launcher = (interpreter(), "-I", "-S", system.LAUNCHER_INSIDE)
                argv = (*group.prefix, self._program, *options, "--", *launcher)
                ended = _Ended(info)
                outer = replace(
                    call,
                    behind=(*argv, str(order)),
                    cwd=Path("/"),
                    environment={},
                    printed_bytes_max=limits.printed_bytes,
                )

                handed = (order, status_writing, info_writing, gateway.theirs.fileno(), *files)
                try:
                    async with group.watched(limits, ended.kill) as watch:

                        def started(pid: int) -> None:
                            gateway.started()
                            ended.started()
                            watch(pid)

                        finished = await run_child(outer, pass_fds=handed, started=started, kill=ended.kill)
                finally:
                    await asyncio.shield(ended.wait())
                gateway.whole()
                return _verdict(finished, read_status(status), limits, group.counts())

    def _order(self, call: Call, limits: Limits, gateway: Gateway, group: Group) -> Order:
        counted = "memory" in group.folders
        copied = not is_private(call.cwd)
        return Order(
            argv=call.argv,
            environment=at_home(call.environment, system.HOME),
            cwd=system.CHECKOUT if copied else str(call.cwd),
            copy=(system.SOURCE, system.CHECKOUT) if copied else None,
            folders=(system.CHECKOUT, system.HOME),
            rlimits=limits.rlimits(counted=counted),
            uid=system.free_user() if self._root else None,
            disk="/tmp",
            supervise=False,
            watched_bytes=0 if counted else limits.memory_bytes,
            watched_cpu_s=0 if group.counts_cpu else limits.cpu_s,
            drop_rights=not self._root and bool(system.rights_for_network(gateway)),
        )

    def _options(
        self, call: Call, limits: Limits, gateway: Gateway, info: int, denied: bytes | None
    ) -> tuple[list[str], list[int]]:
        """bubblewrap's options, and the descriptors that they name."""
        files: list[int] = []

        def held(content: bytes) -> str:
            files.append(in_memory(content))
            return str(files[-1])

        user = None if self._root else system.USER
        if user is not None and system.rights_for_network(gateway):
            # Another name than root's would be given in a second namespace, which does not own the network.
            user = 0
        options = ["--die-with-parent", "--new-session", "--hostname", "check", "--info-fd", str(info)]
        options += [f"--unshare-{name}" for name in _NAMESPACES]
        if user is not None:
            options += ["--unshare-user", "--uid", str(user), "--gid", str(user)]
        options += ["--cap-drop", "ALL"]
        capabilities = (*(system.OF_ROOT if self._root else ()), *system.rights_for_network(gateway))
        options += [word for name in capabilities for word in ("--cap-add", f"CAP_{name}")]
        options += ["--proc", "/proc", "--dev", "/dev"]
        options += ["--perms", "1777", "--size", str(system.SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm"]
        options += ["--remount-ro", "/dev"]
        options += ["--perms", "1777", "--size", str(limits.disk_bytes), "--tmpfs", "/tmp"]
        shown = system.shown(self._readable)
        # bubblewrap would make the folders above for itself alone.
        above = {str(folder) for path in (*shown, "/var/tmp") for folder in Path(path).parents} - {
            "/",
            "/tmp",
        }
        for folder in sorted(above):
            options += ["--perms", "0755", "--dir", folder]
        options += ["--symlink", "/tmp", "/var/tmp", "--dir", "/run"]
        for path in shown:
            options += ["--ro-bind-try", path, path]
        for path in system.hidden(self._readable):
            options += ["--perms", "0755", "--tmpfs", path, "--remount-ro", path]
        for name in system.LINKS:
            options += _link(f"/{name}")
        for path, content in (self._files | system.made(gateway)).items():
            options += ["--perms", "0644", "--file", held(content), path]
        if not is_private(call.cwd):
            options += ["--ro-bind", str(call.cwd.resolve()), system.SOURCE]
        options += ["--remount-ro", "/", "--chdir", "/"]
        if denied is not None:
            options += ["--seccomp", held(denied)]
        return options, files


class _Ended:
    """When the last process of a sandbox has ended: its first one takes all others along."""

    def __init__(self, info: int) -> None:
        self._info = info
        self._loop = asyncio.get_running_loop()
        self._first = -1
        self._gone = asyncio.Event()
        self._gone.set()

    def started(self) -> None:
        os.set_blocking(self._info, False)
        self._loop.add_reader(self._info, self._read)

    def _read(self) -> None:
        self._loop.remove_reader(self._info)
        with suppress(ValueError, KeyError, OSError):
            self._first = os.pidfd_open(int(json.loads(os.read(self._info, 4096))["child-pid"]))
            self._gone.clear()
            self._loop.add_reader(self._first, self._gone.set)

    def kill(self, pid: int) -> None:
        # Its first process ends with it, and the kernel ends all others with that one.
        kill_group(pid)

    async def wait(self) -> None:
        """Until nothing of the sandbox runs. Raises TimeoutError when the kernel does not end it."""
        self._loop.remove_reader(self._info)
        try:
            async with asyncio.timeout(_GONE_WITHIN_S):
                await self._gone.wait()
        finally:
            if self._first >= 0:
                self._loop.remove_reader(self._first)
                os.close(self._first)


def _verdict(
    finished: Finished, status: tuple[int, dict[str, int]] | None, limits: Limits, counts: dict[str, int]
) -> Finished:
    exit_code, seen = status if status is not None else (finished.exit_code, {})
    # bubblewrap says it as shells do.
    if status is None and exit_code > 128:
        exit_code = 128 - exit_code
    exceeded = finished.exceeded or exceeded_by(limits, exit_code, seen | counts)
    return replace(finished, exit_code=exit_code, exceeded=exceeded)


def _pipe(stack: ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    stack.callback(os.close, writing)
    return reading, writing


def _link(path: str) -> list[str]:
    """The same folder or link as outside."""
    if os.path.islink(path):
        return ["--symlink", os.readlink(path), path]
    return ["--ro-bind", path, path] if os.path.isdir(path) else []
