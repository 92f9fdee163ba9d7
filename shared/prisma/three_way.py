"""A fragment that a partner has edited, merged with its new version: block by block, member by member. Pure.

Git merges lines, so it calls two new fields at one place a conflict, and a realigned column an edit.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared.prisma.blocks import Block, Fragment, Member, Unreadable, read_fragment

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class ThreeWay:
    """The merged text. What both sides changed is named in `conflicts`, and stands in Git's markers."""

    text: str
    conflicts: tuple[str, ...]


def merge_fragment(base: str, ours: str, theirs: str, labels: tuple[str, str]) -> ThreeWay | None:
    """Merge; `labels` are what the markers call ours and theirs.

    None for text that cannot be taken apart, or defines something twice: that is for Git to merge.
    """
    if ours in (base, theirs):
        return ThreeWay(theirs, ())
    if theirs == base:
        return ThreeWay(ours, ())
    try:
        first, second, third = (_Side(read_fragment("", text)) for text in (base, ours, theirs))
    except Unreadable:
        return None
    if first.repeats or second.repeats or third.repeats:
        return None
    merging = _Merging(first, second, third, labels)
    lines = merging.run()
    return ThreeWay("\n".join(lines), tuple(merging.conflicts))


BlockKey = tuple[str, str, str | None]
_LAST: BlockKey = ("", "", None)


class _Side:
    """One of the three texts, by its blocks."""

    def __init__(self, fragment: Fragment) -> None:
        self.lines = fragment.lines
        self.blocks: dict[BlockKey, Block] = {}
        self.gaps: dict[BlockKey, list[str]] = {}
        """What stands before each block, and before the end, and belongs to none."""
        at = 0
        for block in fragment.blocks:
            key = (block.kind, block.name, block.extends)
            self.gaps[key] = [*self.lines[at : block.first]]
            self.blocks[key] = block
            at = block.end + 1
        self.gaps[_LAST] = [*self.lines[at:]]
        members = [{member.key for member in block.members} for block in fragment.blocks]
        self.repeats = len(self.blocks) < len(fragment.blocks) or any(
            len(keys) < len(block.members) for keys, block in zip(members, fragment.blocks, strict=True)
        )

    def raw(self, block: Block | None) -> list[str]:
        return [] if block is None else [*self.lines[block.first : block.end + 1]]

    def head(self, block: Block) -> list[str]:
        """A block's comments, without the line that opens it."""
        return [*self.lines[block.first : block.line]]

    def members(self, block: Block) -> dict[str, list[str]]:
        return {each.key: self.member(each) for each in block.members}

    def member(self, member: Member) -> list[str]:
        return [*self.lines[member.first : member.line + 1]]

    def tail(self, block: Block) -> list[str]:
        """The comments before a block's end."""
        last = block.members[-1].line if block.members else block.line
        return [*self.lines[last + 1 : block.end]]


class _Merging:
    """One merge; conflicts gather until the end."""

    def __init__(self, base: _Side, ours: _Side, theirs: _Side, labels: tuple[str, str]) -> None:
        self._base, self._ours, self._theirs = base, ours, theirs
        self._labels = labels
        self.conflicts: list[str] = []

    def run(self) -> list[str]:
        merged: list[str] = []
        for key in in_order(self._ours.blocks, self._theirs.blocks):
            block = self._block(key)
            if block:
                merged += self._gap(key, bool(merged)) + block
        return merged + self._gap(_LAST, bool(merged))

    def _gap(self, key: BlockKey, inside: bool) -> list[str]:
        base, ours, theirs = (side.gaps.get(key) for side in (self._base, self._ours, self._theirs))
        if ours is None or theirs is None:
            gap = ours or theirs or []
        elif _plain(ours) == _plain(base or []):
            gap = theirs
        else:
            known = set(_plain(ours))
            new = [] if _plain(theirs) == _plain(base or []) else theirs
            gap = ours + [line for line in new if line.strip() and " ".join(line.split()) not in known]
        return gap if gap or not inside or key == _LAST else [""]

    def _block(self, key: BlockKey) -> list[str]:
        base, ours, theirs = (side.blocks.get(key) for side in (self._base, self._ours, self._theirs))
        raw = [self._base.raw(base), self._ours.raw(ours), self._theirs.raw(theirs)]
        chosen = choose(*raw)
        if chosen is not None:
            return chosen
        name = f"{key[0]} {key[1]}"
        if ours is None or theirs is None:
            return self._disputed(name, raw[1], raw[2])
        return [
            *self._members_of(
                name,
                {} if base is None else {"": self._base.head(base)},
                {"": self._ours.head(ours)},
                {"": self._theirs.head(theirs)},
            ),
            self._theirs.lines[theirs.line],
            *self._members_of(
                name,
                {} if base is None else self._base.members(base),
                self._ours.members(ours),
                self._theirs.members(theirs),
            ),
            *(
                choose([] if base is None else self._base.tail(base), *self._tails(ours, theirs))
                or self._ours.tail(ours)
            ),
            self._theirs.lines[theirs.end],
        ]

    def _tails(self, ours: Block, theirs: Block) -> tuple[list[str], list[str]]:
        return self._ours.tail(ours), self._theirs.tail(theirs)

    def _members_of(
        self,
        block: str,
        base: Mapping[str, list[str]],
        ours: Mapping[str, list[str]],
        theirs: Mapping[str, list[str]],
    ) -> list[str]:
        merged: list[str] = []
        for key in in_order(ours, theirs):
            sides = [side.get(key, []) for side in (base, ours, theirs)]
            chosen = choose(*sides)
            if chosen is None:
                chosen = self._disputed(f"{block}: {key}" if key else block, sides[1], sides[2])
            merged += chosen
        return merged

    def _disputed(self, subject: str, ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
        self.conflicts.append(subject)
        return [f"<<<<<<< {self._labels[0]}", *ours, "=======", *theirs, f">>>>>>> {self._labels[1]}"]


def choose(base: list[str], ours: list[str], theirs: list[str]) -> list[str] | None:
    """The lines of the side that changed them; None when both did, and differently. Layout is no change."""
    if _plain(ours) == _plain(base) or _squeezed(ours) == _squeezed(theirs):
        return theirs
    return ours if _plain(theirs) == _plain(base) else None


def in_order(ours: Iterable[_Key], theirs: Iterable[_Key]) -> list[_Key]:
    """All keys: theirs as they stand, each of ours that theirs lacks behind the one it follows."""
    first: list[_Key] = []
    behind: dict[_Key, list[_Key]] = {key: [] for key in theirs}
    place = first
    for key in ours:
        if key in behind:
            place = behind[key]
        else:
            place.append(key)
    return [*first, *(each for key, own in behind.items() for each in (key, *own))]


def _plain(lines: Iterable[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines if line.strip()]


def _squeezed(lines: Iterable[str]) -> list[str]:
    return ["".join(line.split()) for line in lines if line.strip()]
