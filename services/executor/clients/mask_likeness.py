"""Masks compare as their columns do: equal values stay equal wherever they stand, and unique ones differ.

Columns that refer to each other form a group. Its masks are no longer than the shortest of them holds, fold
case where the type does, and are decided by enough bits for the rows that the unique ones among them have.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.executor.clients.mask_rules import Column, Likeness
from services.executor.clients.postgres import Connection, quoted
from shared.contracts.stages import Finding
from shared.prisma.mask_words import MaskRule, word_of

Key = tuple[str, str, str]
_HASHES = frozenset({"email", "name", "phone", "hash"})
"""Rules whose masks may meet. Others keep values apart, or are not for values that must be."""
_NOISE = frozenset({"date", "number"})
_ROW_BYTES_MIN = 28
"""No row takes less: its header and its pointer."""
_SPARE_BITS = 20
"""One copy in a million may meet two equal masks."""


@dataclass(frozen=True)
class Reference:
    """One pair of columns of a foreign key; `constraint` is the same for all pairs of one."""

    constraint: int
    own: Key
    theirs: Key


def likenesses(
    columns: Mapping[Key, Column], references: Sequence[Reference], rules: Mapping[Key, MaskRule | None]
) -> dict[Key, Likeness]:
    """What each masked column must heed; a column that stands alone forms a group by itself."""
    likeness: dict[Key, Likeness] = {}
    groups = _groups(columns, references, rules)
    for group in groups:
        members = [columns[key] for key in group]
        lengths = [member.characters for member in members if member.characters is not None]
        rows = max((_rows_at_most(member) for member in members if member.unique), default=0)
        shared = Likeness(
            bits=_bits(rows),
            characters=min(lengths, default=None),
            folded=any(member.kind == "citext" for member in members),
            type_bits=min(member.hash_bits for member in members),
            apart=any(member.apart or member.unique for member in members),
        )
        for key in group:
            likeness[key] = replace(shared, value=_value(key, columns, references))
    return _moved_together(likeness, groups, rules)


def _moved_together(
    likeness: Mapping[Key, Likeness], groups: Sequence[Sequence[Key]], rules: Mapping[Key, MaskRule | None]
) -> dict[Key, Likeness]:
    """Noise is the same for all in each column of a table and a rule, if it is in one.

    Else a unique beginning would move by another amount than its end, and could come after it. What refers
    to each other moves alike in every table.
    """
    found = dict(likeness)
    rows: dict[tuple[str, str, MaskRule], list[Key]] = {}
    for key in found:
        rule = rules.get(key)
        if rule is not None and word_of(rule) in _NOISE:
            rows.setdefault((*key[:2], rule), []).append(key)
    together = [*rows.values(), *groups]
    waiting = True
    while waiting:
        waiting = False
        for keys in together:
            apart = [found[key].apart for key in keys]
            if any(apart) and not all(apart):
                found.update({key: replace(found[key], apart=True) for key in keys})
                waiting = True
    return found


async def too_narrow(
    source: Connection,
    columns: Mapping[Key, Column],
    likeness: Mapping[Key, Likeness],
    rules: Mapping[Key, MaskRule | None],
) -> list[Finding]:
    """A finding for each unique column whose masks would meet; rows are counted only where it is close."""
    findings = []
    for key, alike in sorted(likeness.items()):
        column, rule = columns[key], rules.get(key)
        if not column.unique or rule is None or word_of(rule) not in _HASHES:
            continue
        if column.kind == "uuid" or alike.room(rule) >= alike.bits:
            continue
        rows = await source.fetchval(f"SELECT count(*) FROM {quoted(column.schema, column.table)}")
        if alike.room(rule) >= _bits(rows):
            continue
        findings.append(
            Finding(
                kind="project-file",
                subject=f"{column.table}.{column.column}",
                detail=f"It is unique, and {column.type} has no room for {rows:,} masks by {rule}.",
                cure=_wider(column),
            )
        )
    return findings


def _wider(column: Column) -> str:
    if column.characters is None:
        other = next((rule for rule in ("number 10", "date 30") if column.takes(rule)), None)
        return (
            f"use {other}, or keep where no person is meant" if other else "use keep where no person is meant"
        )
    return "make the column longer in a migration, or use hash, or keep where no person is named"


def _bits(rows: int) -> int:
    """How many bits keep so many values apart. Source: the birthday bound, n²/2 pairs."""
    return 0 if rows < 2 else math.ceil(2 * math.log2(rows)) + _SPARE_BITS


def _rows_at_most(column: Column) -> int:
    # Statistics may be missing or old; what lies on the disk cannot be.
    return column.bytes // _ROW_BYTES_MIN


def _groups(
    columns: Mapping[Key, Column], references: Sequence[Reference], rules: Mapping[Key, MaskRule | None]
) -> list[list[Key]]:
    leader = {key: key for key in columns if rules.get(key) not in (None, "keep", "null")}

    def find(key: Key) -> Key:
        while leader[key] != key:
            key = leader[key]
        return key

    for each in references:
        if each.own in leader and each.theirs in leader:
            leader[find(each.own)] = find(each.theirs)
    groups: dict[Key, list[Key]] = {}
    for key in leader:
        groups.setdefault(find(key), []).append(key)
    return list(groups.values())


def _value(key: Key, columns: Mapping[Key, Column], references: Sequence[Reference]) -> str | None:
    """The value of the row that is referred to, where a loose collation finds it by another spelling."""
    if not columns[key].loose:
        return None
    reference = next((each for each in references if each.own == key and each.theirs != key), None)
    if reference is None:
        return None
    pairs = [each for each in references if each.constraint == reference.constraint]
    same = " AND ".join(
        f"referred.{quoted(pair.theirs[2])} = {quoted(*pair.own[:2])}.{quoted(pair.own[2])}" for pair in pairs
    )
    schema, table, column = reference.theirs
    return f"(SELECT referred.{quoted(column)} FROM {quoted(schema, table)} referred WHERE {same})"
