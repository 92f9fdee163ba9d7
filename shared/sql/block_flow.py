"""How a DO block goes on from statement to statement: what it decides, handles and raises. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import postgast

from shared.sql.blocks import nodes_of_function
from shared.sql.parsing import Unreadable, parse
from shared.sql.raising import may_raise, one_row
from shared.sql.tree import inner, kind

_DECIDES = "a DO block that decides while it runs what it does"
_HANDLES = "a DO block that handles errors of its own"
_ERROR = 21
"""PostgreSQL's level of an error, from which on RAISE ends what runs."""
_DECIDING = frozenset(
    f"PLpgSQL_stmt_{name}"
    for name in ("if", "case", "loop", "while", "fori", "fors", "forc", "foreach_a", "dynfors", "exit")
)
# Only the schema decides on these errors: that a thing is there already, or is not.
_OF_THE_SCHEMA = frozenset(
    {"duplicate_object", "duplicate_table", "duplicate_column", "duplicate_function", "duplicate_schema"}
    | {"undefined_object", "undefined_table", "undefined_column", "undefined_function"}
    | {"invalid_schema_name", "42710", "42P07", "42701", "42723", "42P06", "42704", "42P01", "42703", "42883"}
)


@dataclass(frozen=True)
class Flow:
    """`decides` says why nobody can tell which statements run or count, `raises` what raises by itself.

    `skips`: a statement whose thing is there already is passed over in silence.
    """

    decides: str | None = None
    raises: str | None = None
    skips: bool = False


STRAIGHT = Flow()


def flow_of(node: Any) -> Flow:
    """A statement's flow, by the parser's node; all but DO blocks in PL/pgSQL go straight."""
    if kind(node) != "DoStmt":
        return STRAIGHT
    given = {inner(each).defname: inner(inner(each).arg).sval for each in node.args}
    if given.get("language", "plpgsql") != "plpgsql":
        return STRAIGHT
    try:
        nodes = nodes_of_function(given.get("as", ""))
    except (postgast.PgQueryError, ValueError, RecursionError):
        # Its statements cannot be found either, which is told as what only running it would tell.
        return STRAIGHT
    decides, skips = _decides(nodes)
    return Flow(decides, next(_raises(nodes), None), skips)


def _decides(nodes: list[tuple[str, Any]]) -> tuple[str | None, bool]:
    names = [name for name, _ in nodes]
    # PL/pgSQL itself puts one RETURN at the end.
    if _DECIDING.intersection(names) or names.count("PLpgSQL_stmt_return") > 1:
        return _DECIDES, False
    skips = False
    for name, node in nodes:
        if name != "PLpgSQL_stmt_block" or "exceptions" not in node:
            continue
        handlers = node["exceptions"]["PLpgSQL_exception_block"]["exc_list"]
        alone = sum("PLpgSQL_stmt_return" not in each for each in node.get("body", ())) == 1
        if not alone or not all(_passes_over(each["PLpgSQL_exception"]) for each in handlers):
            return _HANDLES, False
        skips = True
    return None, skips


def _passes_over(handler: dict[str, Any]) -> bool:
    conditions = {each["PLpgSQL_condition"]["condname"] for each in handler["conditions"]}
    return conditions <= _OF_THE_SCHEMA and all(
        node.get("elog_level", _ERROR) < _ERROR
        for each in handler.get("action", ())
        for node in each.values()
    )


def _raises(nodes: list[tuple[str, Any]]) -> Iterator[str]:
    for name, node in nodes:
        if name == "PLpgSQL_stmt_raise" and node.get("elog_level", _ERROR) >= _ERROR:
            yield "raises an error of its own"
        elif name == "PLpgSQL_stmt_assert":
            yield "asserts"
        elif name == "PLpgSQL_stmt_execsql" and node.get("strict"):
            yield "wants exactly one row"
        elif name == "PLpgSQL_stmt_execsql" and node.get("into") and _raising_into(node):
            yield "computes values of its own"
    for name, node in nodes:
        if name == "PLpgSQL_expr" and node.get("parseMode", 0) >= _EXPRESSION and _raising(node["query"]):
            yield "computes values of its own"


_EXPRESSION = 2
"""How PL/pgSQL reads an expression or an assignment, and no whole statement."""


def _raising_into(node: dict[str, Any]) -> bool:
    """Whether the value may not fit its variable: what is counted or the greatest of its kind does."""
    try:
        (statement,) = parse(node["sqlstmt"]["PLpgSQL_expr"]["query"])
    except (Unreadable, ValueError):
        return True
    return not one_row(statement.node)


def _raising(text: str) -> bool:
    value = text.split(":=", 1)[-1] if ":=" in text else text
    try:
        (statement,) = parse(f"SELECT {value}")
    except (Unreadable, ValueError):
        return True
    return may_raise(statement.node)
