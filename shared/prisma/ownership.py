"""Who owns which part of a schema, and what two owners dispute."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TypeAlias

from shared.prisma.blocks import Block, Fragment, Member

Line: TypeAlias = tuple[str, int]
"""A file and a line of it, from 1."""


@dataclass(frozen=True)
class Side:
    """What one owner says, and where."""

    owner: str
    place: Line
    says: str

    def __str__(self) -> str:
        return f"{self.place[0]}:{self.place[1]} ({self.says})"


@dataclass(frozen=True)
class Conflict:
    """Two owners that cannot both have their way."""

    subject: str
    reason: str
    one: Side
    other: Side
    cure: str

    def __str__(self) -> str:
        return f"{self.subject} {self.reason}: {self.one} against {self.other}"


@dataclass(frozen=True)
class Conflicts:
    """Everything that is in dispute; never empty."""

    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True)
class Unified:
    """One schema. `origins` gives, for each line of each file, the line that it came from.

    `owners` is by block, `field_owners` by block and field: first whose it is, then who says the same.
    """

    files: Mapping[str, str]
    origins: Mapping[str, tuple[Line, ...]] = field(repr=False)
    owners: Mapping[str, str]
    field_owners: Mapping[tuple[str, str], tuple[str, ...]]


@lru_cache(maxsize=1024)
def owner_of(path: str) -> str:
    """Whose a schema file is: `prisma/schema/auth-system.prisma` is auth-system's."""
    return PurePosixPath(path).stem


def block_side(fragment: Fragment, block: Block) -> Side:
    says = f"{block.kind} {block.name}"
    if block.extends is not None:
        says = f"@extends {block.extends} {says}"
    return Side(owner_of(fragment.path), (fragment.path, block.line + 1), says)


def member_side(fragment: Fragment, member: Member) -> Side:
    says = " ".join((*member.annotations, fragment.lines[member.line].strip()))
    return Side(owner_of(fragment.path), (fragment.path, member.line + 1), " ".join(says.split()))
