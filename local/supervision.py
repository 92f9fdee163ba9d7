"""The programs that a world runs on: one that has ended or hangs is started again, or the world ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from local.process import CannotStart
from shared import background

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_ENDS_MAX = 3
_WITHIN_S = 60.0
_ASK_EVERY_S = 5.0
_ANSWER_WITHIN_S = 10.0
_SILENT_MAX = 6
"""Questions in a row without an answer, 90 s: a busy machine answers late, and a broker that is started again
has lost its messages."""


@dataclass
class Program:
    """One of them. `start_again` returns once it answers, and raises CannotStart when it cannot."""

    name: str
    is_running: Callable[[], bool]
    start_again: Callable[[], Awaitable[None]]
    keeps: str
    """What of it is there again afterwards, for people."""
    ask: Callable[[], Awaitable[object]] | None = None
    """Returns once it has answered a question, and raises when it does not."""
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=_ENDS_MAX))
    silent: int = 0
    """How many questions in a row had no answer."""


async def supervise(
    programs: Sequence[Program],
    look_s: float = _LOOK_S,
    ask_every_s: float = _ASK_EVERY_S,
    answer_within_s: float = _ANSWER_WITHIN_S,
) -> NoReturn:
    """Look at each again and again, and ask it. Raises CannotStart when one does not start, or ends over and
    over.
    """
    asking = [asyncio.create_task(_ask(program, ask_every_s, answer_within_s)) for program in programs]
    try:
        while True:
            await asyncio.sleep(look_s)
            for program in programs:
                if not program.is_running():
                    await _start_again(program, "has ended")
                elif program.silent >= _SILENT_MAX:
                    await _start_again(program, f"does not answer ({program.silent} questions in a row)")
    finally:
        for task in asking:
            await background.end(task)


async def _ask(program: Program, every_s: float, within_s: float) -> None:
    """Count the questions that stay without an answer. What has ended, or starts again, is not asked."""
    while program.ask is not None:
        await asyncio.sleep(every_s)
        if not program.is_running():
            continue
        begun = len(program.ends)
        try:
            async with asyncio.timeout(within_s):
                await program.ask()
        except Exception as error:
            log.debug("%s: %r", program.name, error)
            program.silent += 1 if len(program.ends) == begun and program.is_running() else 0
        else:
            program.silent = 0


async def _start_again(program: Program, why: str) -> None:
    now = time.monotonic()
    if len(program.ends) == _ENDS_MAX and now - program.ends[0] < _WITHIN_S:
        raise CannotStart(f"{program.name} has ended {_ENDS_MAX + 1} times within {_WITHIN_S:g} s")
    program.ends.append(now)
    log.warning("%s %s: starting it again", program.name, why)
    try:
        await program.start_again()
    except CannotStart as error:
        raise CannotStart(f"{program.name} {why}, and does not start again: {error}") from error
    program.silent = 0
    log.warning("%s runs again; %s", program.name, program.keeps)
