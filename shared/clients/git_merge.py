"""Three-way merges by Git itself, inside the object store: no work tree, no ref of the repository."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.clients.git_attributes import attributes_of
from shared.clients.git_command import git
from shared.clients.git_objects import Objects
from shared.clients.git_values import Entry

_HUNKS_CHARACTERS_MAX = 4000
_MESSAGE = b"merge\n"
_BEGIN, _END = b"<<<<<<< ", b">>>>>>> "


@dataclass(frozen=True)
class Labels:
    """The names that conflict markers carry."""

    ours: str
    theirs: str


@dataclass(frozen=True)
class Conflict:
    """One path that Git would not decide; `hunk` shows the lines, or Git's words where there are none."""

    path: str
    kind: str
    hunk: str
    stages: Mapping[int, Entry] = field(default_factory=dict, compare=False, repr=False)
    """The file of base (1), ours (2) and theirs (3), as far as there is one."""


@dataclass(frozen=True)
class Merge:
    """The merged tree; with conflicts, the markers are in its files."""

    tree: str
    conflicts: tuple[Conflict, ...]


async def merge_trees(
    objects: Objects, base: str, ours: str, theirs: str, labels: Labels, *, attributes: str | None = None
) -> Merge:
    """Merge two trees over a base tree, with the attributes of ours unless another tree has them."""
    # Git 2.39 takes no base for a merge; it finds one in commits that exist for this alone.
    below = await objects.write_commit(base, (), _MESSAGE, when=0)
    return await merge_commits(
        objects,
        await objects.write_commit(ours, (below,), _MESSAGE, when=0),
        await objects.write_commit(theirs, (below,), _MESSAGE, when=0),
        labels,
        attributes=attributes or ours,
    )


async def merge_commits(
    objects: Objects, ours: str, theirs: str, labels: Labels, *, attributes: str | None = None
) -> Merge:
    """Merge two commits over the base that their histories have in common, as in a checkout of ours."""
    with tempfile.TemporaryDirectory(prefix="upgradepath-merge-") as name:
        # Markers carry the names on the command line, so the two sides need refs. In a repository of
        # their own, over the same objects, merges at the same time do not see each other's.
        folder = Path(name)
        shared = {"GIT_OBJECT_DIRECTORY": str(objects.folder / "objects")}
        (folder / "HEAD").write_text("ref: refs/heads/none\n")
        (folder / "objects").mkdir()
        (folder / "info").mkdir()
        # Whoever looks for markers must find them.
        (folder / "info" / "attributes").write_text("* !conflict-marker-size\n")
        names = (_ref_name(labels.ours, "ours"), _ref_name(labels.theirs, "theirs"))
        if names[0] == names[1]:
            names = (names[0], f"{names[1]}-new")
        for ref, commit in zip(names, (ours, theirs), strict=True):
            file = folder / "refs" / "heads" / ref
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{commit}\n")
        arguments = ("merge-tree", "--write-tree", "-z", "--messages", *names)
        async with attributes_of(objects, attributes or ours) as work_tree:
            finished = await git(folder, *arguments, variables=shared, accept=(0, 1), work_tree=work_tree)
    tree, stages, conflicts = _parse(finished.stdout)
    objects.know_trees(tree)
    if not conflicts:
        return Merge(tree, ())
    contents = await _contents(objects.folder, tree, list(conflicts))
    return Merge(
        tree,
        tuple(
            Conflict(path, kind, shown(contents.get(path, b"")) or words, stages[path])
            for path, (kind, words) in conflicts.items()
        ),
    )


def marked_lines(content: bytes) -> tuple[tuple[int, int], ...]:
    """The first and last line, from 1, of every conflict that is marked in a file."""
    found: list[tuple[int, int]] = []
    begun: int | None = None
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.startswith(_BEGIN):
            begun = number
        elif line.startswith(_END) and begun is not None:
            found.append((begun, number))
            begun = None
    return tuple(found)


def hunks(content: bytes) -> str:
    """Every marked conflict of a file with its line numbers; empty when there is none."""
    lines = content.decode(errors="replace").split("\n")
    return "\n".join(
        f"lines {first}-{last}:\n" + "\n".join(lines[first - 1 : last])
        for first, last in marked_lines(content)
    )


def shown(content: bytes) -> str:
    """The same, cut to what a person reads."""
    text = hunks(content)
    if len(text) <= _HUNKS_CHARACTERS_MAX:
        return text
    return text[:_HUNKS_CHARACTERS_MAX] + "\n… (more in the file)"


def _ref_name(label: str, otherwise: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.")
    return re.sub(r"\.{2,}|\.lock$", "-", name) or otherwise


def _parse(output: bytes) -> tuple[str, dict[str, dict[int, Entry]], Mapping[str, tuple[str, str]]]:
    """The tree, and per conflicted path the files of its stages, its kind and Git's words.

    The format: tree NUL (mode SP blob SP stage TAB path NUL)* NUL
    (count NUL (path NUL){count} kind NUL text NUL)*.
    """
    fields = iter(output.decode(errors="surrogateescape").split("\0"))
    tree = next(fields)
    stages: dict[str, dict[int, Entry]] = {}
    for staged in fields:
        if not staged:
            break
        said, path = staged.split("\t", 1)
        mode, blob, stage = said.split(" ")
        stages.setdefault(path, {})[int(stage)] = Entry(mode, blob)
    conflicts = dict.fromkeys(stages, ("conflict", ""))
    for count in fields:
        if not count.strip():
            continue
        about = [next(fields) for _ in range(int(count))]
        kind, words = next(fields), next(fields)
        if not kind.startswith("CONFLICT"):
            continue
        short = kind.removeprefix("CONFLICT").strip(" ()") or "conflict"
        for path in about:
            if path in conflicts:
                conflicts[path] = (short, words.strip())
    return tree, stages, conflicts


async def _contents(repository: Path, tree: str, paths: list[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in paths:
        shown = await git(repository, "cat-file", "blob", f"{tree}:{path}", accept=(0, 128))
        if shown.exit_code == 0:
            found[path] = shown.stdout
    return found
