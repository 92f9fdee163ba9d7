"""Run one program to its end: a Project's own, isolated and limited; or one of ours, which we trust."""

import asyncio
import resource
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from shared.isolation.child import Call, DeadlineExceeded, Finished, run_child
from shared.isolation.choosing import Isolation
from shared.isolation.limits import Limits
from shared.isolation.network import Destination

__all__ = ["DeadlineExceeded", "Finished", "run", "run_trusted"]


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    deadline_s: float,
    stdin: bytes | None = None,
    output_bytes_max: int = 1 << 20,
    separate: bool = False,
    isolation: Isolation | None = None,
    destinations: Sequence[Destination] = (),
) -> Finished:
    """Run a program that somebody else wrote, in a copy of `cwd`, with exactly `environment`.

    It can reach `destinations` alone, and nothing that it starts outlives it. Without `isolation` it is
    as the environment asks for it (`UPGRADES_RUNNER`). Of each stream the last `output_bytes_max` are kept.
    Exit code 127 (126) when the program is not there (may not be executed), a negative one for a signal.
    Cancelling ends it. Raises `DeadlineExceeded` after ending it, `Unreachable` for a destination.
    """
    if isolation is None:
        isolation = await asyncio.to_thread(Isolation.here)
    call = Call(tuple(argv), cwd, environment, deadline_s, stdin, output_bytes_max, separate)
    return await isolation.runner.run(call, isolation.limits, destinations)


async def run_trusted(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    deadline_s: float,
    stdin: bytes | None = None,
    output_bytes_max: int = 1 << 20,
    separate: bool = False,
    limits: Limits | None = None,
    printed_bytes_max: int | None = None,
) -> Finished:
    """Run a program that we chose and that runs nothing of a Project's: Git, PostgreSQL's, a linter.

    It has our rights. When it, not its children, ends, whatever is left of its process group is killed; what
    detached itself into another session lives on, and a pipe that it holds open does not keep us. `limits`
    are for one that reads what others wrote, and what prints more than `printed_bytes_max` is killed. The
    rest is as with `run`.
    """

    def started(pid: int) -> None:
        # It may have ended already.
        with suppress(ProcessLookupError):
            for kind, most, _ in () if limits is None else limits.rlimits():
                hard = resource.getrlimit(kind)[1]
                most = most if hard == resource.RLIM_INFINITY else min(most, hard)
                resource.prlimit(pid, kind, (most, most))

    call = Call(
        *(tuple(argv), cwd, environment, deadline_s, stdin, output_bytes_max, separate, printed_bytes_max)
    )
    return await run_child(call, started=started)
