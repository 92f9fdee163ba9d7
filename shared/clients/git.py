"""A Project's repository as a bare clone: read, build trees and commits, merge, push from where it was."""

import asyncio
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from shared.clients.git_access import Access, PersonsAccess
from shared.clients.git_attributes import as_committed
from shared.clients.git_checkout import Lacking, export, lacking
from shared.clients.git_clones import clone_lock, fill_clone
from shared.clients.git_command import REMOTE_DEADLINE_S, failed, git
from shared.clients.git_merge import Labels, Merge, merge_commits, merge_trees
from shared.clients.git_merge_ends import without_disputed_ends
from shared.clients.git_objects import IDENTITY, NO_TREE, Listing, Objects
from shared.clients.git_trees import with_changes
from shared.clients.git_values import Entry, Logged, Moved, RefUpdate
from shared.clients.processes import Finished
from shared.contracts.values import Commit
from shared.crash_points import around
from shared.errors import Retry

__all__ = ("FILE_MODE", "NO_TREE", "Entry", "Git", "Labels", "Logged", "Merge", "Moved", "RefUpdate")

FILE_MODE = "100644"
_FETCHED = ("+refs/heads/*:refs/remotes/origin/*", "+refs/upgradepath/*:refs/upgradepath/*")
_REJECTED = re.compile(r"^!\t", re.MULTILINE)
LINKS_AND_FOLDERS = ("120000", "160000")
"""The modes of links and of other repositories' commits."""

# Whoever names no door has a person's own; every call of a service names its Project's.
_PERSONS = PersonsAccess()


