"""A command that works longer than two seconds says what it is doing, on stderr: one mechanism for all.

Answers stay what they are: nothing of this goes to stdout. Whoever speaks for itself (a live table, a server
that runs until it is stopped) says so by `silent`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_FIRST_AFTER_S = 2.0
_AGAIN_AFTER_S = 15.0


class Progress:
    """What is being done, innermost last, and a thread that says it when nothing has been said for long."""

    def __init__(self, tell: Callable[[str], None], first_after_s: float = _FIRST_AFTER_S) -> None:
        self._tell = tell
        self._first_after_s = first_after_s
        self._doing: list[str | None] = []
        self._told: str | None = None
        self._changed = threading.Condition()
        self._quiet_since = time.monotonic()
        self._over = False

    @contextmanager
    def running(self, what: str) -> Iterator[None]:
        """Watch a whole command."""
        thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        thread.start()
        try:
            with self.doing(what):
                yield
        finally:
            with self._changed:
                self._over = True
                self._changed.notify()
            thread.join()

    @contextmanager
    def doing(self, what: str | None) -> Iterator[None]:
        """This is being done inside the block; none: whoever does it speaks for itself."""
        with self._changed:
            self._doing.append(what)
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._doing.pop()
                self._quiet_since = time.monotonic()
                self._changed.notify()

    def _watch(self) -> None:
        began = time.monotonic()
        with self._changed:
            while not self._over:
                what = self._doing[-1] if self._doing else None
                if what is None:
                    self._changed.wait()
                    continue
                again = what == self._told
                due = self._quiet_since + (_AGAIN_AFTER_S if again else self._first_after_s)
                if (left := due - time.monotonic()) > 0:
                    self._changed.wait(left)
                    continue
                self._told, self._quiet_since = what, time.monotonic()
                self._tell(f"{what} … ({time.monotonic() - began:.0f} s)")


_current: Progress | None = None


@contextmanager
def watched(what: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Watch one command: from here on `doing` says what it does."""
    global _current
    outer, _current = _current, Progress(tell)
    try:
        with _current.running(what):
            yield
    finally:
        _current = outer


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say this when the block takes long."""
    if _current is None:
        yield
        return
    with _current.doing(what):
        yield


@contextmanager
def silent() -> Iterator[None]:
    """The block speaks for itself."""
    if _current is None:
        yield
        return
    with _current.doing(None):
        yield
