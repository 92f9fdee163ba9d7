"""How much of a worker one repository may use: its disk, memory, time and files.

A Project's repository is anybody's work: a pack of gigabytes, a tree that names itself a thousand million
times, a file that expands without end. What is too much ends the stage with a verdict that says so, and the
clone is given back.
"""

import os
import re
import signal
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.clients.processes import Finished
from shared.contracts.stages import Finding
from shared.errors import Failure
from shared.isolation.limits import Limits, size

_MIB = 1 << 20
_PART_BYTES_MAX, _PATH_BYTES_MAX = 255, 1024
_DEPTH_MAX = 100
# Many programs of one user run beside us, and Git's threads are counted with them.
_PROCESSES = 1 << 20
_OPEN_FILES = 1024
_SMALLER = "make the repository smaller: `git filter-repo --strip-blobs-bigger-than 10M` takes them out"
_OUT = "take it out of the branch, commit, and go on with `upgradepath run continue`"
_WRITERS = ("read-tree", "checkout-index", "update-index")
_MACHINES = re.compile(
    r"No space left|Permission denied|Input/output error|Disk quota|Read-only file system|\.lock'|tmp_obj"
)
_SAID_CHARACTERS = 64 << 10
"""Of what Git prints, so much is looked at: a remote may print as much as it likes."""
_CUT_OFF = re.compile(r"early EOF|RPC failed|disconnect|hung up|Connection (?:reset|refused|timed out)")
_OUT_OF_MEMORY = re.compile(r"[Oo]ut of memory|Cannot allocate memory|unable to create thread|malloc failed")
_BROKEN = re.compile(
    r"did not send all necessary objects|pack (?:has bad object|is corrupted)|inflate|corrupt|hash mismatch"
    r"|bad object|bad tree|missing (?:blob|tree|commit)|unable to (?:read|parse) (?:tree|commit|object)"
    r"|too-short tree|malformed|pack exceeds|unresolved deltas|not a tree object|cannot apply delta"
)


