"""The types of PostgreSQL as masks see them: what may be personal, and which rule fits. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from shared.prisma.mask_words import MaskRule, amount_of, word_of

JSON_KINDS = frozenset({"json", "jsonb"})
INT_BITS: Final = {"int2": 15, "int4": 31, "int8": 63}
FLOATS = frozenset({"float4", "float8"})
NUMBERS = frozenset({*INT_BITS, *FLOATS, "numeric", "money"})
DATES = frozenset({"date", "timestamp", "timestamptz"})
DATE_RANGES = {"daterange": "date", "tsrange": "timestamp", "tstzrange": "timestamptz"}
NUMBER_RANGES = {"int4range": "int4", "int8range": "int8", "numrange": "numeric"}
RANGES = DATE_RANGES | NUMBER_RANGES
MULTIRANGES = {name.replace("range", "multirange"): name for name in RANGES}
"""The range of which each is made."""
SURROGATES = frozenset({*INT_BITS, "uuid"})
"""A primary key of these is made up by a program. Any other, a mail address or a day, says something."""
_NO_BOUND = 256
HASH_BITS: Final = {
    "int2": 15, "int4": 31, "int8": 62, "float4": 24, "float8": 53, "money": 45, "oid": 31, "xid": 31,
    "xid8": 62, "date": 14, "timestamp": 31, "timestamptz": 31, "time": 16, "timetz": 16, "interval": 24,
    "inet": 24, "cidr": 8, "macaddr": 40, "macaddr8": 56, "point": 48, "circle": 48, "box": 48, "lseg": 48,
    "path": 48, "polygon": 48, "line": 48, "xml": 256, "tsvector": 256, "tsquery": 256, "hstore": 256,
    "pg_lsn": 64, "char": 4, "bit": 0, "varbit": 0, "numeric": 49, "uuid": 122, "jsonpath": 256,
}  # fmt: skip
"""How many bits decide a hash of that type, at the least; of a string its length says how many."""


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
    primary: bool = False
    """It is part of the primary key."""
    refers: bool = False
    """A foreign key that production enforces makes it follow another column."""
    apart: bool = False
    """A unique index or an exclusion looks at it, perhaps among others."""
    labels: tuple[str, ...] | None = None
    """Of an enum, in their order."""
    digits: int | None = None
    """All that a numeric holds, `scale` of them behind the point; none without a bound."""
    scale: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.schema, self.table, self.column)

    @property
    def personal(self) -> bool:
        """True when it needs a rule: it may say something of a person. Of a type that nobody knows: yes."""
        surrogate = self.primary and self.kind in SURROGATES and not self.many
        return not (self.generated or self.refers or surrogate or self.category == "B")

    def takes(self, rule: MaskRule) -> bool:
        """True when the rule's value fits the type."""
        match word_of(rule):
            case "keep" | "null":
                return True
            case "json":
                return self.kind in JSON_KINDS
            case "email" | "name" | "phone":
                return self._is_text or self.kind in (*JSON_KINDS, "bytea", "uuid")
            case "hash":
                return self._is_text or self.kind in (*JSON_KINDS, "bytea", *HASH_BITS)
            case "uuid":
                return self.kind == "uuid" or (self._is_text and (self.characters or 36) >= 36)
            case "enum":
                return self.category == "E"
            case "date":
                return MULTIRANGES.get(self.kind, self.kind) in {*DATES, *DATE_RANGES}
            case _:
                return self._is_number and Decimal(amount_of(rule)) >= self.grain

    @property
    def grain(self) -> Decimal:
        """The least by which two numbers of the type differ; of one without a bound nothing."""
        kind = NUMBER_RANGES.get(MULTIRANGES.get(self.kind, self.kind), self.kind)
        if kind in INT_BITS:
            return Decimal(1)
        if kind == "money":
            return Decimal("0.01")
        return Decimal(0) if self.scale is None else Decimal(1).scaleb(-self.scale)

    @property
    def hash_bits(self) -> int:
        """How many bits decide a hash in this column, as far as its type limits them."""
        if self.kind == "numeric" and self.digits is not None:
            # The room of its digits, a fifteenth of which stand before the point at the most.
            before = min(max(self.digits - (self.scale or 0), 0), 15)
            return int((before + min(max(self.scale or 0, 0), 15)) * 3.3)
        return HASH_BITS.get(self.kind, _NO_BOUND)

    @property
    def _is_text(self) -> bool:
        return self.category == "S" and self.kind not in HASH_BITS

    @property
    def _is_number(self) -> bool:
        return MULTIRANGES.get(self.kind, self.kind) in {*NUMBERS, *NUMBER_RANGES}
