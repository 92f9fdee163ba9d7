"""The names that PostgreSQL gives to constraints and indexes that a script leaves without one. Pure."""

from collections.abc import Collection
from itertools import count

from shared.sql.columns import Table
from shared.sql.parsing import parse
from shared.sql.tree import below, kind, strings

_BYTES = 63
_LABELS = {
    "check": "check", "unique": "key", "primary key": "pkey", "foreign key": "fkey", "exclude": "excl",
    "index": "idx", "not null": "not_null",
}  # fmt: skip


def given_name(table: Table, what: str, columns: tuple[str, ...], taken: Collection[str | None] = ()) -> str:
    """`t_a_b_key`, cut to what a name may be long, and numbered where `taken` has it already.

    A check of more than one column is named by its table alone, as is a primary key.
    """
    different = tuple(dict.fromkeys(columns))
    by_table = what == "primary key" or (what == "check" and len(different) != 1)
    second = "" if by_table else "_".join(different)
    for number in count():
        name = _cut(table[1], second, f"{_LABELS[what]}{number or ''}")
        if name not in taken:
            return name
    raise AssertionError("there are more numbers than names")


def columns_in(expression: str) -> tuple[str, ...]:
    """The columns that it names, each once."""
    (statement,) = parse(f"SELECT {expression}")
    found = (strings(each.fields) for each in below(statement.node) if kind(each) == "ColumnRef")
    return tuple(dict.fromkeys(names[-1] for names in found if names))


def _cut(first: str, second: str, label: str) -> str:
    """The longer of the two parts is shortened until all of it fits, in bytes."""
    one, two = first.encode(), second.encode()[:_BYTES]
    room = _BYTES - len(label) - 1 - bool(two)
    over = max(0, len(one) + len(two) - room)
    first_bytes, second_bytes = len(one), len(two)
    for _ in range(over):
        if first_bytes > second_bytes:
            first_bytes -= 1
        else:
            second_bytes -= 1
    parts = (one[:first_bytes].decode(errors="ignore"), two[:second_bytes].decode(errors="ignore"), label)
    return "_".join(part for part in parts if part)
