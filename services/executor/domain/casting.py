"""How a value of one type becomes one of another, both ways by the same rule. Pure."""

_NUMBERS = frozenset(
    {"smallint", "integer", "int", "bigint", "numeric", "decimal", "real", "double precision", "boolean"}
)


def cast(value: str, source: str, target: str) -> str:
    """`value`, an expression of type `source`, as `target`: through text, but for numbers.

    PostgreSQL knows no direct way between most types, and any type's text can be read again; but the text
    of 1.00 is no integer.
    """
    if _plain(source) in _NUMBERS and _plain(target) in _NUMBERS:
        return f"({value})::{target}"
    return f"({value})::text::{target}"


def _plain(name: str) -> str:
    return name.split("(")[0].strip().lower()