class GitLimits(BaseSettings):
    """Of one repository and each call of Git on it; `UPGRADES_GIT_CLONE_MIB` and so on."""

    model_config = SettingsConfigDict(
        env_prefix="UPGRADES_GIT_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    clone_mib: int = Field(default=2048, ge=16, description="of one Project's clone on the worker's disk")
    clone_files: int = Field(default=200_000, ge=1000, description="in it: branches, packs and objects")
    checkout_mib: int = Field(default=1024, ge=1, description="of all files of one commit")
    checkout_files: int = Field(default=100_000, ge=1, description="in one commit")
    read_mib: int = Field(default=128, ge=1, description="of what is read at once: files, lists, differences")
    memory_mib: int = Field(default=2048, ge=128, description="of one process of Git")
    cpu_s: int = Field(default=300, ge=1, description="of one process of Git")
    clones_mib: int = Field(default=20_480, ge=1, description="of all clones; the oldest unused goes first")
    keep_clones_days: float = Field(default=30, gt=0, description="a clone that nobody used for so long goes")

    @cached_property
    def of_a_process(self) -> Limits:
        """What the system holds one process of Git to."""
        return Limits(
            memory_mib=self.memory_mib,
            disk_mib=self.clone_mib,
            processes=_PROCESSES,
            open_files=_OPEN_FILES,
            cpu_s=self.cpu_s,
        )

    @property
    def read_bytes(self) -> int:
        return self.read_mib * _MIB


@lru_cache(maxsize=1)
def git_limits() -> GitLimits:
    """This process's, as its environment says."""
    return GitLimits()


@dataclass(frozen=True)
class Usage:
    """What a folder holds, in bytes on the disk, and its files and folders."""

    bytes: int
    files: int


def usage_of(folder: Path, files_max: int | None = None) -> Usage:
    """Bytes and files in the folder now; what vanishes meanwhile is not counted. Blocks.

    With `files_max` it counts no further than to one more than that.
    """
    total = files = 0
    for entry in _walked(folder):
        files += 1
        if files_max is not None and files > files_max:
            break
        try:
            seen = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        total += seen.st_blocks * 512 if stat.S_ISREG(seen.st_mode) else 0
    return Usage(total, files)


def _walked(folder: Path) -> Iterator[os.DirEntry[str]]:
    folders = [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError:
            continue


class RepositoryRefused(Failure):
    """The verdict on what a repository is, and not on who asks it: its clone is of no use."""


class RepositoryBroken(RepositoryRefused):
    """The verdict on what Git cannot read."""


def too_much(detail: str, cure: str = _SMALLER) -> RepositoryRefused:
    """The verdict on a repository of which this worker takes no more."""
    return _refused(RepositoryRefused, detail, cure)


def _refused(kind: type[RepositoryRefused], detail: str, cure: str) -> RepositoryRefused:
    finding = Finding(kind="environment", subject="repository", detail=detail, cure=cure)
    return kind(f"the Project's repository cannot be used here: {detail}", finding)


def require_quota(usage: Usage, limits: GitLimits) -> None:
    """Raise `Failure` when a clone is too large."""
    if usage.bytes > limits.clone_mib * _MIB:
        raise too_much(f"its clone has more than {size(limits.clone_mib * _MIB)}")
    if usage.files > limits.clone_files:
        raise too_much(f"its clone has more than {limits.clone_files} files: branches, or loose objects")


def require_checkout(listed: bytes, limits: GitLimits) -> None:
    """Raise `Failure` unless this output of `ls-tree -r -l -z` is of a commit that is written out here."""
    total = count = 0
    for line in listed.split(b"\0")[:-1]:
        about, path = line.split(b"\t", 1)
        count += 1
        length = about.split()[3]
        total += int(length) if length.isdigit() else 0
        _require_short(path)
    if count > limits.checkout_files:
        raise too_much(f"a commit has {count} files, and at most {limits.checkout_files} are written out")
    if total > limits.checkout_mib * _MIB:
        most = size(limits.checkout_mib * _MIB)
        raise too_much(f"a commit's files have {size(total)}, and at most {most} are written out")


def require_paths(paths: Iterable[str]) -> None:
    """Raise `Failure` for a path that no folder of ours takes: too long, too deep, or below a file."""
    files = set(paths)
    for path in files:
        _require_short(path.encode(errors="surrogateescape"))
        parts = path.split("/")
        if len(parts) > _DEPTH_MAX:
            raise too_much(f"the path {path[:100]!a}… has more than {_DEPTH_MAX} folders in each other", _OUT)
        if not files.isdisjoint("/".join(parts[:number]) for number in range(1, len(parts))):
            raise too_much(f"the path {path[:100]!a} lies below a file", _OUT)


def _require_short(path: bytes) -> None:
    if len(path) > _PATH_BYTES_MAX or max(map(len, path.split(b"/"))) > _PART_BYTES_MAX:
        raise too_much(f"the path {path[:100]!a}… is longer than file systems take", _OUT)


def fault_of(command: str, finished: Finished, limits: GitLimits) -> RepositoryRefused | None:
    """The verdict on a repository with which Git ended so; none when that says nothing of the repository."""
    if finished.exceeded is not None:
        return too_much(f"git {command} has more to say than {size(limits.read_bytes)}")
    words, code = finished.output[-_SAID_CHARACTERS:], finished.exit_code
    ended_by = -code if code < 0 else code - 128
    if code == 0:
        return None
    if ended_by == signal.SIGXCPU or "signal 24" in words:
        return too_much(f"git {command} needs more than {limits.cpu_s} s of CPU time")
    if ended_by == signal.SIGXFSZ or "signal 25" in words or "File too large" in words:
        return too_much(f"git {command} writes a file of more than {size(limits.clone_mib * _MIB)}")
    if _OUT_OF_MEMORY.search(words):
        return too_much(f"git {command} needs more than {size(limits.memory_mib * _MIB)} of memory")
    if ended_by == signal.SIGSEGV or "signal 11" in words:
        return too_much(f"git {command} crashes over it: its folders lie too deep in each other")
    if _CUT_OFF.search(words) or _MACHINES.search(words):
        return None
    if command in _WRITERS or _BROKEN.search(words):
        said = words.strip().splitlines()
        detail = f"git {command} does not take what lies in it: {said[-1] if said else code}"
        return _refused(RepositoryBroken, detail, _OUT)
    return None
