"""How a value of one type becomes one of another, both ways by the same rule. Pure."""

import re

LIMITED = re.compile(r"(?:varchar|character varying|char|character|bpchar)\((\d+)\)")
INTEGERS = {"smallint": 1, "integer": 2, "int": 2, "bigint": 3}
_TEXTS = ("text", "character varying", "varchar", "character", "citext", "char", "bpchar")
BOUNDS = {
    "smallint": "-32768 AND 32767",
    "integer": "-2147483648 AND 2147483647",
    "int": "-2147483648 AND 2147483647",
    "bigint": "-9223372036854775808 AND 9223372036854775807",
}
_NUMBERS = frozenset(
    {"smallint", "integer", "int", "bigint", "numeric", "decimal", "real", "double precision", "boolean"}
)

_SHORT = {
    "bool": "boolean", "int2": "smallint", "int4": "integer", "int8": "bigint", "float4": "real",
    "float8": "double precision", "float": "double precision",
}  # fmt: skip


def cast(value: str, source: str, target: str) -> str:
    """`value`, an expression of type `source`, as `target`: through text, but for numbers and lists.

    PostgreSQL knows no direct way between most types, and any type's text can be read again; but the text
    of 1.00 is no integer, and a list of one value is that value.
    """
    if _plain(source) in _NUMBERS and _plain(target) in _NUMBERS:
        return f"({value})::{target}"
    if source.endswith("[]") and not target.endswith("[]"):
        return f"({value})[1]::text::{target}"
    if target.endswith("[]") and not source.endswith("[]"):
        element = target.removesuffix("[]")
        return f"CASE WHEN ({value}) IS NOT NULL THEN ARRAY[({value})::text::{element}] END"
    return f"({value})::text::{target}"


def _plain(name: str) -> str:
    plain = name.split("(")[0].strip().lower()
    return _SHORT.get(plain, plain)


def widens(old: str, new: str) -> bool:
    """Whether every value fits as it is: kin types, the new one as wide as the old or wider."""
    if old == new:
        return True
    if old in INTEGERS and new in INTEGERS:
        return INTEGERS[old] <= INTEGERS[new]
    before, after = old.split("(")[0], new.split("(")[0]
    return before in _TEXTS and after in ("text", "varchar", "character varying") and "(" not in new
