"""A repository's objects, by their names: what never changes is asked once, and what is new is written here.

An object's name is the digest of its bytes, so what a name stands for never changes. What is remembered of it
counts in its own clone alone: who merely knows a name learns nothing of another Project's objects. A
process of Git for each small question was the largest share of what an upgrade cost.
"""

import asyncio
import hashlib
import os
import tempfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from shared.clients.git_command import git
from shared.clients.git_renewal import suspect
from shared.clients.git_values import Entry
from shared.contracts.values import Commit
from shared.errors import Retry

NO_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
IDENTITY = "upgradepath <upgradepath@localhost>"
_NAME_DIGITS = 40
_FILES_MAX = 50_000
_BYTES_MAX = 8 << 20
_ANSWERS_MAX = 10_000
_ASKED_AT_ONCE = 5_000
"""Between so many objects and the next, the loop does what else waits."""

Value = TypeVar("Value")


class _Kept(Generic[Value]):
    """The values used last, up to a total size; what alone is larger is not kept."""

    def __init__(self, size_max: int, size: Callable[[Value], int]) -> None:
        self._size_max = size_max
        self._size = size
        self._total = 0
        self._values: OrderedDict[object, Value] = OrderedDict()

    def get(self, key: object) -> Value | None:
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: object, value: Value) -> None:
        if key in self._values or self._size(value) > self._size_max:
            return
        self._values[key] = value
        self._total += self._size(value)
        while self._total > self._size_max:
            _, oldest = self._values.popitem(last=False)
            self._total -= self._size(oldest)


@dataclass(frozen=True)
class CommitObject:
    """What a commit says of itself; `when` is its committer's date in seconds since 1970."""

    tree: str
    parents: tuple[Commit, ...]
    when: int
    subject: str


@dataclass(frozen=True)
class Listing:
    """Every file of a tree by its path, sorted as Git sorts them, and every folder's own tree."""

    files: Mapping[str, Entry]
    folders: Mapping[str, str]

    def below(self, prefix: str) -> dict[str, Entry]:
        """The files at or below it; all of them if it is empty."""
        folder = prefix.rstrip("/") + "/"
        return {
            path: entry
            for path, entry in self.files.items()
            if not prefix or path == prefix or path.startswith(folder)
        }

    def changed(self, after: "Listing") -> dict[str, tuple[Entry | None, Entry | None]]:
        """Every path that differs, with the file before and after, sorted."""
        return {
            path: (self.files.get(path), after.files.get(path))
            for path in sorted(self.files.keys() | after.files.keys())
            if self.files.get(path) != after.files.get(path)
        }


_listings: _Kept[Listing] = _Kept(_FILES_MAX, lambda listing: len(listing.files) + len(listing.folders) + 1)
_blobs: _Kept[bytes] = _Kept(_BYTES_MAX, lambda blob: len(blob) + 100)
_commits: _Kept[CommitObject] = _Kept(_ANSWERS_MAX, lambda _: 1)
_trees: _Kept[str] = _Kept(_ANSWERS_MAX, lambda _: 1)


