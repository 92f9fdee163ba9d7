"""What a command left behind: processes that are found by their home or folder, and folders."""

import contextlib
import os
import secrets
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
            raise TimeoutError(f"{len(found)} processes of a command do not end: {found}")
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


def remove_tree(folder: Path) -> None:
    """Remove a folder, whatever a command has made of it; safe to repeat. Blocks.

    Folders without rights and trees deeper than any path are removed too: what lies deep is moved up first.
    """
    while os.path.lexists(folder):
        # Another worker may be removing it too.
        with contextlib.suppress(FileNotFoundError):
            _remove(folder)


def _remove(folder: Path) -> None:
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(root, 0o700)
        while names := _emptied(root):
            for name in names:
                inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
                try:
                    for below in _emptied(inside):
                        os.rename(below, secrets.token_hex(16), src_dir_fd=inside, dst_dir_fd=root)
                finally:
                    os.close(inside)
                os.rmdir(name, dir_fd=root)
    finally:
        os.close(root)
    os.rmdir(folder)


def _emptied(folder: int) -> list[str]:
    """Remove what is not a folder; the names of the folders, into which we may go now."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.name, 0o700, dir_fd=folder)
                names.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return names
