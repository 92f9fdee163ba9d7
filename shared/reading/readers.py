"""The parent's side: a few children, one reading at a time for each actor, an end for what takes too long.

A reading is a call of a function of a module, whose arguments and result can be pickled. Its exceptions come
out here as they were raised there; a child that dies comes out as `ReaderEnded`.
"""

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from shared.queueing import Queues
from shared.reading.child import OUT_OF_MEMORY
from shared.reading.progress import PROGRESS_BYTES

_P = ParamSpec("_P")
_T = TypeVar("_T")

_IDLE_S = 30.0
_PASSED_ON = ("PATH", "HOME", "LANG", "UPGRADES_CACHE", "TMPDIR")


@dataclass(frozen=True)
class Limits:
    """Of one reading. Memory is the whole address space of its child."""

    cpu_s: float = 10
    deadline_s: float = 60
    memory_bytes: int = 1536 << 20


class ReaderEnded(Exception):
    """The reading ended its reader: `reason` says how, `file` what was being read, if it is known."""

    def __init__(self, reason: str, file: str = "") -> None:
        super().__init__(f"{reason} while it read {file}" if file else reason)
        self.reason = reason
        self.file = file


class Call(Protocol):
    """Calls a function in a child."""

    async def __call__(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T: ...


class Readers:
    """At most `at_once` children, of one event loop; each is started when it is needed and ends when idle."""

    def __init__(self, *, at_once: int = 2, waiting_max: int = 8, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="readers")
        self._idle: list[tuple[_Child, asyncio.TimerHandle]] = []
        self._queues = Queues("files wait to be read", waiting_max)

    async def read(self, actor: str, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call `function` in a child.

        Raises as it does; `ReaderEnded` when it ended its child; `Retry` when too much of the same actor
        waits already.
        """
        async with self.turn(actor) as call:
            return await call(function, *args, **kwargs)

    async def _call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        async with self._free:
            child = self._take()
            loop = asyncio.get_running_loop()
            late = loop.call_later(self._limits.deadline_s, child.end, "took too long")
            try:
                value, error, leaves = await loop.run_in_executor(
                    self._threads, child.call, partial(function, *args, **kwargs), self._limits.cpu_s
                )
            except BaseException:
                # Also when the caller goes away: nothing of it is worth keeping.
                child.end()
                raise
            finally:
                late.cancel()
            if leaves or child.ended:
                child.end()
            else:
                self._idle.append((child, loop.call_later(_IDLE_S, self._end_idle, child)))
            if error is not None:
                raise error
            return value

    def close(self) -> None:
        """End the idle children. Safe to repeat."""
        for child, timer in self._idle:
            timer.cancel()
            child.end()
        self._idle.clear()

    @asynccontextmanager
    async def turn(self, actor: str) -> AsyncIterator["Call"]:
        """The actor's turn, in which it may read several times, by the function that this gives."""
        async with self._queues.turn(actor):
            yield self._call

    def _take(self) -> "_Child":
        while self._idle:
            child, timer = self._idle.pop()
            timer.cancel()
            if child.alive:
                return child
            child.end()
        return _Child(self._limits.memory_bytes)

    def _end_idle(self, child: "_Child") -> None:
        self._idle = [(each, timer) for each, timer in self._idle if each is not child]
        child.end()


class _Child:
    """One process and the socket to it."""

    def __init__(self, memory_bytes: int) -> None:
        self._progress, path = tempfile.mkstemp()
        weakref.finalize(self, os.close, self._progress)
        os.unlink(path)
        os.ftruncate(self._progress, PROGRESS_BYTES)
        ours, theirs = socket.socketpair()
        with theirs:
            handed = (theirs.fileno(), self._progress)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "shared.reading.child", *map(str, handed), str(memory_bytes)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=handed,
                env=_environment(),
                start_new_session=True,
            )
        self._socket = ours
        self._stream = ours.makefile("rwb")
        self._why: str | None = None
        self.ended = False
        weakref.finalize(self, self._process.kill)

    @property
    def alive(self) -> bool:
        return not self.ended and self._process.poll() is None

    def call(self, function: Callable[[], _T], cpu_s: float) -> tuple[_T, Exception | None, bool]:
        """The value, or what the function raised, and whether the child goes now. Blocks until it answers.

        Large values go by pieces, between which others may run.
        """
        try:
            pickle.dump((function, cpu_s), self._stream, protocol=5)
            self._stream.flush()
            packed, leaves = pickle.load(self._stream)
            error: Exception | None = pickle.loads(packed)
            value: Any = None if error is not None else pickle.load(self._stream)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise ReaderEnded(self._ending(cpu_s), self._file()) from None
        if isinstance(error, RecursionError):
            raise ReaderEnded("nested too deeply", self._file())
        return value, error, leaves

    def end(self, why: str | None = None) -> None:
        """Kill it, without asking. Safe to repeat."""
        if self.ended:
            return
        self.ended, self._why = True, why
        self._process.kill()
        # Its memory is given back before it is gone, which may take longer than the loop can wait.
        threading.Thread(target=self._process.wait, daemon=True).start()
        try:
            # A thread may wait for the answer: to close alone would not wake it.
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            self._why = why

    def _ending(self, cpu_s: float) -> str:
        code = self._process.wait()
        if self._why is not None:
            return self._why
        if code == OUT_OF_MEMORY:
            return "took too much memory"
        if code == -signal.SIGXCPU:
            return f"took more than {cpu_s:g} s of CPU time"
        return f"ended its reader ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"

    def _file(self) -> str:
        return os.pread(self._progress, PROGRESS_BYTES, 0).rstrip(b"\0").decode(errors="replace")


def _environment() -> dict[str, str]:
    """What a child needs to import what its parent can; none of what it must not know."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Readers] = weakref.WeakKeyDictionary()


def readers() -> Readers:
    """The children of this event loop, shared by all services of the process."""
    loop = asyncio.get_running_loop()
    if loop not in _of_loops:
        _of_loops[loop] = Readers()
    return _of_loops[loop]
