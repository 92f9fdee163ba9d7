"""A name behind a point, which is a function where no column has it: `f.pg_read_file` reads a file. Pure.

A few words are functions and columns alike (`http`). Behind the name of a table such a word is a column;
behind that of rows which only the statement makes, the server calls the function with the row. It does so
too behind a parameter of a function in SQL, but not behind a variable of PL/pgSQL.
"""

from collections.abc import Sequence

from shared.sql.calls import Refused, refused_unseen
from shared.sql.outward import ORDINARY_WORDS
from shared.sql.tree import Part, inner

# Statements and clauses that give names to rows of their table; elsewhere the names are anybody's.
_OWN_ROWS: dict[str, frozenset[str]] = {
    "RuleStmt": frozenset({"new", "old"}),
    "CreateTrigStmt": frozenset({"new", "old"}),
    "ReturningClause": frozenset({"new", "old"}),
    "OnConflictClause": frozenset({"excluded"}),
}
_MAKE_ROWS = frozenset({"RangeSubselect", "RangeFunction", "RangeTableFunc", "JoinExpr", "JsonTable"})
_ANY = "*"
"""Stands for every name, where the server finds one for rows that have none. No lawful name needs it."""
_POINTED = ("ColumnRef", "A_Indirection")


def refused_points(parts: Sequence[Part], *, variables: bool, parameters: frozenset[str]) -> Refused:
    """Of all parts of a statement; with `variables` a name that it does not make is PL/pgSQL's own record.

    `parameters` are those of the function in SQL in whose body it stands.
    """
    pointed = [part for part in parts if part.kind in _POINTED]
    ordinary = any(
        ORDINARY_WORDS.intersection(part.names[1:]) for part in pointed if part.kind == "ColumnRef"
    )
    tables, made = _ranges(parts) if ordinary else (frozenset[str](), frozenset[str]())
    # The names of all scopes are taken together: one that means a parameter in any of them may call.
    calling = made | parameters
    for part in pointed:
        for before, each in zip(("", *part.names), part.names, strict=False):
            if part.kind == "ColumnRef":
                is_table = (before in tables or variables) and calling.isdisjoint((before, _ANY))
                if not before or (each in ORDINARY_WORDS and is_table):
                    continue
            yield from refused_unseen((each,))


def _ranges(parts: Sequence[Part]) -> tuple[frozenset[str], frozenset[str]]:
    """The names of tables in a statement, and those of rows that it makes or of its own parameters."""
    tables, made = set[str](), set[str]()
    for part in parts:
        tables |= _OWN_ROWS.get(part.kind, frozenset())
        alias = part.node.alias.aliasname if part.kind in ("RangeVar", *_MAKE_ROWS) else ""
        if part.kind == "CommonTableExpr":
            made.add(part.node.ctename)
        elif part.kind == "FunctionParameter":
            # A body that the parser reads with its function: RETURN, or BEGIN ATOMIC.
            made.add(part.node.name)
        elif part.kind == "RangeVar":
            tables.add(alias or part.node.relname)
            if alias and part.node.relname != alias:
                made.update(_aliased(part, parts))
        elif part.kind == "RangeFunction":
            made.update([alias] if alias else _function_names(part))
        elif part.kind == "JoinExpr":
            # `JOIN … USING (a) AS j` names a row of the columns that both sides have.
            made.update((alias, part.node.join_using_alias.aliasname))
        elif part.kind in _MAKE_ROWS:
            made.add(alias)
    return frozenset(tables), frozenset(made)


def _aliased(part: Part, parts: Sequence[Part]) -> set[str]:
    """The alias of a RangeVar that means rows of a WITH clause."""
    of_with = {each.node.ctename for each in parts if each.kind == "CommonTableExpr"}
    return {part.node.alias.aliasname} if part.node.relname in of_with else set()


def _function_names(part: Part) -> set[str]:
    """The names of rows of functions without an alias: each function's own."""
    found = set()
    for item in part.node.functions:
        for each in inner(item).items:
            match each.WhichOneof("node"):
                case "func_call":
                    found.add(inner(each.func_call.funcname[-1]).sval)
                case "list" | None:
                    # The columns of a row, or that there are none.
                    continue
                case _:
                    # COALESCE, CAST and the like have words for names that only the server knows.
                    found.add(_ANY)
    return found
