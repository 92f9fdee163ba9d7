"""Folders for one step of work, gone afterwards; what a killed worker left is cleared by whoever comes next.

A dump of production must not outlive the process that wrote it. Each folder has a file beside it that is
locked for as long as its owner lives: the lock, and no age or name, says whether a folder is anybody's.
"""

import asyncio
import fcntl
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

from shared.isolation.leftovers import remove_tree
from shared.private_files import FOLDER_MODE, private_folder

_LOCK = ".lock"


@asynccontextmanager
async def temporary_folder(scratch: Path, name: str) -> AsyncIterator[Path]:
    """An empty folder below `scratch`, which is made if it has vanished; nobody else may look into it.

    It is removed in a thread: a clone of two hundred thousand files would keep the event loop for seconds.
    """
    await asyncio.to_thread(_swept, scratch)
    with locked_folder(scratch, name) as folder:
        try:
            yield folder
        finally:
            # Whoever is cancelled a second time leaves the rest to the thread, and after it to a sweep.
            await asyncio.shield(asyncio.to_thread(remove_tree, folder))


def _swept(scratch: Path) -> None:
    private_folder(scratch)
    sweep(scratch)


@contextmanager
def locked_folder(scratch: Path, name: str) -> Iterator[Path]:
    """A new folder that nobody sweeps away while the block lasts. The block removes it, or a later sweep."""
    folder = scratch / f"{name}-{secrets.token_hex(6)}"
    with _held(folder.with_suffix(_LOCK)):
        folder.mkdir(mode=FOLDER_MODE)
        try:
            yield folder
        finally:
            if not os.path.lexists(folder):
                folder.with_suffix(_LOCK).unlink(missing_ok=True)


def sweep(scratch: Path, name: str = "*", clear: Callable[[Path], None] = remove_tree) -> list[str]:
    """Remove the folders whose owners are gone; their names. `scratch` may be a folder that others share."""
    gone: list[str] = []
    for path in sorted(scratch.glob(f"{name}{_LOCK}")):
        if not _is_ours(path):
            continue
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            clear(path.with_suffix(""))
            path.unlink(missing_ok=True)
            gone.append(path.stem)
    return gone


class Sweeper:
    """Clears at the start of a worker what one that was killed has left."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    async def start(self) -> None:
        await asyncio.to_thread(sweep, self._scratch)

    async def stop(self) -> None:
        """Nothing is left to do: each folder goes with its step."""


@contextmanager
def _held(path: Path) -> Iterator[None]:
    while True:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Somebody may have swept the file away between its making and its lock.
            if _is_still(file, path):
                yield
                return


def _is_still(file: IO[str], path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _is_ours(path: Path) -> bool:
    """Whether we made it: in a shared folder, another user's link would lead us anywhere."""
    try:
        seen = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(seen.st_mode) and seen.st_uid == os.geteuid()
