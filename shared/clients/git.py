"""A Project's repository as a bare clone: read, build trees and commits, merge, push from where it was."""

import asyncio
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from weakref import WeakValueDictionary

from shared.clients.git_command import REMOTE_DEADLINE_S, failed, git
from shared.clients.git_merge import Labels, Merge, merge_commits, merge_trees
from shared.clients.git_values import Entry, Logged, Moved, RefUpdate
from shared.clients.processes import Finished
from shared.contracts.values import Commit
from shared.crash_points import around
from shared.errors import Retry

__all__ = ("FILE_MODE", "NO_TREE", "Entry", "Git", "Labels", "Logged", "Merge", "Moved", "RefUpdate")

FILE_MODE = "100644"
NO_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_AUTHOR = "upgradepath <upgradepath@localhost>"
_FETCHED = ("+refs/heads/*:refs/remotes/origin/*", "+refs/upgradepath/*:refs/upgradepath/*")
_REJECTED = re.compile(r"^!\t", re.MULTILINE)
_LINKS_AND_FOLDERS = ("120000", "160000")

# Two fetches into one clone at a time would fail on each other's locks.
_locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()


class Git:
    """One remote's bare clone in `folder`, a cache that may vanish between two uses.

    Every method raises `Retry`, with Git's words, when Git cannot do it now. Commits, trees and blobs are
    named by 40 hexadecimal digits; where a tree is asked for, a commit does as well.
    """

    def __init__(self, folder: Path, remote: str) -> None:
        self.folder = folder.absolute()
        self.remote = remote
        self._fetching = _locks.setdefault(self.folder, asyncio.Lock())

    @classmethod
    async def open(cls, remote: str, folder: Path) -> Self:
        """Make the clone if it is not there, and fetch every branch and every `refs/upgradepath/*`."""
        if remote.startswith("-"):
            raise ValueError("a remote that begins with a hyphen would be read as an option")
        _make(folder)
        opened = cls(folder, remote)
        async with opened._fetching:
            await git(folder, "init", "--quiet", "--bare", "--initial-branch=none")
        await opened.fetch()
        return opened

    async def fetch(self) -> None:
        """Bring the clone up to date."""
        options = ("--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        arguments = ("fetch", *options, self.remote, *_FETCHED)
        async with self._fetching, around("git-fetch"):
            await git(self.folder, *arguments, deadline_s=REMOTE_DEADLINE_S)

    # --- reading ---------------------------------------------------------------------------------

    async def refs(self, *names: str) -> dict[str, Commit]:
        """Where the remote's refs stand now, by full name; what is not there is left out."""
        arguments = ("ls-remote", self.remote, *names)
        listed = (await git(self.folder, *arguments, deadline_s=REMOTE_DEADLINE_S)).stdout.decode()
        found = {line.split("\t", 1)[1]: line.split("\t", 1)[0] for line in listed.splitlines()}
        # ls-remote also names refs that merely end like the one asked for.
        return {name: found[name] for name in names if name in found}

    async def head(self, branch: str) -> Commit | None:
        """The remote's branch as it is now, with its commit fetched; none if there is no such branch."""
        return await self.ref(f"refs/heads/{branch}")

    async def ref(self, name: str) -> Commit | None:
        """The remote's ref as it is now, with its commit fetched."""
        commit = (await self.refs(name)).get(name)
        if commit is not None and not await self.has(commit):
            await self.fetch()
            if not await self.has(commit):
                raise Retry(f"{name} is at {commit}, which could not be fetched: it has moved meanwhile")
        return commit

    async def has(self, name: str) -> bool:
        """Whether an object is in the clone."""
        seen = await git(self.folder, "cat-file", "-e", f"{name}^{{object}}", accept=(0, 1, 128))
        return seen.exit_code == 0

    async def tree(self, commit: str) -> str:
        """The tree of a commit."""
        return await self._line("rev-parse", "--verify", f"{commit}^{{tree}}")

    async def paths(self, tree: str, prefix: str = "") -> dict[str, Entry]:
        """Every file at or below `prefix`, by its path from the root, sorted."""
        chosen = ("--", prefix) if prefix else ()
        listed = await git(self.folder, "ls-tree", "-r", "-z", "--full-tree", tree, *chosen)
        found: dict[str, Entry] = {}
        for line in listed.stdout.decode(errors="surrogateescape").split("\0")[:-1]:
            about, path = line.split("\t", 1)
            mode, _, blob = about.split(" ")
            found[path] = Entry(mode, blob)
        return found

    async def show(self, tree: str, path: str) -> bytes | None:
        """A file's bytes; none when there is no such file."""
        entry = (await self.paths(tree, path)).get(path)
        return None if entry is None else (await self.blobs([entry.blob]))[entry.blob]

    async def blobs(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of many blobs at once."""
        asked = "".join(f"{name}\n" for name in names).encode()
        answer = (await git(self.folder, "cat-file", "--batch", stdin=asked)).stdout
        found: dict[str, bytes] = {}
        at = 0
        for name in names:
            end = answer.index(b"\n", at)
            words = answer[at:end].split(b" ")
            if words[-1] == b"missing":
                raise Retry(f"git has no object {name}")
            size = int(words[2])
            found[name] = answer[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return found

    async def changed(self, old: str, new: str) -> dict[str, tuple[Entry | None, Entry | None]]:
        """Every path that differs between two trees, with the file before and after."""
        before, after = await self.paths(old), await self.paths(new)
        return {
            path: (before.get(path), after.get(path))
            for path in sorted(before.keys() | after.keys())
            if before.get(path) != after.get(path)
        }

    async def diff(self, old: str, new: str) -> str:
        """The unified diff between two trees."""
        options = ("--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "--full-index")
        return (await git(self.folder, "diff", *options, old, new)).stdout.decode(errors="replace")

    async def is_ancestor(self, older: Commit, newer: Commit) -> bool:
        """Whether `newer` contains `older`."""
        seen = await git(self.folder, "merge-base", "--is-ancestor", older, newer, accept=(0, 1))
        return seen.exit_code == 0

    async def log(self, after: Commit | None, upto: Commit) -> tuple[Logged, ...]:
        """The commits of `upto` that `after` does not contain, newest first."""
        span = upto if after is None else f"{after}..{upto}"
        listed = await git(
            self.folder, "log", "-z", "--topo-order", "--format=%H%n%an%n%ct%n%s%n%B", span, "--"
        )
        return tuple(map(_logged, listed.stdout.decode(errors="replace").split("\0")[:-1]))

    async def parent(self, commit: Commit) -> Commit:
        """A commit's first parent."""
        return await self._line("rev-parse", "--verify", f"{commit}^1")

    async def date(self, commit: Commit) -> int:
        """When a commit was made, in seconds since 1970."""
        return int(await self._line("log", "-1", "--format=%ct", commit, "--"))

    # --- writing into the clone ------------------------------------------------------------------

    async def write(self, contents: Sequence[bytes]) -> list[str]:
        """Keep blobs; their names in the same order."""
        if not contents:
            return []
        with tempfile.TemporaryDirectory(prefix="upgradepath-blobs-") as name:
            files = [Path(name) / str(number) for number in range(len(contents))]
            for file, content in zip(files, contents, strict=True):
                file.write_bytes(content)
            listed = "".join(f"{file}\n" for file in files).encode()
            arguments = ("hash-object", "-w", "--no-filters", "--stdin-paths")
            return (await git(self.folder, *arguments, stdin=listed)).stdout.decode().split()

    async def tree_with(self, base: str | None, changes: Mapping[str, bytes | Entry | None]) -> str:
        """`base` (none: nothing) with files written, or taken away where the change is none.

        Bytes keep the mode of the file that they replace.
        """
        written = {path: change for path, change in changes.items() if isinstance(change, bytes)}
        before = {} if base is None or not written else await self.paths(base)
        names = dict(zip(written, await self.write(list(written.values())), strict=True))
        entries = {
            path: Entry(_kept_mode(before.get(path)), names[path]) if isinstance(change, bytes) else change
            for path, change in changes.items()
        }
        # Removals first: a file may take the place of a folder.
        ordered = sorted(entries.items(), key=lambda item: (item[1] is not None, item[0]))
        lines = "".join(
            f"0 {'0' * 40}\t{path}\0" if entry is None else f"{entry.mode} {entry.blob}\t{path}\0"
            for path, entry in ordered
        )
        with tempfile.TemporaryDirectory(prefix="upgradepath-index-") as name:
            index = {"GIT_INDEX_FILE": f"{name}/index"}
            await git(self.folder, "read-tree", base or "--empty", variables=index)
            await git(
                self.folder,
                *("update-index", "-z", "--index-info"),
                stdin=lines.encode(errors="surrogateescape"),
                variables=index,
            )
            return await self._line("write-tree", variables=index)

    async def commit(
        self, tree: str, parents: Sequence[Commit], message: str, *, when: int, author: str = _AUTHOR
    ) -> Commit:
        """A commit whose name depends on nothing but the arguments; `when` in seconds since 1970."""
        name, _, email = author.rstrip(">").partition(" <")
        date = f"@{when} +0000"
        variables = {
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_DATE": date,
        }
        over = [part for parent in parents for part in ("-p", parent)]
        text = message.rstrip("\n").encode() + b"\n"
        return await self._line("commit-tree", f"{tree}^{{tree}}", *over, stdin=text, variables=variables)

    async def merge(self, base: str, ours: str, theirs: str, labels: Labels) -> Merge:
        """Merge the trees `ours` and `theirs` over the tree `base`."""
        return await merge_trees(self.folder, base, ours, theirs, labels)

    async def merge_commits(self, ours: Commit, theirs: Commit, labels: Labels) -> Merge:
        """Merge two commits over the base that their histories have in common."""
        return await merge_commits(self.folder, ours, theirs, labels)

    async def export(self, commit: str, folder: Path) -> None:
        """Write the files of a commit into `folder`, as a checkout would, without `.git`."""
        index = _make(folder) / ".upgradepath-index"
        variables = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(folder)}
        work_tree = ("-c", "core.bare=false")
        try:
            await git(self.folder, *work_tree, "read-tree", commit, variables=variables)
            arguments = ("checkout-index", "--all", "--force", "--quiet")
            await git(self.folder, *work_tree, *arguments, variables=variables)
        finally:
            index.unlink(missing_ok=True)

    # --- writing to the remote -------------------------------------------------------------------

    async def push(self, updates: Sequence[RefUpdate | tuple[str, Commit | None, Commit | None]]) -> None:
        """Move refs of the remote, all or none; raises `Moved` when one was not where it was expected.

        Refs that all stand where they should already are a push that was done before.
        """
        wanted = [RefUpdate(*update) for update in updates]
        leases = [f"--force-with-lease={update.ref}:{update.expected or ''}" for update in wanted]
        specs = [f"{update.new or ''}:{update.ref}" for update in wanted]
        options = ("--porcelain", "--atomic", "--no-verify", "--no-recurse-submodules", *leases)
        arguments = ("push", *options, self.remote, *specs)
        async with around("git-push"):
            pushed = await git(self.folder, *arguments, deadline_s=REMOTE_DEADLINE_S, accept=(0, 1, 128))
        if pushed.exit_code != 0:
            await self._explain(wanted, pushed)

    async def _explain(self, wanted: Sequence[RefUpdate], pushed: Finished) -> None:
        if not _REJECTED.search(pushed.stdout.decode(errors="replace")):
            raise failed("push", pushed)
        found = await self.refs(*(update.ref for update in wanted))
        if all(found.get(update.ref) == update.new for update in wanted):
            return
        for update in wanted:
            if found.get(update.ref) not in (update.expected, update.new):
                raise Moved(update.ref, update.expected, found.get(update.ref))
        raise failed("push", pushed)

    async def _line(
        self, *arguments: str, stdin: bytes | None = None, variables: Mapping[str, str] | None = None
    ) -> str:
        finished = await git(self.folder, *arguments, stdin=stdin, variables=variables)
        return finished.stdout.decode().strip()


def _make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _kept_mode(before: Entry | None) -> str:
    return FILE_MODE if before is None or before.mode in _LINKS_AND_FOLDERS else before.mode


def _logged(text: str) -> Logged:
    commit, author, when, subject, message = text.split("\n", 4)
    return Logged(commit, author, subject, message.strip(), int(when))
