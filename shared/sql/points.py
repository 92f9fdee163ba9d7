"""A name behind a point, which is a function where no column has it: `f.pg_read_file` reads a file. Pure.

A few words are functions and columns alike (`http`). Behind the name of a table such a word is a column;
behind that of rows which only the statement makes, the server calls the function with the row.
"""

from collections.abc import Sequence

from shared.sql.calls import Refused, refused_unseen
from shared.sql.outward import ORDINARY_WORDS
from shared.sql.tree import Part, inner

_OF_TABLES = frozenset({"new", "old", "excluded"})
_MAKE_ROWS = frozenset(
    {"RangeSubselect", "RangeFunction", "RangeTableFunc", "JoinExpr", "JsonTable", "RangeTableSample"}
)
_POINTED = ("ColumnRef", "A_Indirection")


def refused_points(parts: Sequence[Part], *, variables: bool) -> Refused:
    """Of all parts of a statement; with `variables` a name that it does not make is PL/pgSQL's own record."""
    pointed = [part for part in parts if part.kind in _POINTED]
    ordinary = any(
        ORDINARY_WORDS.intersection(part.names[1:]) for part in pointed if part.kind == "ColumnRef"
    )
    tables, made = _ranges(parts) if ordinary else (frozenset[str](), frozenset[str]())
    for part in pointed:
        for before, each in zip(("", *part.names), part.names, strict=False):
            if part.kind == "ColumnRef":
                is_table = before in tables or before in _OF_TABLES or variables
                if not before or (each in ORDINARY_WORDS and is_table and before not in made):
                    continue
            yield from refused_unseen((each,))


def _ranges(parts: Sequence[Part]) -> tuple[frozenset[str], frozenset[str]]:
    """The names of tables in a statement, and those of rows that it makes."""
    tables, made = set(), set()
    for part in parts:
        alias = part.node.alias.aliasname if part.kind in ("RangeVar", *_MAKE_ROWS) else ""
        if part.kind == "CommonTableExpr":
            made.add(part.node.ctename)
        elif part.kind == "RangeVar":
            tables.add(alias or part.node.relname)
            if alias and part.node.relname != alias:
                made.update(_aliased(part, parts))
        elif part.kind == "RangeFunction":
            made.update([alias] if alias else _function_names(part))
        elif part.kind in _MAKE_ROWS:
            made.add(alias)
    return frozenset(tables), frozenset(made)


def _aliased(part: Part, parts: Sequence[Part]) -> set[str]:
    """The alias of a RangeVar that means rows of a WITH clause."""
    of_with = {each.node.ctename for each in parts if each.kind == "CommonTableExpr"}
    return {part.node.alias.aliasname} if part.node.relname in of_with else set()


def _function_names(part: Part) -> set[str]:
    """What rows of functions are called without an alias: as each function is."""
    found = set()
    for item in part.node.functions:
        for each in inner(item).items:
            if each.WhichOneof("node") == "func_call":
                found.add(inner(each.func_call.funcname[-1]).sval)
    return found
