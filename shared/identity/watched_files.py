"""Files that are read again when they change, while whoever reads them goes on running."""

from pathlib import Path

Stamp = tuple[int, int, int, int]


def stamp(path: Path) -> Stamp:
    """Another value whenever the file may have another text, also where its date was kept. Raises OSError."""
    seen = path.stat()
    return seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino
