"""What is said about a Git repository: files, commits, refs."""

from dataclasses import dataclass
from typing import NamedTuple

from shared.contracts.values import Commit


class Entry(NamedTuple):
    """A file of a tree: Git's mode (`100644`, `100755`, `120000`, `160000`) and its blob."""

    mode: str
    blob: str


@dataclass(frozen=True)
class Logged:
    """One commit as a person would want to read it; `when` in seconds since 1970."""

    commit: Commit
    author: str
    subject: str
    message: str
    when: int


class RefUpdate(NamedTuple):
    """Move `ref` from `expected` to `new`: none means that it must not be there, or shall go."""

    ref: str
    new: Commit | None
    expected: Commit | None


class Moved(Exception):
    """A ref of the remote was not where a push expected it. Nothing was pushed."""

    def __init__(self, ref: str, expected: Commit | None, found: Commit | None) -> None:
        super().__init__(f"{ref} is at {found or 'nothing'}, not at {expected or 'nothing'}")
        self.ref = ref
        self.expected = expected
        self.found = found
