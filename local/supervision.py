"""The programs that a world runs on: one that has ended is started again, or the world ends with a word."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from local.process import CannotStart

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_ENDS_MAX = 3
_WITHIN_S = 60.0


@dataclass
class Program:
    """One of them. `start_again` returns once it answers, and raises CannotStart when it cannot."""

    name: str
    is_running: Callable[[], bool]
    start_again: Callable[[], Awaitable[None]]
    keeps: str
    """What of it is there again afterwards, for people."""
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=_ENDS_MAX))


async def supervise(programs: Sequence[Program], look_s: float = _LOOK_S) -> NoReturn:
    """Look at each again and again. Raises CannotStart when one does not start, or ends over and over."""
    while True:
        await asyncio.sleep(look_s)
        for program in programs:
            if not program.is_running():
                await _start_again(program)


async def _start_again(program: Program) -> None:
    now = time.monotonic()
    if len(program.ends) == _ENDS_MAX and now - program.ends[0] < _WITHIN_S:
        raise CannotStart(f"{program.name} has ended {_ENDS_MAX + 1} times within {_WITHIN_S:g} s")
    program.ends.append(now)
    log.warning("%s has ended: starting it again", program.name)
    try:
        await program.start_again()
    except CannotStart as error:
        raise CannotStart(f"{program.name} has ended, and does not start again: {error}") from error
    log.warning("%s runs again; %s", program.name, program.keeps)
