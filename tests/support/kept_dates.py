"""A file that is written again and keeps its size and date, as `cp --preserve` or a backup leaves it."""

import os
import time
from pathlib import Path

_AT_MOST_S = 10.0


def write_keeping_date(path: Path, text: str) -> None:
    """Until the file system's clock has moved on: it may be a coarse one."""
    before, until_s = path.stat(), time.monotonic() + _AT_MOST_S
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        assert time.monotonic() < until_s, "the file system keeps no date of a change"
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
