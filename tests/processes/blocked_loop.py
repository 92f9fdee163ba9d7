"""A program whose event loop does not run any more, in one of several ways."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import sys
import threading
from contextlib import suppress

from local.ports import free_port
from services.processes import build, serve
from services.watchdog import watched_loop

FOR_S = 60


def asleep() -> None:
    """Waits, and lets other threads run meanwhile."""
    threading.Event().wait(FOR_S)


def greedy() -> None:
    """Keeps the interpreter to itself, as an extension in C may."""
    ctypes.PyDLL(None).sleep(FOR_S)


async def allowed_time(seconds: float) -> None:
    """Lets the loop run for so long: that nothing happens in that time is what is looked at."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


class Blocking:
    """A part of a service that blocks the loop as it starts."""

    async def start(self) -> None:
        asleep()

    async def stop(self) -> None:
        """Never comes."""


async def main(way: str, blocked_after_s: float) -> None:
    if way == "service":
        service = build("notifier")
        service.parts = [Blocking()]
        await serve([service], "127.0.0.1", free_port())
    with watched_loop(blocked_after_s):
        if way == "idle":
            # As long as it takes somebody to stop the whole process and let it go on.
            print("runs", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            await allowed_time(2 * blocked_after_s)
            return
        {"asleep": asleep, "greedy": greedy}[way]()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
