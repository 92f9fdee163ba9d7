"""Run one program to its end: its own process group, a clean environment, a deadline, bounded output."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 1 << 16
_CHUNKS_AFTER_EXIT = 32


@dataclass(frozen=True)
class Finished:
    """How a program ended. `output` is what it printed, or the end of that when `truncated`.

    With `separate`, `stdout` and `stderr` hold the two streams as bytes, and `output` is the text of both.
    """

    exit_code: int
    output: str
    truncated: bool
    duration_ms: int
    stdout: bytes = b""
    stderr: bytes = b""


class DeadlineExceeded(Exception):
    """The program ran longer than it may, and was killed with its whole group."""

    def __init__(self, argv: Sequence[str], deadline_s: float, output: str) -> None:
        super().__init__(f"{argv[0]} did not end within {deadline_s:g} s")
        self.argv = tuple(argv)
        self.deadline_s = deadline_s
        self.output = output


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    deadline_s: float,
    stdin: bytes | None = None,
    output_bytes_max: int = 1 << 20,
    survivors: bool = False,
    separate: bool = False,
) -> Finished:
    """Run `argv` in a session of its own with exactly `environment`; return when it, not its children, ends.

    Whatever is left of its process group is then killed, unless `survivors`; what detached itself into
    another session lives on, and a pipe that it holds open does not keep us. Keeps the last
    `output_bytes_max` bytes of each stream. Exit code 127 (126) when the program is not there (may not be
    executed), a negative one for a signal. Cancelling kills the group. Raises `DeadlineExceeded` after
    killing it.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as given, _Outputs(output_bytes_max, separate) as outputs:
        given.write(stdin or b"")
        given.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env=dict(environment),
                stdin=given,
                stdout=outputs.out.writing,
                stderr=outputs.err.writing,
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError) as error:
            if str(error.filename) == str(cwd):
                raise
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return Finished(code, f"{argv[0]}: {error.strerror}\n", False, _since(started))
        outputs.started()
        try:
            exit_code = await _exit_code(process, deadline_s)
        except TimeoutError:
            raise DeadlineExceeded(argv, deadline_s, outputs.text()) from None
        if not survivors:
            _kill_group(process.pid)
        text = outputs.text()
        return Finished(
            exit_code,
            text,
            outputs.truncated,
            _since(started),
            stdout=bytes(outputs.out.data) if separate else b"",
            stderr=bytes(outputs.err.data) if separate else b"",
        )


async def _exit_code(process: asyncio.subprocess.Process, deadline_s: float) -> int:
    """What it ends with. Raises TimeoutError; whatever is raised, its group is killed first."""
    try:
        async with asyncio.timeout(deadline_s):
            return await process.wait()
    except BaseException:
        _kill_group(process.pid)
        await asyncio.shield(process.wait())
        raise


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _kill_group(group: int) -> None:
    # Gone already is what we want.
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class _Pipe:
    """One pipe, read by the event loop. The loop's own pipes would wait for every holder of the end."""

    def __init__(self, bytes_max: int) -> None:
        self.data = bytearray()
        self.truncated = False
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
        if len(self.data) > self._bytes_max:
            self.truncated = True
            del self.data[: len(self.data) - self._bytes_max]
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


class _Outputs:
    """Standard output and error: one pipe for both, in the order of writing, or one for each."""

    def __init__(self, bytes_max: int, separate: bool) -> None:
        self.out = _Pipe(bytes_max)
        self.err = _Pipe(bytes_max) if separate else self.out
        self._pipes = (self.out, self.err) if separate else (self.out,)

    def __enter__(self) -> "_Outputs":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()

    def started(self) -> None:
        """The child has the writing ends now; with ours closed, its end is seen as the end."""
        for pipe in self._pipes:
            pipe.close_writing()

    @property
    def truncated(self) -> bool:
        return any(pipe.truncated for pipe in self._pipes)

    def text(self) -> str:
        """Everything printed so far, as text."""
        for pipe in self._pipes:
            pipe.drain()
        return b"".join(bytes(pipe.data) for pipe in self._pipes).decode(errors="replace")
