"""A tree with files written or taken away, made of the folders that it has: without an index. Pure.

What Git must judge is left to it: whether a path may stand in a tree at all.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from shared.clients.git_objects import NO_TREE, Listing
from shared.clients.git_values import Entry

_FOLDER_MODE = "40000"
# None of these can mean .git, .. or a device to any file system.
_HARMLESS = re.compile(r"(?!\.git|\.\.?$|git~)[A-Za-z0-9._+=@,()\[\]-]*[A-Za-z0-9_)\]-]", re.IGNORECASE)

_Folder = dict[str, Entry]


def is_harmless(path: str) -> bool:
    """Whether no system could take a part of the path for something else; if not, Git has to look."""
    return all(_HARMLESS.fullmatch(part) for part in path.split("/"))


class Trees:
    """The folders of a tree, to be changed."""

    def __init__(self, listing: Listing) -> None:
        self._folders: dict[str, _Folder] = {"": {}}
        self._changed: set[str] = set()
        for path, name in listing.folders.items():
            self._folders[path] = {}
            self._at(path)[_last(path)] = Entry(_FOLDER_MODE, name)
        for path, entry in listing.files.items():
            self._at(path)[_last(path)] = entry

    def _at(self, path: str) -> _Folder:
        return self._folders[_parent(path)]

    def change(self, changes: Mapping[str, Entry | None]) -> None:
        """Removals first: a file may take the place of a folder, and a folder that of a file."""
        for path, entry in changes.items():
            if entry is None and path not in self._folders and _parent(path) in self._folders:
                self._touch(path)
                self._at(path).pop(_last(path), None)
        for path, entry in sorted(changes.items()):
            if entry is not None:
                self._make_room(path)
                self._touch(path)
                self._at(path)[_last(path)] = entry

    def _make_room(self, path: str) -> None:
        for folder in _above(path):
            if folder not in self._folders:
                self._folders[folder] = {}
                self._at(folder)[_last(folder)] = Entry(_FOLDER_MODE, NO_TREE)
        # Walked down from here: a look at every folder for every change would be quadratic.
        gone = [path] if path in self._folders else []
        while gone:
            folder = gone.pop()
            below = self._folders.pop(folder)
            self._changed.discard(folder)
            gone += [f"{folder}/{name}" for name, entry in below.items() if entry.mode == _FOLDER_MODE]

    def _touch(self, path: str) -> None:
        self._changed.update(("", *_above(path)))

    def levels(self) -> Iterable[list[str]]:
        """The folders that are other than before, the deepest first: those of a level need no other."""
        depths: dict[int, list[str]] = {}
        for folder in self._changed:
            depths.setdefault(folder.count("/") + 1 if folder else 0, []).append(folder)
        return [sorted(depths[depth]) for depth in sorted(depths, reverse=True)]

    def body(self, folder: str) -> bytes:
        """The folder's tree as Git writes it."""
        entries = self._folders[folder]
        ordered = sorted(entries, key=lambda name: _sorting(name, entries[name]))
        return b"".join(
            b"%s %s\0%s" % (entries[name].mode.encode(), _bytes(name), bytes.fromhex(entries[name].blob))
            for name in ordered
        )

    def named(self, folders: Sequence[str], names: Sequence[str]) -> None:
        """These folders' trees have these names; a folder without anything in it is none."""
        for folder, name in zip(folders, names, strict=True):
            if not folder:
                continue
            if self._folders[folder]:
                self._at(folder)[_last(folder)] = Entry(_FOLDER_MODE, name)
            else:
                del self._at(folder)[_last(folder)]


def with_changes(before: Listing, changes: Mapping[str, Entry | None]) -> Trees | None:
    """The folders with these changes; none where Git has to judge a path."""
    if not all(is_harmless(path) for path, entry in changes.items() if entry is not None):
        return None
    trees = Trees(before)
    trees.change(changes)
    return trees


def _above(path: str) -> list[str]:
    """The folders that it lies in, the outermost first, without the root."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _sorting(name: str, entry: Entry) -> bytes:
    return _bytes(name) + (b"/" if entry.mode == _FOLDER_MODE else b"")
