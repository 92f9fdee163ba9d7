"""The tokens that somebody has called back: a file with a `jti` on each line, read anew when it changes.

It lays the ground: whoever runs the services writes the file, to every machine of theirs.
"""

import logging
from pathlib import Path

log = logging.getLogger(__name__)

_BYTES_MAX = 1 << 20


class RevokedTokens:
    """Answers from memory; the file is looked at each time, and read only when it is another one."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be read, and ValueError for one of more than 1 MiB."""
        self._path = path
        self._seen = self._state()
        self._ids = self._read()

    def has(self, token_id: str) -> bool:
        """True when it is called back. While the file cannot be read, its last text counts."""
        try:
            state = self._state()
            if state != self._seen:
                self._ids, self._seen = self._read(), state
        except (OSError, ValueError) as error:
            log.warning("the list of revoked tokens cannot be read, its last text counts: %s", error)
        return token_id in self._ids

    def _state(self) -> tuple[int, int, int]:
        seen = self._path.stat()
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

    def _read(self) -> frozenset[str]:
        with self._path.open("rb") as file:
            data = file.read(_BYTES_MAX + 1)
        if len(data) > _BYTES_MAX:
            raise ValueError(f"{self._path} has more than {_BYTES_MAX} bytes: leave out what has expired")
        lines = (line.strip() for line in data.decode("utf-8-sig", errors="replace").splitlines())
        return frozenset(line for line in lines if line and not line.startswith("#"))
