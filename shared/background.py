"""Ending a task that works in the background."""

import asyncio
import logging
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
