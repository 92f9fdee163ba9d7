"""Run one program to its end: a Project's own, isolated and limited; or one of ours, which we trust."""

import asyncio
import resource
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from shared.isolation.child import Call, DeadlineExceeded, Finished, run_child
from shared.isolation.choosing import Isolation
from shared.isolation.limits import Limits
from shared.isolation.network import Destination

__all__ = ["DeadlineExceeded", "Finished", "run", "run_trusted"]

_OPTIONS = {
    resource.RLIMIT_CPU: "cpu",
    resource.RLIMIT_AS: "as",
    resource.RLIMIT_FSIZE: "fsize",
    resource.RLIMIT_NPROC: "nproc",
    resource.RLIMIT_NOFILE: "nofile",
    resource.RLIMIT_CORE: "core",
    resource.RLIMIT_MEMLOCK: "memlock",
    resource.RLIMIT_MSGQUEUE: "msgqueue",
}


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

    held = () if limits is None else _held_to(limits)
    call = Call(
        *(tuple(argv), cwd, environment, deadline_s, stdin, output_bytes_max, separate, printed_bytes_max),
        behind=(*held, *argv) if held else (),
    )
    return await run_child(call)


def _held_to(limits: Limits) -> tuple[str, ...]:
    """The words of the program that sets the limits and becomes what follows, so no child comes before."""
    words = [_prlimit()]
    for kind, soft, most in limits.rlimits():
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            soft, most = min(soft, hard), min(most, hard)
        words.append(f"--{_OPTIONS[kind]}={soft}:{most}")
    return (*words, "--")


@cache
def _prlimit() -> str:
    """A hook between fork and exec is not safe beside threads, so a program of util-linux does it."""
    found = shutil.which("prlimit")
    if found is None:
        raise RuntimeError("prlimit is not on the PATH, so that Git cannot be limited: install util-linux")
    return found
