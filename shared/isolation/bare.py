"""No isolation, for a machine without the others: limits, and an end to everything that was started.

A command runs with our rights, sees our files, processes and network. What keeps it from a neighbour is its
good will, so servers refuse it unless they are told.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from shared.isolation.cgroups import Cgroups, Group
from shared.isolation.child import Call, Finished, kill_group, run_child
from shared.isolation.leftovers import end_leftovers, remove_tree
from shared.isolation.limits import Limits, exceeded_by
from shared.isolation.network import Destination, Gateway
from shared.isolation.runner import Order, at_home, is_private, launcher_argv, read_status
from shared.isolation.scratch import locked_folder, sweep

_NAME = "upgradepath-command"
_STOP_WITHIN_S = 5.0
_OTHERS_PROCESSES = 8192
"""The kernel counts a user's processes over the whole machine, so the limit leaves room for all others."""


class Bare:
    """Runs commands as this process' own user, supervised by the launcher, to whom all orphans come."""

    name = "none"

    def __init__(self, cgroups: Cgroups | None = None) -> None:
        self._cgroups = Cgroups.find() if cgroups is None else cgroups
        self.groups = "memory" in self._cgroups.parents
        sweep(Path(tempfile.gettempdir()), f"{_NAME}-*", _clear)

    async def run(self, call: Call, limits: Limits, destinations: Sequence[Destination] = ()) -> Finished:
        """See `Runner`. The network is not limited."""
        if not call.cwd.is_dir():
            raise FileNotFoundError(2, os.strerror(2), str(call.cwd))
        with locked_folder(Path(tempfile.gettempdir()), _NAME) as folder:
            # The launcher leaves nothing; where it was killed, what it started is looked for.
            clear = _clear
            try:
                finished, in_order = await self._run(call, limits, folder)
                clear = remove_tree if in_order else _clear
                return finished
            finally:
                await asyncio.shield(asyncio.to_thread(clear, folder))

    async def _run(self, call: Call, limits: Limits, folder: Path) -> tuple[Finished, bool]:
        async with self._cgroups.group(limits) as group:
            return await self._run_in(group, call, limits, folder)

    async def _run_in(self, group: Group, call: Call, limits: Limits, folder: Path) -> tuple[Finished, bool]:
        with ExitStack() as stack:
            status, status_writing = os.pipe()
            for descriptor in (status, status_writing):
                stack.callback(os.close, descriptor)
            async with Gateway(()) as gateway:
                order = _order(call, limits, folder, group).written(gateway, status_writing)
                stack.callback(os.close, order)
                outer = replace(
                    call,
                    behind=(*group.prefix, *launcher_argv(order)),
                    cwd=folder,
                    environment={},
                    printed_bytes_max=limits.printed_bytes,
                )
                stop = _Stop()
                stack.callback(stop.over)
                async with group.watched(limits, stop) as watch:
                    handed = (order, status_writing)
                    finished = await run_child(outer, pass_fds=handed, started=watch, kill=stop)
            told = read_status(status)
            counts = group.counts()
        if told is None:
            ended = finished.exceeded or exceeded_by(limits, finished.exit_code, counts)
            return replace(finished, exceeded=ended), False
        exceeded = finished.exceeded or exceeded_by(limits, told[0], told[1] | counts)
        return replace(finished, exit_code=told[0], exceeded=exceeded), True


def _order(call: Call, limits: Limits, folder: Path, group: Group) -> Order:
    counted = "memory" in group.folders
    copied = not is_private(call.cwd)
    checkout, home, scratch = (str(folder / name) for name in ("checkout", "home", "tmp"))
    return Order(
        argv=call.argv,
        environment={**at_home(call.environment, home), "TMPDIR": scratch},
        cwd=checkout if copied else scratch,
        copy=(str(call.cwd.resolve()), checkout) if copied else None,
        folders=(checkout, home, scratch),
        rlimits=limits.rlimits(counted=counted, processes=limits.processes + _OTHERS_PROCESSES),
        uid=None,
        disk=None,
        supervise=True,
        watched_bytes=0 if counted else limits.memory_bytes,
        watched_cpu_s=0 if group.counts_cpu else limits.cpu_s,
    )


class _Stop:
    """Asks the launcher to end everything, and kills it where it does not."""

    def __init__(self) -> None:
        self._later: asyncio.TimerHandle | None = None

    def __call__(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        self._later = asyncio.get_running_loop().call_later(_STOP_WITHIN_S, kill_group, pid)

    def over(self) -> None:
        """It has ended, and its number may be another's soon."""
        if self._later is not None:
            self._later.cancel()


def _clear(folder: Path) -> None:
    end_leftovers(folder)
    remove_tree(folder)
