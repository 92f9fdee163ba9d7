"""A program that runs for as long as we need it and never outlives us."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LOG_TAIL_LINES = 15
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class CannotStart(RuntimeError):
    """A program cannot run here. The message says why, and what cures it."""


def _new_spawner() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


# Linux signals a child when the *thread* that made it ends, not its process. This thread ends with the
# interpreter, so whoever starts a Child, from whatever thread, has it until the process ends.
_spawner = _new_spawner()


def _renew_spawner() -> None:
    global _spawner
    _spawner = _new_spawner()


os.register_at_fork(after_in_child=_renew_spawner)


def die_with(parent_pid: int, death_signal: signal.Signals) -> None:
    """Called in a child: from here on the kernel sends it death_signal when its parent ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent_pid:
        # The parent ended before the kernel knew whom to tell.
        os._exit(1)


class Child:
    """One running program, in a session of its own so that Ctrl-C reaches only us and we choose the order.

    On Linux it gets `death_signal` however our process ends (SIGKILL included); elsewhere only `stop` and
    `kill` end it. Standard output and error are appended to `log`.
    Raises CannotStart when the program cannot be executed at all.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        env: Mapping[str, str],
        death_signal: signal.Signals = signal.SIGKILL,
        user: str | None = None,
    ) -> None:
        self.name = Path(argv[0]).name
        self.log = log
        start = partial(
            subprocess.Popen[bytes],
            list(argv),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
            preexec_fn=partial(die_with, os.getpid(), death_signal),
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        with log.open("ab") as output:
            try:
                self._process = _spawner.submit(start, stdout=output).result()
            except OSError as error:
                raise CannotStart(f"{argv[0]} cannot be executed: {error}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int:
        """The exit code of a program that ends by itself. CannotStart, and its end, when it is too slow."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise CannotStart(f"{self.name} did not end within {timeout_s:g} s{self.log_tail()}") from None
        finally:
            self.kill()

    def stop(self, *signals: signal.Signals, patience_s: float) -> None:
        """Asks with each signal in turn, waiting `patience_s` after each, then kills. Safe to repeat."""
        for number in signals:
            if not self.running:
                return
            self._process.send_signal(number)
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        self.kill()

    def kill(self) -> None:
        """Ends the program at once, without a chance to tidy up. Safe to repeat."""
        self._process.kill()
        self._process.wait()

    def log_tail(self) -> str:
        """The end of the log, for an error message; empty when nothing was written."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "".join(f"\n  {line}" for line in lines)
