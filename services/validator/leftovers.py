"""What a check started and did not stop: found by its home or its folder, and ended."""

import contextlib
import os
import time
from pathlib import Path

import psutil

_GONE_WITHIN_S = 5.0
_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)


def end_leftovers(folder: Path) -> None:
    """Kill every process whose home or working folder lies in `folder`, until there is none. Blocks.

    A process that detached itself into another session is in no group of ours, but keeps these. Raises
    `TimeoutError` when some do not end within 5 s.
    """
    folder = folder.resolve()
    deadline_s = time.monotonic() + _GONE_WITHIN_S
    # More than one round: what is killed may have started another meanwhile.
    while found := [process for process in psutil.process_iter() if _lives_in(process, folder)]:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{len(found)} processes of a check do not end: {found}")
        for process in found:
            with contextlib.suppress(*_GONE):
                process.kill()
        psutil.wait_procs(found, timeout=1.0)


def _lives_in(process: psutil.Process, folder: Path) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return _inside(process.environ().get("HOME"), folder) or _inside(process.cwd(), folder)
    except (*_GONE, psutil.AccessDenied):
        # Another user's process is none of ours.
        return False


def _inside(path: str | None, folder: Path) -> bool:
    return bool(path) and (Path(str(path)) == folder or folder in Path(str(path)).parents)
