"""Work on many records in portions, between which the event loop comes round."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from shared.messaging.record import Record

_RECORDS, _HEADERS, _BYTES = 250, 8_000, 8 << 20
"""Of one portion, at the most: each of them is some hundredths of a second of work."""
_BUSY_S = 0.02

T = TypeVar("T")


def portions(found: Sequence[tuple[Record, T]]) -> Iterator[list[tuple[Record, T]]]:
    """The records in their order, each with its finding, in portions of bounded work; none is empty."""
    portion: list[tuple[Record, T]] = []
    headers = size = 0
    for record, finding in found:
        more_headers, more_bytes = len(record.headers), len(record.key or b"") + len(record.value or b"")
        full = len(portion) == _RECORDS or headers + more_headers > _HEADERS or size + more_bytes > _BYTES
        if portion and full:
            yield portion
            portion, headers, size = [], 0, 0
        portion.append((record, finding))
        headers, size = headers + more_headers, size + more_bytes
    if portion:
        yield portion


class Pauses:
    """Lets the event loop come round once some work has kept it for a while."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    async def look(self) -> None:
        """To be awaited between any two steps."""
        if time.monotonic() - self._began_s > _BUSY_S:
            await asyncio.sleep(0)
            self._began_s = time.monotonic()
