"""Conflicts of a merge that are about line ends alone, decided: the lines are merged, and then their ends."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from shared.clients.git_merge import Conflict, Labels, Merge, merge_trees, shown
from shared.clients.git_objects import Objects
from shared.clients.git_values import Entry
from shared.clients.line_ends import is_same_but_for_ends, is_text, with_ends_of, with_unix_ends

_REGULAR = ("100644", "100755")
_BASE, _OURS, _THEIRS = 1, 2, 3


class Repository(Protocol):
    """What is asked of a clone."""

    objects: Objects

    async def blobs(self, names: Sequence[str]) -> dict[str, bytes]: ...

    async def tree_with(self, base: str | None, changes: Mapping[str, bytes | Entry | None]) -> str: ...


async def without_disputed_ends(git: Repository, merge: Merge, ours: str, labels: Labels) -> Merge:
    """The merge again, with every file whose sides have other line ends merged as if they had the same.

    Raises `Retry` as the merge does. `ours` is the tree, or commit, whose attributes count.
    """
    regular = [each for each in merge.conflicts if _is_of_files(each)]
    blobs = await git.blobs([entry.blob for each in regular for entry in each.stages.values()])
    decided: dict[str, bytes | None] = {}
    again: dict[str, Conflict] = {}
    for each in regular:
        sides = {stage: blobs[entry.blob] for stage, entry in each.stages.items()}
        if (
            each.kind == "modify/delete"
            and _was_saved_with_other_ends(each)
            and is_same_but_for_ends(*sides.values())
        ):
            # Nobody has written anything that the other's deletion would lose.
            decided[each.path] = None
        elif each.kind == "contents" and _differs_in_ends(sides):
            again[each.path] = each
    left = {each.path: each for each in merge.conflicts if each.path not in decided}
    if again:
        merged, open_ones = await _merged_lines(git, again, blobs, ours, labels)
        decided |= merged
        for path in merged:
            del left[path]
        left |= open_ones
    if not decided:
        return merge
    tree = await git.tree_with(merge.tree, decided)
    return Merge(tree, tuple(left[path] for path in sorted(left)))


def _is_of_files(conflict: Conflict) -> bool:
    entries = conflict.stages.values()
    return all(entry.mode in _REGULAR for entry in entries) and (
        (conflict.kind == "contents" and {_OURS, _THEIRS} <= conflict.stages.keys())
        or (conflict.kind == "modify/delete" and len(conflict.stages) == 2 and _BASE in conflict.stages)
    )


def _was_saved_with_other_ends(conflict: Conflict) -> bool:
    """True when its bytes are others and its mode is not: a new mode or place is somebody's work."""
    one, other = conflict.stages.values()
    return one.mode == other.mode and one.blob != other.blob


def _differs_in_ends(sides: Mapping[int, bytes]) -> bool:
    return all(map(is_text, sides.values())) and any(b"\r\n" in data for data in sides.values())


async def _merged_lines(
    git: Repository, conflicts: Mapping[str, Conflict], blobs: Mapping[str, bytes], ours: str, labels: Labels
) -> tuple[dict[str, bytes | None], dict[str, Conflict]]:
    """The files merged with LF ends, each with the ends that it shall have; and what is in conflict still."""
    trees = [
        await git.tree_with(
            None,
            {
                path: with_unix_ends(blobs[each.stages[stage].blob])
                for path, each in conflicts.items()
                if stage in each.stages
            },
        )
        for stage in (_BASE, _OURS, _THEIRS)
    ]
    merge = await merge_trees(git.objects, trees[0], trees[1], trees[2], labels, attributes=ours)
    files = (await git.objects.listing(merge.tree)).files
    found = {path: files[path].blob for path in conflicts}
    lines = await git.blobs(list(found.values()))
    still = {each.path: each for each in merge.conflicts}
    done: dict[str, bytes | None] = {}
    open_ones: dict[str, Conflict] = {}
    for path, each in conflicts.items():
        sides = [
            blobs[each.stages[stage].blob] if stage in each.stages else b""
            for stage in (_BASE, _OURS, _THEIRS)
        ]
        data = await asyncio.to_thread(with_ends_of, lines[found[path]], *sides)
        if data is None:
            continue
        done[path] = data
        if path in still:
            open_ones[path] = replace(each, hunk=shown(data) or still[path].hunk)
    return done, open_ones