class Objects:
    """The objects of the bare repository `folder`. Methods raise `Retry`, with Git's words."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    # --- reading ---------------------------------------------------------------------------------

    async def listing(self, tree: str) -> Listing:
        """What lies in a tree, or in a commit's."""
        found = _listings.get(self._here(tree))
        if found is None:
            options = ("-r", "-t", "-z", "--full-tree")
            listed = (await git(self.folder, "ls-tree", *options, tree)).stdout
            # A repository may have more files than a loop can wait for.
            found = await asyncio.to_thread(_listing, listed)
            if _is_name(tree):
                _listings.put(self._here(tree), found)
        return found

    async def blobs(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of many blobs at once."""
        known = {name: _blobs.get(self._here(name)) for name in names}
        found = {name: blob for name, blob in known.items() if blob is not None}
        missing = [name for name in dict.fromkeys(names) if name not in found]
        for begin in range(0, len(missing), _ASKED_AT_ONCE):
            asked = missing[begin : begin + _ASKED_AT_ONCE]
            for name, (_, body) in (await self._read(asked)).items():
                found[name] = body
                _blobs.put(self._here(name), body)
        return found

    def _here(self, name: str) -> tuple[Path, str]:
        """An object's name in this repository: who merely knows a name gets nothing of another Project."""
        return self.folder, name

    async def commit(self, name: Commit) -> CommitObject:
        """What is written in a commit."""
        found = _commits.get(self._here(name))
        if found is None:
            kind, body = (await self._read([name]))[name]
            if kind != "commit":
                raise Retry(f"{name} is a {kind} and no commit")
            found = _commit(body)
            if _is_name(name):
                _commits.put(self._here(name), found)
        return found

    async def tree(self, name: str) -> str:
        """The tree of a commit; a tree is its own."""
        found = NO_TREE if name == NO_TREE else _trees.get(self._here(name))
        if found is None:
            asked = ("rev-parse", "--verify", f"{name}^{{tree}}")
            found = (await git(self.folder, *asked)).stdout.decode().strip()
            self.know_trees(found)
            if _is_name(name):
                _trees.put(self._here(name), found)
        return found

    def know_trees(self, *names: str) -> None:
        """These are trees."""
        for name in names:
            _trees.put(self._here(name), name)

    async def _read(self, names: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """Kind and bytes of each."""
        asked = "".join(f"{name}\n" for name in names).encode()
        answer = (await git(self.folder, "cat-file", "--batch", stdin=asked)).stdout
        found: dict[str, tuple[str, bytes]] = {}
        at = 0
        for name in names:
            end = answer.index(b"\n", at)
            words = answer[at:end].split(b" ")
            if words[-1] == b"missing":
                # No fetch brings again what a clone had and lost.
                suspect(self.folder)
                raise Retry(f"git has no object {name}")
            size = int(words[2])
            found[name] = (words[1].decode(), answer[end + 1 : end + 1 + size])
            at = end + 1 + size + 1
        return found

    # --- writing ---------------------------------------------------------------------------------

    async def write(self, kind: str, bodies: Sequence[bytes]) -> list[str]:
        """Keep objects as Git keeps them, each whole or not at all; their names in the same order."""
        names = await asyncio.to_thread(_write_all, self.folder / "objects", kind, bodies)
        if kind == "blob":
            for name, body in zip(names, bodies, strict=True):
                _blobs.put(self._here(name), body)
        return names

    async def write_commit(
        self, tree: str, parents: Iterable[Commit], message: bytes, *, when: int, author: str = IDENTITY
    ) -> Commit:
        """A commit, to the byte as `git commit-tree` makes it; `tree` may be a commit's name too."""
        lines = [f"tree {await self.tree(tree)}", *(f"parent {each}" for each in dict.fromkeys(parents))]
        lines += [f"author {author} {when} +0000", f"committer {IDENTITY} {when} +0000"]
        body = "\n".join(lines).encode() + b"\n\n" + message
        (name,) = await self.write("commit", [body])
        _commits.put(self._here(name), _commit(body))
        return name


def _is_name(name: str) -> bool:
    return len(name) == _NAME_DIGITS and not name.strip("0123456789abcdef")


def _named(kind: str, body: bytes) -> str:
    # Git's own digest, of what is no secret: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(body)) + body, usedforsecurity=False).hexdigest()


def _write_all(objects: Path, kind: str, bodies: Sequence[bytes]) -> list[str]:
    names = [_named(kind, body) for body in bodies]
    for name, body in zip(names, bodies, strict=True):
        path = objects / name[:2] / name[2:]
        if path.exists():
            continue
        path.parent.mkdir(exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix="tmp_obj_")
        with os.fdopen(descriptor, "wb") as file:
            file.write(zlib.compress(b"%s %d\0" % (kind.encode(), len(body)) + body, 1))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o444)
        os.replace(draft, path)
    return names


def _listing(listed: bytes) -> Listing:
    files: dict[str, Entry] = {}
    folders: dict[str, str] = {}
    for line in listed.decode(errors="surrogateescape").split("\0")[:-1]:
        about, path = line.split("\t", 1)
        mode, kind, name = about.split(" ")
        if kind == "tree":
            folders[path] = name
        else:
            files[path] = Entry(mode, name)
    return Listing(files, folders)


def _commit(body: bytes) -> CommitObject:
    headers, _, message = body.partition(b"\n\n")
    lines = [line.decode(errors="replace").partition(" ") for line in headers.split(b"\n")]
    about = {key: value for key, _, value in reversed(lines)}
    return CommitObject(
        tree=about["tree"],
        parents=tuple(value for key, _, value in lines if key == "parent"),
        when=int(about["committer"].rsplit(" ", 2)[1]),
        subject=message.decode(errors="replace").partition("\n")[0],
    )
