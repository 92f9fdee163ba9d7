"""Ending a task that works in the background, and work that has to come to its end."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)

_AGAIN_S = 1.0


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel the task until it has ended; if it broke before, say so.

    Once is not enough: a library may swallow a cancellation that arrives together with what it waited
    for (`asyncio.wait_for` of Python 3.11 does), and its caller would work on for ever.
    """
    if task is None:
        return
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_AGAIN_S)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s had broken", task.get_name(), exc_info=error)


async def to_its_end(work: Coroutine[Any, Any, Any]) -> None:
    """Await the work to its end, however often the caller is cancelled meanwhile; it is cancelled then.

    For what clears up: `end` cancels again and again.
    """
    task = asyncio.create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError
