"""Which file is being read now: known also when the reader does not live to tell."""

import mmap

PROGRESS_BYTES = 512
_shown: mmap.mmap | None = None


def show_in(fd: int) -> None:
    """From here on, in this process, `now_reading` writes to this file."""
    global _shown
    _shown = mmap.mmap(fd, PROGRESS_BYTES)


def now_reading(name: str) -> None:
    """Say which file comes next. Outside a child it does nothing."""
    if _shown is not None:
        _shown[:] = name.encode(errors="replace")[:PROGRESS_BYTES].ljust(PROGRESS_BYTES, b"\0")
