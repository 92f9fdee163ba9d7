"""A container of podman or Docker for each command: an image's system, or this machine's, read-only."""

import asyncio
import os
import socket
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from shared.isolation import system
from shared.isolation.child import Call, Finished, kill_group, run_child
from shared.isolation.engine import Engine, engine_variables
from shared.isolation.leftovers import remove_tree
from shared.isolation.limits import Limits, exceeded_by
from shared.isolation.network import Destination, Gateway
from shared.isolation.runner import (
    CannotIsolate,
    Order,
    at_home,
    interpreter,
    is_private,
    read_status,
)
from shared.isolation.scratch import locked_folder, sweep
from shared.isolation.seccomp import seccomp_filter

_NAME = "upgradepath-container"
_SOCKET = "/worker.socket"
_ENDS_WITHIN_S = 5.0
_SEEN_FOLDER, _SEEN_FILE = 0o755, 0o644
"""Modes under any mask of the worker: a command has another user, and must see its system."""
_SMALL_USERS = range(20_000, 60_000)
"""Where user ids are mapped, there are 65 536 of them."""


class Container:
    """Commands run in a container each, which is removed with everything in it when they end.

    `engine` names the program and its options (empty: the first that is installed), `image` an image that is
    already on this machine and has Python; empty: this machine's own system, with podman alone.
    Blocks. Raises `CannotIsolate` when there is no engine, or none that answers.
    """

    name = "container"

    def __init__(self, engine: str = "", image: str = "", readable: Sequence[str] = ()) -> None:
        self._engine = Engine.find(engine)
        if not image and not self._engine.is_podman:
            raise CannotIsolate(
                "docker needs an image: pull one that has Python and what checks call, and name it in"
                " UPGRADES_RUNNER_IMAGE"
            )
        self._image = image
        self._readable = tuple(readable)
        self.groups = "memory" in self._engine.controllers
        self._filter = seccomp_filter(memory_files=self.groups)
        self._files = system.copied()
        sweep(Path(tempfile.gettempdir()), f"{_NAME}-*", self._clear)

    async def run(self, call: Call, limits: Limits, destinations: Sequence[Destination] = ()) -> Finished:
        """See `Runner`. Raises `CannotIsolate` when the engine starts no container."""
        if not call.cwd.is_dir():
            raise FileNotFoundError(2, os.strerror(2), str(call.cwd))
        with locked_folder(Path(tempfile.gettempdir()), _NAME) as folder:
            clear = self._clear
            try:
                async with Gateway(destinations) as gateway:
                    finished, in_order = await self._run(call, limits, gateway, folder)
                if in_order:
                    # The engine's program ends when it has removed the container.
                    clear = remove_tree
                return finished
            finally:
                await asyncio.shield(asyncio.to_thread(clear, folder))

    async def _run(self, call: Call, limits: Limits, gateway: Gateway, folder: Path) -> tuple[Finished, bool]:
        with ExitStack() as stack:
            status, status_writing = os.pipe()
            for descriptor in (status, status_writing):
                stack.callback(os.close, descriptor)
            order = self._order(call, limits).written(gateway, status_writing)
            stack.callback(os.close, order)
            words = self._words(call, limits, gateway, folder)
            control = stack.enter_context(_Control(folder / "socket", gateway, order, status_writing))
            outer = replace(
                call,
                behind=tuple(words),
                cwd=Path("/"),
                environment=engine_variables(),
                printed_bytes_max=limits.printed_bytes,
            )
            finished = await run_child(outer, started=lambda pid: control.started(), kill=control.end)
            told = read_status(status)
        gateway.whole()
        if told is None and not control.met and not finished.exceeded:
            raise CannotIsolate(self._engine.why(finished.output))
        exit_code, seen = told if told is not None else (finished.exit_code, {})
        if told is None and exit_code > 128:
            exit_code = 128 - exit_code
        exceeded = finished.exceeded or exceeded_by(limits, exit_code, seen)
        return replace(finished, exit_code=exit_code, exceeded=exceeded), told is not None

    def _order(self, call: Call, limits: Limits) -> Order:
        copied = not is_private(call.cwd)
        user = system.free_user(_SMALL_USERS) if self._mapped() else system.free_user()
        return Order(
            argv=call.argv,
            environment=at_home(call.environment, system.HOME),
            cwd=system.CHECKOUT if copied else str(call.cwd),
            copy=(system.SOURCE, system.CHECKOUT) if copied else None,
            folders=(system.CHECKOUT, system.HOME),
            rlimits=limits.rlimits(counted=self.groups),
            uid=user,
            disk="/tmp",
            supervise=False,
            filter=self._filter,
            watched_bytes=0 if self.groups else limits.memory_bytes,
            watched_cpu_s=limits.cpu_s,
        )

    def _mapped(self) -> bool:
        return self._engine.rootless or not self._engine.is_podman

    def _words(self, call: Call, limits: Limits, gateway: Gateway, folder: Path) -> list[str]:
        words = self._engine.run(folder.name, limits, call.deadline_s, interactive=call.stdin is not None)
        for right in (*system.OF_ROOT, *system.rights_for_network(gateway)):
            words += ["--cap-add", right]
        if not is_private(call.cwd):
            words += _mount(str(call.cwd.resolve()), system.SOURCE)
        words += _mount(str(folder / "socket"), _SOCKET)
        for path in ("/etc/hosts", "/etc/resolv.conf"):
            # The engine would write its own, with names of the machine's.
            words += _mount(str(_written(folder, path, system.made(gateway).get(path, b""))), path)
        launcher = ["-I", "-S", system.LAUNCHER_INSIDE, _SOCKET]
        if self._image:
            for path in (system.LAUNCHER_INSIDE, system.WATCHING_INSIDE):
                words += _mount(str(_written(folder, path, self._files[path])), path)
            for path in self._readable:
                words += _mount(path, path)
            return [*words, "--entrypoint", "python3", self._image, *launcher]
        for path in system.shown(self._readable):
            words += _mount(path, path)
        empty = folder / "empty"
        empty.mkdir()
        empty.chmod(_SEEN_FOLDER)
        for path in system.hidden(self._readable):
            words += _mount(str(empty), path)
        root = folder / "root"
        self._build(root, gateway)
        return [*words, "--entrypoint", interpreter(), "--rootfs", str(root), *launcher]

    def _build(self, root: Path, gateway: Gateway) -> None:
        """A root with nothing in it but places for mounts, links, and small files."""
        root.mkdir()
        shown = system.shown(self._readable)
        folders = ("/proc", "/sys", "/dev", "/tmp", "/run", "/etc", "/var", system.SOURCE, *shown)
        for path in folders:
            place = root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(exist_ok=True) if os.path.isdir(path) or path == system.SOURCE else place.touch()
        for name in system.LINKS:
            if os.path.islink(f"/{name}"):
                (root / name).symlink_to(os.readlink(f"/{name}"))
        for path, content in (self._files | system.made(gateway) | {_SOCKET: b""}).items():
            place = root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        _let_read(root)
        # podman gives a memory's folder the rights of the one below.
        (root / "tmp").chmod(0o1777)
        (root / "var/tmp").symlink_to("/tmp")

    def _clear(self, folder: Path) -> None:
        """The container of a folder, and the folder."""
        self._engine.remove(folder.name)
        remove_tree(folder)


