"""Fragments of many Systems made one schema: who owns what, and where two of them disagree. Pure.

A file's owner is its name without the ending. Whoever defines a model owns it, and its fields. Another may
reopen it under `/// @extends <owner>`, only to add fields of its own. What two say differently is a conflict
that names both; nobody wins by coming last.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from shared.prisma.blocks import SCALARS, Block, Fragment, Member, read_fragment
from shared.prisma.ownership import (
    Conflict,
    Conflicts,
    Line,
    Side,
    Unified,
    block_side,
    member_side,
    owner_of,
)

_CONFIGURATION = frozenset({"datasource", "generator"})
_ADDABLE = ("@@index", "@@unique")


def merge(fragments: Mapping[str, str]) -> Unified | Conflicts:
    """One schema out of schema files (path to text), in whatever order. Raises `Unreadable`."""
    merging = _Merging([read_fragment(path, fragments[path]) for path in sorted(fragments)])
    conflicts = merging.run()
    return Conflicts(tuple(conflicts)) if conflicts else merging.unified()


def remove(fragments: Mapping[str, str], owner: str) -> Mapping[str, str] | Conflicts:
    """The files without an owner's, and so without its fields in others' models and its relations.

    Conflicts name each field of others that could not stay: one of a model or enum that goes, or added there.
    """
    read = [read_fragment(path, fragments[path]) for path in sorted(fragments)]
    going = {
        block.name: block_side(fragment, block)
        for fragment in read
        if owner_of(fragment.path) == owner
        for block in fragment.blocks
        if block.extends is None and block.kind not in _CONFIGURATION
    }
    models = {block.name for fragment in read for block in fragment.blocks if block.kind == "model"}
    broken = [
        Conflict(
            subject=f"{block.name}.{member.key}",
            reason=f"needs {name}, which goes with {owner}",
            one=member_side(fragment, member),
            other=going[name],
            cure=f"take the field out first, or keep {owner}",
        )
        for fragment in read
        if owner_of(fragment.path) != owner
        for block in fragment.blocks
        for member in block.fields
        for name in {member.type, _reopened(block, member, owner, models)} & going.keys()
    ]
    kept = {path: text for path, text in fragments.items() if owner_of(path) != owner}
    return Conflicts(tuple(broken)) if broken else kept


def _reopened(block: Block, member: Member, owner: str, models: set[str]) -> str:
    """The owner's model in which this field stores something; the other side of a relation does not."""
    return block.name if block.extends == owner and member.type not in models else ""


@dataclass
class _Merged:
    """A block as its owner has it, and what others add."""

    fragment: Fragment
    block: Block
    added: list[tuple[Fragment, Member]] = field(default_factory=list)
    members: dict[str, tuple[Fragment, Member]] = field(default_factory=dict)
    owners: dict[str, list[str]] = field(default_factory=dict)


