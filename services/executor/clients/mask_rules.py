"""What each mask rule makes of a value, as SQL that production's server computes."""

import hashlib
import math
from dataclasses import dataclass

from services.executor.clients.mask_hashing import (
    decimal_digits,
    hashed_value,
    label_of,
    shape_of,
    spelled,
    uuid_of,
)
from services.executor.clients.mask_noise import noise
from services.executor.clients.mask_types import HASH_BITS, JSON_KINDS, Column
from services.executor.clients.postgres import quoted
from shared.prisma.mask_words import MaskRule, word_of

__all__ = ["JSON_KINDS", "Column", "Likeness", "expression"]


@dataclass(frozen=True)
class Likeness:
    """The columns that refer to each other share it: equal values stay equal, and others differ.

    `value` is the SQL of the value that is masked, where it is not the column's own.
    """

    bits: int = 0
    """At least so many decide a mask, as far as there is room."""
    characters: int | None = None
    folded: bool = False
    """Upper and lower case are the same."""
    value: str | None = None
    type_bits: int = 256
    """No more decide a hash, as a type among them holds no more."""
    apart: bool = False
    """Values that differ must differ still, so noise is the same for all."""

    @property
    def name_digits(self) -> int:
        return self._fitting(max(8, -(-self.bits // 4)), beside=len("Person "))

    @property
    def phone_digits(self) -> int:
        return self._fitting(max(10, math.ceil(self.bits / math.log2(10))), beside=len("+999"))

    @property
    def email_digits(self) -> int:
        return self._fitting(max(16, -(-self.bits // 4)), beside=len(_MAIL))

    @property
    def dense(self) -> bool:
        """Sixteen different characters are too few for what must differ in so little room."""
        return self.characters is not None and self.characters * 4 < self.bits and not self.folded

    def room(self, rule: MaskRule) -> int:
        """How many bits decide a mask of this rule."""
        match word_of(rule):
            case "name":
                return self.name_digits * 4
            case "phone":
                return math.floor(self.phone_digits * math.log2(10))
            case "email":
                return self.email_digits * 4
            case _:
                each = 5 if self.dense else 4
                room = 256 if self.characters is None else min(256, self.characters * each)
                return min(room, self.type_bits)

    def _fitting(self, digits: int, beside: int) -> int:
        room = _DIGITS_MAX if self.characters is None else self.characters - beside
        return max(0, min(digits, room, _DIGITS_MAX))


_MAIL = "@example.invalid"
_DIGITS_MAX = 50
"""A hash gives no more."""
_ARRAY_DIMENSIONS = 6
"""PostgreSQL has no more."""


def expression(column: Column, rule: MaskRule | None, salt: str, likeness: Likeness = Likeness()) -> str:
    """What production is asked for in place of the column. The rule must be one that the column takes."""
    name = quoted(column.column)
    if rule is None or rule == "keep":
        return name
    if rule == "null":
        return f"NULL::{column.type}"
    if not column.many:
        return f"({_masked(likeness.value or name, column, rule, salt, likeness)})::{column.type}"
    masked = [
        f" WHEN {count} THEN ({_elements(name, column, rule, salt, likeness, count)})::{column.type}"
        for count in range(1, _ARRAY_DIMENSIONS + 1)
    ]
    # An array without elements has no dimensions.
    return f"CASE array_ndims({name}){''.join(masked)} ELSE {name} END"


def _elements(
    name: str, column: Column, rule: MaskRule, salt: str, likeness: Likeness, dimensions: int
) -> str:
    """An array of as many dimensions, from the innermost values outwards."""
    places = [f"i{number}" for number in range(1, dimensions + 1)]
    value = f"({name}){''.join(f'[{place}]' for place in places)}"
    found = _masked(value, column, rule, salt, likeness)
    for number in range(dimensions, 0, -1):
        place = f"i{number}"
        found = (
            f"(SELECT array_agg({found} ORDER BY {place}) FROM generate_subscripts({name}, {number}) {place})"
        )
    return found


def _masked(value: str, column: Column, rule: MaskRule, salt: str, likeness: Likeness) -> str:
    word = word_of(rule)
    if word in ("date", "number"):
        return noise(value, column, rule, salt, same_for_all=likeness.apart)
    if word == "json":
        return shape_of(value, rule, salt)
    if word == "enum":
        return label_of(value, column, _ring(column, salt))
    text = spelled(value, column.kind)
    digest = f"sha256(convert_to('{salt}' || {f'lower({text})' if likeness.folded else text}, 'UTF8'))"
    hashed = f"encode({digest}, 'hex')"
    if word == "uuid" or column.kind == "uuid":
        return uuid_of(hashed)
    if column.kind in HASH_BITS:
        return hashed_value(value, hashed, column, likeness.type_bits, likeness.bits)
    match word:
        case "email":
            masked = f"left({hashed}, {likeness.email_digits}) || '{_MAIL}'"
        case "name":
            masked = f"'Person ' || left({hashed}, {likeness.name_digits})"
        case "phone":
            # No country begins with 999.
            digits = decimal_digits(hashed, likeness.phone_digits)
            masked = f"'+999' || left({digits}, {likeness.phone_digits})"
        case _:
            # Base 64 without its two signs, which some programs do not take: more in as little room.
            masked = f"translate(encode({digest}, 'base64'), '+/=', 'xy')" if likeness.dense else hashed
    if column.kind in JSON_KINDS:
        return f"to_json({masked})::{column.kind}"
    if column.kind == "bytea":
        return f"convert_to({masked}, 'UTF8')"
    return masked if likeness.characters is None else f"left({masked}, {likeness.characters})"


def _ring(column: Column, salt: str) -> list[str]:
    """The labels in an order that only this copy has."""
    labels = column.labels or ()
    return sorted(labels, key=lambda label: hashlib.sha256(f"{salt}{label}".encode()).digest())
