"""The rules by which a copy is masked, as one document, and where one masks less than another. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.executor.clients.mask_likeness import Key
from services.executor.clients.mask_types import Column
from shared.prisma.mask_words import MaskRule, amount_of, kept_keys, word_of

_LINES_MAX = 200
# What a mask still tells: everything, order and magnitude, how many are alike, a shape, which are alike.
_STRENGTHS = {"keep": 0, "date": 1, "number": 1, "enum": 2, "json": 3, "null": 5}
_HASHED = 4


@dataclass(frozen=True)
class Masked:
    """One column of production and the rule by which it is copied. `asked`: it needs a rule."""

    rule: MaskRule
    type: str
    asked: bool


Masks = Mapping[Key, Masked]
"""Every column of production that is copied."""


def masks_of(columns: Iterable[Column], rules: Mapping[Key, MaskRule | None]) -> Masks:
    """How these columns are copied; one without a rule is copied as it is."""
    return {
        each.key: Masked(rules.get(each.key) or "keep", each.type, each.personal)
        for each in columns
        if not each.generated
    }


def document(masks: Masks) -> bytes:
    """The masks as JSON, the same bytes for the same masks."""
    rows = [[*key, each.rule, each.type, each.asked] for key, each in sorted(masks.items())]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()


def read_document(data: bytes) -> Masks:
    """Read what `document` wrote. Raises ValueError for anything else."""
    return {(row[0], row[1], row[2]): Masked(*row[3:]) for row in json.loads(data)}


def both(one: Masks, other: Masks) -> Masks:
    """Of each column the weaker rule: who accepts this accepts both."""
    return {
        key: each if key not in other or _is_weaker(each.rule, other[key].rule) else other[key]
        for key, each in one.items()
    }


def weaker(masks: Masks, before: Masks | None) -> tuple[str, ...]:
    """A sentence for each column that is masked less than `before`; with nothing before, that is kept.

    A column that was not there before is held to those of its table that are gone: it may be one of them
    under another name.
    """
    found = [f"{_named(key)}: {said}" for key, said in _weaker(masks, before)]
    more = len(found) - _LINES_MAX
    return (*found[:_LINES_MAX], *([f"and {more} more"] if more > 0 else []))


def _weaker(masks: Masks, before: Masks | None) -> Iterator[tuple[Key, str]]:
    known = before or {}
    gone = sorted(known.keys() - masks.keys())
    tables = {key[:2] for key in masks}
    for key, each in sorted(masks.items()):
        if key in known:
            if _is_weaker(each.rule, known[key].rule):
                yield key, f"{known[key].rule} becomes {each.rule}"
        elif each.asked and each.rule == "keep":
            yield key, "kept as it is" if before is None else "new, and kept as it is"
        elif earlier := _stronger(key, each, known, gone, tables):
            yield key, f"{each.rule}, and it may be {_named(earlier)}, which was {known[earlier].rule}"
        elif each.asked and _moves_all_alike(each):
            yield key, f"{each.rule}, which moves every value by the same and hides nothing"


def _stronger(
    key: Key, each: Masked, known: Masks, gone: Sequence[Key], tables: set[tuple[str, str]]
) -> Key | None:
    """A column that is gone, was masked more, and may be this one under another name."""
    is_new_table = not any(other[:2] == key[:2] for other in known)
    for other in gone:
        same_table = other[:2] == key[:2] or (is_new_table and other[:2] not in tables)
        # What needs no rule, a key or a boolean, is taken for another column unless it looks the same.
        alike = each.asked or known[other].type == each.type
        if same_table and alike and _is_weaker(each.rule, known[other].rule):
            return other
    return None


def _is_weaker(rule: MaskRule, than: MaskRule) -> bool:
    """True when the first tells more of a value than the second."""
    one, other = word_of(rule), word_of(than)
    if one != other:
        return _STRENGTHS.get(one, _HASHED) < _STRENGTHS.get(other, _HASHED)
    if one in ("date", "number"):
        return Decimal(amount_of(rule)) < Decimal(amount_of(than))
    return not {*kept_keys(rule)} <= {*kept_keys(than)}


def _moves_all_alike(each: Masked) -> bool:
    """True when the noise is the type's least step, so that every value moves by it."""
    if each.rule == "date 1":
        return True
    return each.rule == "number 1" and each.type in ("smallint", "integer", "bigint")


def _named(key: Key) -> str:
    schema, table, column = key
    return f"{table}.{column}" if schema == "public" else f"{schema}.{table}.{column}"
