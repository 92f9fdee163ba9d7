"""How many rows one page takes by their size: a page of large rows would keep everybody waiting for it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, Text, cast, func
from sqlalchemy.ext.asyncio import AsyncSession

PAGE_BYTES_MAX = 1 << 20


def rows_that_fit(sizes: Sequence[int], most: int) -> int:
    """Of rows with these bytes, how many of the first are read: fewer than `most`, one at least."""
    room, fit = PAGE_BYTES_MAX, 0
    for size in sizes[: most - 1]:
        room -= size
        if room < 0 and fit:
            break
        fit += 1
    return fit


async def room_for(session: AsyncSession, query: Select[Any], *documents: Any, most: int) -> tuple[int, bool]:
    """How many rows of the query one page takes, fewer than `most`, and whether more follow.

    Its size is that of these columns, which are not read here.
    """
    size = sum(map(_size, documents[1:]), _size(documents[0]))
    asked = query.with_only_columns(size, maintain_column_froms=True).limit(most)
    sizes = list((await session.execute(asked)).scalars())
    fit = rows_that_fit(sizes, most)
    return fit, len(sizes) > fit


def _size(document: Any) -> Any:
    return func.octet_length(cast(document, Text))
