"""A thread that sees whether the event loop runs. What blocks it blocks every other watchdog there is."""

import asyncio
import contextlib
import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Iterator

log = logging.getLogger(__name__)

EXIT_STUCK = 75
"""EX_TEMPFAIL: start it again. Its consumer or its event loop had come to stand still."""
_LOOKS = 5
_HELD_FACTOR = 10
_SAY_WITHIN_S = 5.0


class _Beats:
    """Says again and again that the loop runs."""

    def __init__(self, blocked_after_s: float) -> None:
        self.last = threading.Event()
        self.every_s = blocked_after_s / _LOOKS
        self._held_after_s = _HELD_FACTOR * blocked_after_s
        self._loop = asyncio.get_running_loop()
        self.beat()

    def beat(self) -> None:
        self.last.set()
        faulthandler.dump_traceback_later(self._held_after_s, exit=True)
        self._next = self._loop.call_later(self.every_s, self.beat)

    def stop(self) -> None:
        self._next.cancel()
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def watched_loop(blocked_after_s: float) -> Iterator[None]:
    """While the block lasts, end the process with EXIT_STUCK when the running loop has not run for so long.

    The log then has the traceback of every thread. A process that was stopped as a whole is not blocked: the
    thread counts its own looks, and it looked no more than the loop ran. Code that keeps the interpreter to
    itself stops this thread, too: after ten times as long faulthandler's own, which needs no interpreter,
    says the same and ends the process with exit code 1.
    """
    beats, over = _Beats(blocked_after_s), threading.Event()
    watch = threading.Thread(
        target=_watch, args=(beats.last, over, beats.every_s), name="watchdog of the loop", daemon=True
    )
    watch.start()
    try:
        yield
    finally:
        beats.stop()
        over.set()
        watch.join()


def _watch(last_beat: threading.Event, over: threading.Event, every_s: float) -> None:
    # One more than fit into the time: the first may come just after a beat.
    missed = 0
    while missed <= _LOOKS:
        if over.wait(every_s):
            return
        missed = 0 if last_beat.is_set() else missed + 1
        last_beat.clear()
    _end(_LOOKS * every_s)


def _end(blocked_s: float) -> None:
    # Whoever blocks the loop may hold what is needed to say so: the log's lock, a pipe that nobody reads.
    hard = threading.Timer(_SAY_WITHIN_S, os._exit, [EXIT_STUCK])
    hard.daemon = True
    hard.start()
    log.critical("the event loop has not run for %g s, the process ends to be started again", blocked_s)
    faulthandler.dump_traceback(sys.stderr, all_threads=True)
    sys.stderr.flush()
    os._exit(EXIT_STUCK)
