"""Start one program, read what it prints, end it in time: what every runner does alike."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared.isolation.outputs import Outputs


@dataclass(frozen=True)
class Finished:
    """How a program ended. `output` is what it printed, or the end of that when `truncated`.

    With `separate`, `stdout` and `stderr` hold the two streams as bytes, and `output` is the text of both.
    `exceeded` says which limit ended the program, in words that follow the program's name; none otherwise.
    """

    exit_code: int
    output: str
    truncated: bool
    duration_ms: int
    stdout: bytes = b""
    stderr: bytes = b""
    exceeded: str | None = None


class DeadlineExceeded(Exception):
    """The program ran longer than it may, and was killed with everything that it had started."""

    def __init__(self, argv: Sequence[str], deadline_s: float, output: str) -> None:
        super().__init__(f"{argv[0]} did not end within {deadline_s:g} s")
        self.argv = tuple(argv)
        self.deadline_s = deadline_s
        self.output = output


@dataclass(frozen=True)
class Call:
    """One program to run. `cwd` is the folder that it works in, `environment` the whole of its variables.

    `output_bytes_max` is how much of the end of each stream is kept, `printed_bytes_max` how much it may
    print at all.
    """

    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str]
    deadline_s: float
    stdin: bytes | None = None
    output_bytes_max: int = 1 << 20
    separate: bool = False
    printed_bytes_max: int | None = None
    behind: tuple[str, ...] = ()
    """The words of the program that starts `argv` for us; nothing when nobody needs to."""


def kill_group(group: int) -> None:
    """Kill a process group; gone already is what we want."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


async def run_child(
    call: Call,
    *,
    pass_fds: Sequence[int] = (),
    started: Callable[[int], None] = lambda pid: None,
    kill: Callable[[int], None] = kill_group,
) -> Finished:
    """Run the call in a session of its own; return when it, not its children, ends.

    `started` gets the pid. Whatever is left of its process group is killed. Exit code 127 (126) when the
    program is not there (may not be executed), a negative one for a signal. Cancelling kills. Raises
    `DeadlineExceeded` after killing.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as given, Outputs(call.output_bytes_max, call.separate) as outputs:
        given.write(call.stdin or b"")
        given.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *(call.behind or call.argv),
                cwd=call.cwd,
                env=dict(call.environment),
                stdin=given,
                stdout=outputs.out.writing,
                stderr=outputs.err.writing,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
        except (FileNotFoundError, PermissionError) as error:
            if str(error.filename) == str(call.cwd):
                raise
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return Finished(code, f"{call.argv[0]}: {error.strerror}\n", False, _since(began))
        outputs.started(call.printed_bytes_max, lambda: kill(process.pid))
        started(process.pid)
        try:
            exit_code = await _exit_code(process, call.deadline_s, kill)
        except TimeoutError:
            raise DeadlineExceeded(call.argv, call.deadline_s, outputs.text()) from None
        kill_group(process.pid)
        text = outputs.text()
        return Finished(
            exit_code,
            text,
            outputs.truncated,
            _since(began),
            stdout=bytes(outputs.out.data) if call.separate else b"",
            stderr=bytes(outputs.err.data) if call.separate else b"",
            exceeded=outputs.exceeded,
        )


async def _exit_code(
    process: asyncio.subprocess.Process, deadline_s: float, kill: Callable[[int], None]
) -> int:
    """Raises TimeoutError; whatever is raised, the program is killed first."""
    try:
        async with asyncio.timeout(deadline_s):
            return await process.wait()
    except BaseException:
        kill(process.pid)
        await asyncio.shield(process.wait())
        kill_group(process.pid)
        raise


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
