"""Clones on a worker's disk: made, held to their quota while they grow, and removed when nobody uses them."""

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from shared import background
from shared.clients.git_command import git
from shared.clients.git_limits import GitLimits, RepositoryRefused, git_limits, require_quota, usage_of
from shared.clients.git_renewal import CloneUnusable, is_suspected, was_filled, was_made
from shared.isolation.leftovers import remove_tree
from shared.private_files import private_folder

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_LOOKS_SHARE = 20
"""A look at a large clone is followed by a pause that is so many times as long: it costs a twentieth."""
_PAUSE_AT_MOST_S = 10.0
_SWEEP_EVERY_S = 3600.0
_IDLE_AT_LEAST_S = 3600.0
"""A clone that was used a moment ago may be another process's."""
_GONE = ".gone-"
_MIB, _DAY_S = 1 << 20, 86_400

T = TypeVar("T")

# Two fetches into one clone at a time would fail on each other's locks. Whoever uses a clone holds its lock.
_locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()


def clone_lock(folder: Path) -> asyncio.Lock:
    """The one lock of this clone, which tells that it is in use as long as anybody has it."""
    return _locks.setdefault(folder, asyncio.Lock())


async def make_clone(folder: Path) -> bool:
    """Make an empty clone unless there is one of use; whether there was."""
    if is_suspected(folder):
        await _discard(folder)
    there = _is_there(folder)
    if not there:
        await git(folder, "init", "--quiet", "--bare", "--initial-branch=none")
        was_made(folder)
    os.utime(folder)
    return there


async def fill_clone(folder: Path, fetching: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
    """Fetch into the clone, which is made if need be; whether it was made of nothing. Its lock is held.

    What years, a killed fetch or a power cut have left there is not the repository's fault: such a clone is
    removed, and all is fetched once more. Raises as `within_quota` does.
    """
    grown = await make_clone(folder)
    try:
        await within_quota(folder, fetching())
    except (RepositoryRefused, CloneUnusable):
        if not grown:
            raise
        grown = await make_clone(folder)
        await within_quota(folder, fetching())
    finally:
        was_filled(folder)
    return not grown


async def within_quota(folder: Path, fetching: Coroutine[Any, Any, T]) -> T:
    """Let it fetch into the clone and look at what that becomes: too much ends it, and the clone is removed.

    Raises `RepositoryRefused`, and what fetching raises.
    """
    task = asyncio.create_task(fetching)
    pause_s, limits = _LOOK_EVERY_S, git_limits()
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=pause_s)
            began_s = time.monotonic()
            require_quota(await asyncio.to_thread(usage_of, folder, limits.clone_files), limits)
            took_s = time.monotonic() - began_s
            pause_s = max(_LOOK_EVERY_S, min(_LOOKS_SHARE * took_s, _PAUSE_AT_MOST_S))
            if done:
                return task.result()
    except RepositoryRefused:
        if not task.done():
            await background.end(task)
        await asyncio.to_thread(remove_tree, folder)
        raise
    finally:
        if not task.done():
            await background.end(task)


class CloneSweeper:
    """Removes the clones in a folder that nobody has used for long, and the oldest where all are too many.

    A Project that was registered with another repository, or is gone, leaves its clone behind: nobody tells.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns at once."""
        self._task = asyncio.create_task(self._run(), name="sweeper of clones")

    async def stop(self) -> None:
        await background.end(self._task)
        self._task = None

    async def _run(self) -> None:
        while True:
            try:
                await sweep_clones(self._folder, git_limits())
            except OSError as error:
                log.warning("the clones in %s could not be swept: %s", self._folder, error)
            await asyncio.sleep(_SWEEP_EVERY_S)


async def sweep_clones(folder: Path, limits: GitLimits) -> list[str]:
    """Remove what `limits` does not keep and nobody here uses; the names, the oldest first."""
    clones, left = await asyncio.to_thread(_found, folder)
    for each in left:
        await asyncio.to_thread(remove_tree, each)
    now = time.time()
    idle = sorted(((now - used, clone) for clone, used in clones.items()), reverse=True)
    sizes = {clone: (await asyncio.to_thread(usage_of, clone)).bytes for clone in clones}
    total, removed = sum(sizes.values()), []
    for idle_s, clone in idle:
        too_old = idle_s > limits.keep_clones_days * _DAY_S
        if not too_old and (total <= limits.clones_mib * _MIB or idle_s < _IDLE_AT_LEAST_S):
            continue
        if clone.absolute() in _locks:
            continue
        if await _discard(clone):
            total -= sizes[clone]
            removed.append(clone.name)
    return removed


async def _discard(clone: Path) -> bool:
    """Remove a clone; whether it was there."""
    # Out of sight in one step: who opens it from now on makes a new one.
    gone = clone.with_name(f"{_GONE}{secrets.token_hex(6)}")
    with contextlib.suppress(FileNotFoundError):
        await asyncio.to_thread(clone.rename, gone)
        await asyncio.to_thread(remove_tree, gone)
        return True
    return False


def _is_there(folder: Path) -> bool:
    private_folder(folder)
    # Git makes these two first and last.
    return (folder / "HEAD").is_file() and (folder / "refs" / "heads").is_dir()


def _found(folder: Path) -> tuple[dict[Path, float], list[Path]]:
    """The clones with the time of their last use, and what was being removed when a worker ended."""
    folders = [path for path in folder.glob("*") if path.is_dir()]
    left = [path for path in folders if path.name.startswith(_GONE)]
    return {path: path.stat().st_mtime for path in folders if path not in left}, left