class Git:
    """One remote's bare clone in `folder`, a cache that may vanish between two uses.

    `access` reaches the remote. Every method raises `Retry`, with Git's words, when Git cannot do it now,
    one that goes to the remote `Failure` when only its keeper can allow it, and
    one that goes to the remote `BadRepository` when that is not taken. Commits, trees and blobs are
    named by 40 hexadecimal digits; where a tree is asked for, a commit does as well.
    """

    def __init__(self, folder: Path, remote: str, access: Access) -> None:
        self.folder = folder.absolute()
        self.remote = remote
        self._access = access
        self.objects = Objects(self.folder)
        self._there: set[str] = set()
        self._fetching = clone_lock(self.folder)

    @classmethod
    async def open(cls, remote: str, folder: Path, access: Access = _PERSONS) -> Self:
        """Make the clone if it is not there, and fetch every branch and every `refs/upgradepath/*`."""
        if remote.startswith("-"):
            raise ValueError("a remote that begins with a hyphen would be read as an option")
        opened = cls(folder, remote, access)
        await opened.fetch()
        return opened

    async def fetch(self) -> None:
        """Bring the clone up to date. Raises `Failure` for one that has become too large, and removes it."""
        options = ("--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        arguments = ("fetch", *options, self.remote, *_FETCHED)
        async with self._fetching, around("git-fetch"):
            if await fill_clone(self.folder, lambda: self._at_remote(*arguments)):
                self._there.clear()

    # --- reading ---------------------------------------------------------------------------------

    async def refs(self, *names: str) -> dict[str, Commit]:
        """Where the remote's refs stand now, by full name; what is not there is left out."""
        arguments = ("ls-remote", self.remote, *names)
        listed = (await self._at_remote(*arguments)).stdout.decode()
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
        if name not in self._there:
            seen = await git(self.folder, "cat-file", "-e", f"{name}^{{object}}", accept=(0, 1, 128))
            if seen.exit_code != 0:
                return False
            # Nothing sweeps away what is there, but for a clone that is made anew.
            self._there.add(name)
        return True

    async def tree(self, commit: str) -> str:
        """The tree of a commit."""
        return await self.objects.tree(commit)

    async def paths(self, tree: str, prefix: str = "") -> dict[str, Entry]:
        """Every file at or below `prefix`, by its path from the root, sorted."""
        return (await self.objects.listing(tree)).below(prefix)

    async def show(self, tree: str, path: str) -> bytes | None:
        """A file's bytes; none when there is no such file. A link is never followed, and is no file."""
        entry = (await self.objects.listing(tree)).files.get(path)
        if entry is None or entry.mode in LINKS_AND_FOLDERS:
            return None
        return (await self.blobs([entry.blob]))[entry.blob]

    async def blobs(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of many blobs at once."""
        return await self.objects.blobs(names)

    async def changed(self, old: str, new: str) -> dict[str, tuple[Entry | None, Entry | None]]:
        """Every path that differs between two trees, with the file before and after."""
        before, after = await self.objects.listing(old), await self.objects.listing(new)
        return await asyncio.to_thread(before.changed, after)

    async def diff(self, old: str, new: str) -> str:
        """The unified diff between two trees."""
        options = ("--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "--full-index")
        return (await git(self.folder, "diff", *options, old, new)).stdout.decode(errors="replace")

    async def is_ancestor(self, older: Commit, newer: Commit) -> bool:
        """Whether `newer` contains `older`."""
        if older == newer or older in (await self.objects.commit(newer)).parents:
            return True
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
        """A commit's first parent. Raises `Retry` where there is none."""
        parents = (await self.objects.commit(commit)).parents
        if not parents:
            raise Retry(f"{commit} has no parent")
        return parents[0]

    async def date(self, commit: Commit) -> int:
        """When a commit was made, in seconds since 1970."""
        return (await self.objects.commit(commit)).when

    # --- writing into the clone ------------------------------------------------------------------

    async def write(self, contents: Sequence[bytes]) -> list[str]:
        """Keep blobs; their names in the same order."""
        return await self.objects.write("blob", contents)

    async def tree_with(self, base: str | None, changes: Mapping[str, bytes | Entry | None]) -> str:
        """`base` (none: nothing) with files written, or taken away where the change is none.

        Bytes keep the mode of the file that they replace.
        """
        before = Listing({}, {}) if base is None else await self.objects.listing(base)
        written = {path: change for path, change in changes.items() if isinstance(change, bytes)}
        names = dict(zip(written, await self.write(list(written.values())), strict=True))
        entries = {
            path: Entry(_kept_mode(before.files.get(path)), names[path])
            if isinstance(change, bytes)
            else change
            for path, change in changes.items()
        }
        trees = await asyncio.to_thread(with_changes, before, entries)
        if trees is None:
            return await self._tree_by_index(base, entries)
        tree = NO_TREE if base is None else await self.tree(base)
        for folders in trees.levels():
            bodies = await asyncio.to_thread(list, map(trees.body, folders))
            made = await self.objects.write("tree", bodies)
            trees.named(folders, made)
            # The root is alone on the last level.
            tree = made[0]
        self.objects.know_trees(tree)
        return tree

    async def _tree_by_index(self, base: str | None, entries: Mapping[str, Entry | None]) -> str:
        """Git's own index judges each path, and refuses what may not stand in a tree."""
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
            return (await git(self.folder, "write-tree", variables=index)).stdout.decode().strip()

    async def commit(
        self, tree: str, parents: Sequence[Commit], message: str, *, when: int, author: str = IDENTITY
    ) -> Commit:
        """A commit whose name depends on nothing but the arguments; `when` in seconds since 1970."""
        text = message.rstrip("\n").encode() + b"\n"
        return await self.objects.write_commit(tree, parents, text, when=when, author=author)

    async def merge(self, base: str, ours: str, theirs: str, labels: Labels) -> Merge:
        """Merge the trees `ours` and `theirs` over the tree `base`."""
        merge = await merge_trees(self.objects, base, ours, theirs, labels)
        return await without_disputed_ends(self, merge, ours, labels)

    async def merge_commits(self, ours: Commit, theirs: Commit, labels: Labels) -> Merge:
        """Merge two commits over the base that their histories have in common."""
        merge = await merge_commits(self.objects, ours, theirs, labels)
        return await without_disputed_ends(self, merge, ours, labels)

    async def export(self, commit: str, folder: Path) -> None:
        """Write the files of a commit into `folder`, as a checkout would, without `.git`.

        Everybody may read them: the folder above is to be private.
        """
        await export(self.folder, commit, _make(folder))

    async def lacking(self, commit: str) -> tuple[Lacking, ...]:
        """What a clone of the commit has and a checkout would lack."""
        return await lacking(self.objects, commit)

    async def as_committed(self, tree: str, files: Mapping[str, bytes]) -> dict[str, str]:
        """Blobs of files, by path, as `git add` would make them in a checkout of `tree`."""
        return await as_committed(self.objects, tree, files)

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
            pushed = await self._at_remote(*arguments, accept=(0, 1, 128))
        if pushed.exit_code != 0:
            await self._explain(wanted, pushed)

    async def _at_remote(self, *arguments: str, accept: Sequence[int] = (0,)) -> Finished:
        async with self._access.reaching(self.remote) as variables:
            return await git(
                self.folder, *arguments, deadline_s=REMOTE_DEADLINE_S, variables=variables, accept=accept
            )

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


def _make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _kept_mode(before: Entry | None) -> str:
    return FILE_MODE if before is None or before.mode in LINKS_AND_FOLDERS else before.mode


def _logged(text: str) -> Logged:
    commit, author, when, subject, message = text.split("\n", 4)
    return Logged(commit, author, subject, message.strip(), int(when))
