"""Processes of our services that begin at once: forked from one that has imported everything already.

A service takes seconds of CPU to import, and the rig starts hundreds. Run as a program it is that parent: it
reads what to start from standard input, a JSON document a line, and prints the pid of each.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from local.process import Child, die_with

ROOT = Path(__file__).resolve().parents[2]


class Nursery:
    """Starts services; they end with it, and it ends with us."""

    def __init__(self, variables: Mapping[str, str], log: Path) -> None:
        self._variables = variables
        self._log = log
        self._one_by_one = asyncio.Lock()
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Nursery:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.faults.nursery"),
                cwd=ROOT,
                env=dict(self._variables),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()

    async def start(self, service: str, port: int, log: Path, variables: Mapping[str, str]) -> Born:
        """A service that begins now."""
        wanted = {"service": service, "port": port, "log": str(log), "variables": dict(variables)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._one_by_one:
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            return Born(int(await self._process.stdout.readline()))


async def by_command(service: str, port: int, log: Path, variables: Mapping[str, str]) -> Born:
    """A service that begins now by `upgradepath service`, as on a server; it ends with us."""
    outer = {key: value for key, value in os.environ.items() if not key.startswith("UPGRADE")}
    command = [sys.executable, "-m", "cli", "service", service, "--port", str(port)]
    child = await asyncio.to_thread(Child, command, log=log, cwd=ROOT, env={**outer, **variables})
    return Born(child.pid, child)


class Born:
    """A process that was started for us."""

    def __init__(self, pid: int, child: Child | None = None) -> None:
        self.ended = asyncio.Event()
        self._child = child
        self._descriptor = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._on_end)

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing happens to one that has ended."""
        if not self.ended.is_set():
            signal.pidfd_send_signal(self._descriptor, number)

    async def stop(self, patience_s: float) -> None:
        """Ask it to end, also if it is frozen; then end it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.send_signal(number)
            self.send_signal(signal.SIGCONT)
            done, _ = await asyncio.wait({asyncio.ensure_future(self.ended.wait())}, timeout=patience_s)
            if done:
                return

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        if self._child is not None:
            # One of our own stays a zombie until it is asked for.
            self._child.kill()
        self.ended.set()


def main() -> None:
    from tests.faults.clocks import follow_the_clock_that_is_named
    from tests.faults.program import serve_one

    nursery = os.getpid()
    die_with(os.getppid(), signal.SIGKILL)
    # Nobody waits for them here: the kernel clears them away.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        die_with(nursery, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        output = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((nothing, output, output)):
            os.dup2(descriptor, number)
        os.environ.update(wanted["variables"])
        follow_the_clock_that_is_named()
        serve_one(wanted["service"], wanted["port"])
        return


if __name__ == "__main__":
    main()
