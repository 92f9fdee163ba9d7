"""What a program prints, read as it comes and kept within bounds."""

import asyncio
import os
from collections.abc import Callable

from shared.isolation.limits import size

_CHUNK_BYTES = 1 << 16
_CHUNKS_AFTER_EXIT = 32


class _Pipe:
    """One pipe, read by the event loop. The loop's own pipes would wait for every holder of the end."""

    def __init__(self, bytes_max: int) -> None:
        self.data = bytearray()
        self.truncated = False
        self.read_bytes = 0
        self.on_data: Callable[[], None] | None = None
        self._bytes_max = bytes_max
        self._loop = asyncio.get_running_loop()
        self._reading, self.writing = os.pipe()
        self._open = True
        os.set_blocking(self._reading, False)
        self._loop.add_reader(self._reading, self._read)

    def _read(self) -> bool:
        try:
            chunk = os.read(self._reading, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self._loop.remove_reader(self._reading)
            return False
        self.data += chunk
        self.read_bytes += len(chunk)
        if len(self.data) > self._bytes_max:
            self.truncated = True
            del self.data[: len(self.data) - self._bytes_max]
        if self.on_data is not None:
            self.on_data()
        return True

    def drain(self) -> None:
        """Read what is in the pipe now; a survivor that writes for ever is not followed."""
        for _ in range(_CHUNKS_AFTER_EXIT):
            if not self._read():
                return

    def close_writing(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        self.close_writing()
        if self._open:
            self._open = False
            self._loop.remove_reader(self._reading)
            os.close(self._reading)


class Outputs:
    """Standard output and error: one pipe for both, in the order of writing, or one for each."""

    def __init__(self, bytes_max: int, separate: bool) -> None:
        self.out = _Pipe(bytes_max)
        self.err = _Pipe(bytes_max) if separate else self.out
        self.exceeded: str | None = None
        self._pipes = (self.out, self.err) if separate else (self.out,)

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()

    def started(self, printed_bytes_max: int | None, kill: Callable[[], None]) -> None:
        """The child has the writing ends now; with ours closed, its end is seen as the end.

        A program that prints more than `printed_bytes_max` in all is killed.
        """
        for pipe in self._pipes:
            pipe.close_writing()
        if printed_bytes_max is None:
            return

        def look() -> None:
            if self.exceeded is None and sum(pipe.read_bytes for pipe in self._pipes) > printed_bytes_max:
                self.exceeded = f"printed more than {size(printed_bytes_max)}"
                kill()

        for pipe in self._pipes:
            pipe.on_data = look

    @property
    def truncated(self) -> bool:
        return any(pipe.truncated for pipe in self._pipes)

    def text(self) -> str:
        """Everything printed so far, as text that a database takes: a NUL is no character of it."""
        for pipe in self._pipes:
            pipe.drain()
        return (
            b"".join(bytes(pipe.data) for pipe in self._pipes)
            .decode(errors="replace")
            .replace("\0", "\ufffd")
        )
