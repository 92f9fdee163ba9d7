"""A commit's files in a folder, and what a clone of it would have and no checkout of ours can."""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.clients.git_attributes import filtered
from shared.clients.git_command import git
from shared.clients.git_limits import git_limits, require_checkout
from shared.clients.git_objects import Objects

_SUBMODULE = "160000"
_LFS = "lfs"
_POINTER, _NAMED = b"version https://", b"\noid sha256:"
_POINTER_BYTES_MAX = 1024
_PATHS_MAX = 50
_FOLDER = _PROGRAM = 0o755
_FILE = 0o644


@dataclass(frozen=True)
class Lacking:
    """Files that a checkout of ours would not have as a clone has them; why, and the cure."""

    paths: tuple[str, ...]
    reason: str
    cure: str

    @property
    def named(self) -> str:
        """The paths in one line, fifty of them at the most."""
        left = len(self.paths) - _PATHS_MAX
        return ", ".join(self.paths[:_PATHS_MAX]) + (f" and {left} more" if left > 0 else "")


async def export(repository: Path, commit: str, folder: Path) -> None:
    """Write the files of a commit into `folder`, which is there, as a checkout would, without `.git`.

    They and `folder` have the modes that a clone's have, whatever our own mask is: commands copy them to
    where others read them. Only the folder above `folder` keeps others of the machine away.

    Raises `Failure` for more files and bytes than `git_limits` takes, before any is written.
    """
    sized = await git(repository, "ls-tree", "-r", "-l", "-z", "--full-tree", commit)
    await asyncio.to_thread(require_checkout, sized.stdout, git_limits())
    with tempfile.TemporaryDirectory(prefix="upgradepath-index-") as name:
        index = {"GIT_INDEX_FILE": f"{name}/index"}
        await git(repository, "read-tree", commit, variables=index, work_tree=folder)
        options = ("--all", "--force", "--quiet")
        await git(repository, "checkout-index", *options, variables=index, work_tree=folder)
    await asyncio.to_thread(_open_to_readers, folder)


def _open_to_readers(folder: Path) -> None:
    """Modes as under umask 022. Links have none of their own, and none is followed."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        left = ["."]
        while left:
            # From the root on: with what stands before it, a path may be longer than the kernel takes.
            left += _opened(root, left.pop())
    finally:
        os.close(root)


def _opened(root: int, path: str) -> list[str]:
    """Set the modes of a folder and of its files; the paths of the folders in it."""
    here = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
    below: list[str] = []
    try:
        os.fchmod(here, _FOLDER)
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name if path == "." else f"{path}/{entry.name}")
                elif entry.is_file(follow_symlinks=False):
                    executable = entry.stat(follow_symlinks=False).st_mode & 0o100
                    os.chmod(entry.name, _PROGRAM if executable else _FILE, dir_fd=here)
    finally:
        os.close(here)
    return below


async def lacking(objects: Objects, tree: str) -> tuple[Lacking, ...]:
    """What a checkout of this tree would lack: submodules, files of Git LFS, files of other filters."""
    listing = await objects.listing(tree)
    found: list[Lacking] = []
    submodules = [path for path, entry in listing.files.items() if entry.mode == _SUBMODULE]
    if submodules:
        found.append(
            Lacking(
                tuple(submodules),
                "a submodule is another repository, which is not fetched: its folder would be empty",
                "put its files into this repository: `git rm` the path and commit, then"
                " `git subtree add --squash --prefix=PATH URL BRANCH`",
            )
        )
    by_driver: dict[str, list[str]] = {}
    for path, driver in (await filtered(objects, tree)).items():
        by_driver.setdefault(driver, []).append(path)
    pointers = await _pointers(objects, tree, by_driver.pop(_LFS, ()))
    if pointers:
        found.append(
            Lacking(
                pointers,
                "Git LFS keeps the file elsewhere: a checkout would have its pointer alone",
                "keep the file in Git itself: `git lfs untrack PATH`, `git add --renormalize PATH`, commit;"
                " or `git rm` it and let `activate` fetch it",
            )
        )
    for driver, paths in by_driver.items():
        found.append(
            Lacking(
                tuple(paths),
                f"the filter {driver} of .gitattributes makes another file of it, and is not run here",
                f"take `filter={driver}` out of .gitattributes and commit the files as they are used:"
                " `git add --renormalize .`",
            )
        )
    return tuple(found)


async def _pointers(objects: Objects, tree: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Those of Git LFS's files that are pointers. It leaves every other file as it is."""
    files = (await objects.listing(tree)).files
    blobs = await objects.blobs([files[path].blob for path in paths])
    return tuple(path for path in paths if _is_pointer(blobs[files[path].blob]))


def _is_pointer(data: bytes) -> bool:
    return len(data) < _POINTER_BYTES_MAX and data.startswith(_POINTER) and _NAMED in data
