"""Doing something again for as long as what fails it passes by itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.errors import Retry
from shared.messaging.backoff import delays_s
from shared.storage.database import is_passing

R = TypeVar("R")

log = logging.getLogger(__name__)


async def until_done(work: Callable[[], Awaitable[R]]) -> R:
    """What it comes to, done again for as long as it fails for a reason that passes."""
    for delay_s in delays_s():
        try:
            return await work()
        except Exception as error:
            if not is_passing(error) and not isinstance(error, Retry):
                raise
            log.warning("consuming waits: %r", error)
        await asyncio.sleep(delay_s)
    raise AssertionError("there is always a next try")