class _Control:
    """The launcher's line to us: it takes its order from there, and ends everything when the line ends."""

    def __init__(self, path: Path, gateway: Gateway, order: int, status: int) -> None:
        self.met = False
        """Whether the launcher has come."""
        self._gateway = gateway
        self._handed = (order, status)
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        self._line: socket.socket | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A socket's path is short, and a temporary folder's may be long.
        above = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self._listener.bind(f"/proc/self/fd/{above}/{path.name}")
        finally:
            os.close(above)
        self._listener.listen(1)
        self._listener.setblocking(False)

    def __enter__(self) -> "_Control":
        return self

    def __exit__(self, *_: object) -> None:
        if self._later is not None:
            self._later.cancel()
        self._close()

    def started(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            self._line, _ = self._listener.accept()
            # Nobody else comes: the command finds a socket that nobody hears.
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self.met = True
            # It has gone again already, and the engine says why.
            with suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self._line, [b"x"], [*self._handed, self._gateway.theirs.fileno()])
            self._gateway.started()

    def end(self, pid: int) -> None:
        """End the container, and the engine's program when that does not help."""
        self._close()
        self._later = self._loop.call_later(_ENDS_WITHIN_S, kill_group, pid)

    def _close(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        if self._line is not None:
            self._line.close()


def _mount(source: str, target: str) -> list[str]:
    """A read-only mount; the value is a line of CSV, in which a path may hold anything."""
    words = ("type=bind", f"source={source}", f"target={target}", "readonly")
    return ["--mount", ",".join('"' + word.replace('"', '""') + '"' for word in words)]


def _written(folder: Path, path: str, content: bytes) -> Path:
    file = folder / path.strip("/").replace("/", "-")
    file.write_bytes(content)
    file.chmod(_SEEN_FILE)
    return file


def _let_read(root: Path) -> None:
    """Give what the worker has written the modes that a system's files have."""
    for place in (root, *root.rglob("*")):
        if not place.is_symlink():
            place.chmod(_SEEN_FOLDER if place.is_dir() else _SEEN_FILE)
