"""How many rows one page takes by their size: a page of large rows would keep everybody waiting for it."""

from collections.abc import Sequence

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
