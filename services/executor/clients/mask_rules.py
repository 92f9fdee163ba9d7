"""What each mask rule makes of a value, as SQL that production's server computes."""

import math
from dataclasses import dataclass

from services.executor.clients.postgres import quoted
from services.executor.clients.prisma import MaskRule

JSON_KINDS = frozenset({"json", "jsonb"})
# Numbers, booleans, times and enums: what a person writes cannot stand in them.
_PLAIN_CATEGORIES = frozenset("NBDTE")
_PLAIN_KINDS = frozenset(
    {
        *("uuid", "pg_lsn", "xid", "xid8", "pg_snapshot", "txid_snapshot"),
        *("int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange"),
        *("int4multirange", "int8multirange", "nummultirange"),
        *("tsmultirange", "tstzmultirange", "datemultirange"),
    }
)


@dataclass(frozen=True)
class Column:
    """A column of production. `kind` and `category` are of its element where it holds `many`.

    `type` is as PostgreSQL spells it, `kind` its bare name (of what a domain stands for), `category`
    PostgreSQL's letter for it (S: strings). What is `text_only` has no binary form, or one that carries
    oids, which differ from database to database.
    """

    schema: str
    table: str
    column: str
    required: bool
    type: str
    generated: bool
    text_only: bool
    many: bool
    kind: str
    category: str
    partitioned: bool
    bytes: int
    """The size of the whole table."""
    characters: int | None = None
    """The most that the type holds (of an element where it holds `many`); none without a bound."""
    unique: bool = False
    """It is the whole key of a unique index."""
    loose: bool = False
    """Its collation calls values equal that differ byte by byte."""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.schema, self.table, self.column)

    @property
    def personal(self) -> bool:
        """Whether it can hold a person's words, address or place. Of a type that nobody knows: yes."""
        return self.category not in _PLAIN_CATEGORIES and self.kind not in _PLAIN_KINDS

    def takes(self, rule: MaskRule) -> bool:
        """Whether the rule's value fits the type."""
        match rule:
            case "keep" | "null":
                return True
            case "json":
                return self.kind in JSON_KINDS
            case "email" | "name" | "phone" | "hash":
                return self.category == "S" or self.kind in (*JSON_KINDS, "bytea", "uuid")


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
        match rule:
            case "name":
                return self.name_digits * 4
            case "phone":
                return math.floor(self.phone_digits * math.log2(10))
            case "email":
                return self.email_digits * 4
            case _:
                each = 5 if self.dense else 4
                return 256 if self.characters is None else min(256, self.characters * each)

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
    text = f"lower({value}::text)" if likeness.folded else f"{value}::text"
    digest = f"sha256(convert_to('{salt}' || {text}, 'UTF8'))"
    hashed = f"encode({digest}, 'hex')"
    match rule:
        case "json":
            return _shape(value)
        case "email":
            masked = f"left({hashed}, {likeness.email_digits}) || '{_MAIL}'"
        case "name":
            masked = f"'Person ' || left({hashed}, {likeness.name_digits})"
        case "phone":
            # No country begins with 999.
            masked = f"'+999' || left({_decimal(hashed, likeness.phone_digits)}, {likeness.phone_digits})"
        case _:
            # Base 64 without its two signs, which some programs do not take: more in as little room.
            masked = f"translate(encode({digest}, 'base64'), '+/=', 'xy')" if likeness.dense else hashed
    if column.kind in JSON_KINDS:
        return f"to_json({masked})::{column.kind}"
    if column.kind == "bytea":
        return f"convert_to({masked}, 'UTF8')"
    if column.kind == "uuid":
        return f"left({hashed}, 32)"
    return masked if likeness.characters is None else f"left({masked}, {likeness.characters})"


def _decimal(hashed: str, digits: int) -> str:
    """At least so many decimal digits of a hash, ten at a time."""
    tens = (
        f"lpad((('x' || substr({hashed}, {1 + 12 * part}, 12))::bit(48)::bigint % {10**10})::text, 10, '0')"
        for part in range(max(1, -(-digits // 10)))
    )
    return f"({' || '.join(tens)})"


def _shape(value: str) -> str:
    """The same document with every string replaced by "masked" and every number by 0; its keys stay.

    Each pass takes keys and strings whole and leaves a mark behind what it took, or in its place. In jsonb's
    text `": "` follows a key and stands nowhere else outside a string, and the mark never occurs.
    """
    string, mark = r'"(?:[^"\\]|\\.)*"', "chr(1)"
    text = f"regexp_replace({value}::jsonb::text, '({string}: )|{string}', '\\1' || {mark}, 'g')"
    text = f"""replace(replace({text}, '": ' || {mark}, '": '), {mark}, '"masked"')"""
    text = f"regexp_replace({text}, '({string}(?:: )?)|-?[0-9][0-9.eE+-]*', '\\1' || {mark}, 'g')"
    text = f"""replace(replace({text}, '": ' || {mark}, '": '), '"' || {mark}, '"')"""
    return f"replace({text}, {mark}, '0')::jsonb"