class _Merging:
    """One merge; conflicts gather until the end."""

    def __init__(self, fragments: list[Fragment]) -> None:
        self._fragments = fragments
        self._blocks: dict[str, _Merged] = {}
        self._dropped: set[tuple[str, int]] = set()

    def run(self) -> list[Conflict]:
        pieces = [(fragment, block) for fragment in self._fragments for block in fragment.blocks]
        own = [piece for piece in pieces if piece[1].extends is None]
        others = [piece for piece in pieces if piece[1].extends is not None]
        found = [conflict for piece in own for conflict in self._define(*piece)]
        return found + [conflict for piece in others for conflict in self._extend(*piece)]

    def _define(self, fragment: Fragment, block: Block) -> Iterator[Conflict]:
        configuration = block.kind in _CONFIGURATION
        name = f"{block.kind} {block.name}" if configuration else block.name
        there = self._blocks.get(name)
        if there is None:
            merged = self._blocks[name] = _Merged(fragment, block)
            for member in block.members:
                if member.key in merged.members:
                    yield _twice(block, merged.members[member.key], (fragment, member))
                merged.members[member.key] = (fragment, member)
                merged.owners[member.key] = [owner_of(fragment.path)]
        elif configuration and _said(there.block) == _said(block):
            self._dropped.add((fragment.path, block.line))
        else:
            owner = owner_of(there.fragment.path)
            yield Conflict(
                subject=block.name,
                reason="is defined twice",
                one=block_side(there.fragment, there.block),
                other=block_side(fragment, block),
                cure=f"write `/// @extends {owner}` above the second to add fields, or give it another name",
            )

    def _extend(self, fragment: Fragment, block: Block) -> Iterator[Conflict]:
        self._dropped.add((fragment.path, block.line))
        there = self._blocks.get(block.name)
        owner = None if there is None else owner_of(there.fragment.path)
        if there is None or owner != block.extends or (block.kind, there.block.kind) != ("model", "model"):
            yield self._unfit(fragment, block, there)
            return
        new = {member.key for member in block.fields} - there.members.keys()
        for member in block.members:
            known = there.members.get(member.key)
            if known is None:
                refused = self._refused(there, fragment, member, new)
                if refused is not None:
                    yield refused
                    continue
                there.members[member.key] = (fragment, member)
                there.added.append((fragment, member))
                there.owners[member.key] = [owner_of(fragment.path)]
            elif _agree(known[1], member):
                owners = there.owners[member.key]
                owners += [one for one in [owner_of(fragment.path)] if one not in owners]
            else:
                yield _twice(block, known, (fragment, member))

    def _unfit(self, fragment: Fragment, block: Block, there: _Merged | None) -> Conflict:
        """A block that cannot be reopened as it says."""
        other = block_side(fragment, block)
        if there is not None:
            one = block_side(there.fragment, there.block)
            owner = owner_of(there.fragment.path)
            if owner != block.extends:
                return Conflict(
                    block.name,
                    f"is {owner}'s, not {block.extends}'s",
                    one,
                    other,
                    f"write `/// @extends {owner}`",
                )
            cure = "reopen a model, and only to add fields; all else is its owner's"
            return Conflict(block.name, f"is no model that {block.extends} has", one, other, cure)
        named = next((each.path for each in self._fragments if owner_of(each.path) == block.extends), None)
        says = "has no such model" if named else "is not there"
        one = Side(str(block.extends), (named or f"{block.extends}.prisma", 1), says)
        return Conflict(
            block.name, "is not there to be reopened", one, other, "correct the name, or define the model"
        )

    def _refused(self, there: _Merged, fragment: Fragment, member: Member, new: set[str]) -> Conflict | None:
        """What may not be added to another's model."""
        other, base = member_side(fragment, member), there.block
        one = block_side(there.fragment, base)
        if member.is_attribute:
            named = {token for token in member.tokens if token in there.members or token in new}
            if member.key.startswith(_ADDABLE) and named <= new:
                return None
            return Conflict(
                subject=f"{base.name} {member.tokens[0]}",
                reason="is for the model's owner to say",
                one=one,
                other=other,
                cure="only an @@index or @@unique of the fields added here may stand here",
            )
        of = self._blocks.get(member.type)
        stored = member.type in SCALARS or (of is not None and of.block.kind == "enum")
        filled = member.is_optional or member.is_list or member.has("@default") or member.has("@updatedAt")
        if stored and not filled:
            return Conflict(
                subject=f"{base.name}.{member.key}",
                reason="is required, and its owner's code would not fill it",
                one=one,
                other=other,
                cure="make it optional, or give it a @default",
            )
        return None

    def unified(self) -> Unified:
        files: dict[str, str] = {}
        origins: dict[str, tuple[Line, ...]] = {}
        inserted = {(merged.fragment.path, merged.block.line): merged for merged in self._blocks.values()}
        for fragment in self._fragments:
            numbered = [*self._lines(fragment, inserted)]
            files[fragment.path] = "\n".join(text for text, _ in numbered)
            origins[fragment.path] = tuple(origin for _, origin in numbered)
        return Unified(
            files=files,
            origins=origins,
            owners={name: owner_of(merged.fragment.path) for name, merged in self._blocks.items()},
            field_owners={
                (name, key): tuple(owners)
                for name, merged in self._blocks.items()
                for key, owners in merged.owners.items()
                if not key.startswith("@@")
            },
        )

    def _lines(
        self, fragment: Fragment, inserted: Mapping[tuple[str, int], _Merged]
    ) -> Iterator[tuple[str, Line]]:
        """A file's lines with what others add to its models, and without what it adds to theirs."""
        gone: set[int] = set()
        before: dict[int, list[tuple[str, Line]]] = {}
        for block in fragment.blocks:
            if (fragment.path, block.line) in self._dropped:
                gone |= {*range(block.first, block.end + 1)}
                continue
            for source, member in inserted[fragment.path, block.line].added:
                attributes = [each.first for each in block.members if each.is_attribute]
                at = block.end if member.is_attribute or not attributes else attributes[0]
                before.setdefault(at, []).extend(
                    (source.lines[number], (source.path, number + 1))
                    for number in range(member.first, member.line + 1)
                    if source.lines[number].strip()
                )
        for number, text in enumerate(fragment.lines):
            yield from before.get(number, ())
            if number not in gone:
                yield text, (fragment.path, number + 1)


def _said(block: Block) -> list[tuple[str, ...]]:
    return [member.tokens for member in block.members]


def _agree(one: Member, other: Member) -> bool:
    return (one.tokens, one.annotations) == (other.tokens, other.annotations)


def _twice(block: Block, one: tuple[Fragment, Member], other: tuple[Fragment, Member]) -> Conflict:
    return Conflict(
        subject=f"{block.name}.{one[1].key}",
        reason="is said differently" if not _agree(one[1], other[1]) else "is said twice",
        one=member_side(*one),
        other=member_side(*other),
        cure="agree on one of them, or give one another name",
    )
