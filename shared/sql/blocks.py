"""The SQL inside a PL/pgSQL block, as far as it stands there and is not made while it runs. Pure."""

from collections.abc import Iterator
from typing import Any

import postgast
from google.protobuf.message import DecodeError

from shared.sql.bounds import bound_sql
from shared.sql.tree import inner, kind

_TAG = "$upgradepath$"


def statements_of_block(body: str) -> tuple[tuple[str, ...], bool]:
    """The statements in a DO block's body, and whether it runs others that only running it would tell."""
    return statements_of_function(_function(body))


def nodes_of_function(body: str) -> list[tuple[str, Any]]:
    """Every named node of a block's tree, in the order of the text.

    Raises postgast's PgQueryError, ValueError or RecursionError for what cannot be read.
    """
    return list(_nodes(postgast.parse_plpgsql(_function(body))))


def _function(body: str) -> str:
    return f"CREATE FUNCTION block() RETURNS void LANGUAGE plpgsql AS {_TAG}{body}{_TAG}"


def statements_of_trigger(body: str) -> tuple[tuple[str, ...], bool]:
    """The same of the body of a trigger's function, which the parser cannot print as what it is."""
    given = "new record, old record, tg_op text, tg_name text, tg_when text, tg_level text, tg_relid oid,"
    given += " tg_table_name text, tg_table_schema text, tg_nargs int, tg_argv text[]"
    return statements_of_function(
        f"CREATE FUNCTION block({given}) RETURNS record LANGUAGE plpgsql AS {_TAG}{body}{_TAG}"
    )


def statements_of_function(definition: str) -> tuple[tuple[str, ...], bool]:
    """The same of a function in PL/pgSQL, by the statement that makes it."""
    try:
        function = postgast.parse_plpgsql(definition)
    except (postgast.PgQueryError, ValueError, RecursionError):
        return (), True
    texts: list[str] = []
    dynamic = False
    for name, node in _nodes(function):
        if name == "PLpgSQL_stmt_execsql":
            texts.append(_query(node["sqlstmt"]))
        elif name == "PLpgSQL_stmt_perform":
            texts.append(_query(node["expr"]))
        elif name == "PLpgSQL_stmt_dynexecute":
            literal = _literal(_query(node["query"]))
            dynamic = dynamic or literal is None
            texts += [literal] if literal is not None else []
        elif name in ("PLpgSQL_stmt_call", "PLpgSQL_stmt_dynfors"):
            dynamic = True
    return tuple(texts), dynamic


def _nodes(value: Any) -> Iterator[tuple[str, Any]]:
    """Every named node of the tree, in the order of the text."""
    # Without recursion: blocks stand inside each other as deeply as somebody writes them.
    waiting: list[tuple[str | None, Any]] = [(None, value)]
    while waiting:
        name, node = waiting.pop()
        if name is not None:
            yield name, node
        if isinstance(node, dict):
            waiting += reversed(node.items())
        elif isinstance(node, list):
            waiting += ((None, each) for each in reversed(node))


def _query(expression: dict[str, Any]) -> str:
    text: str = expression["PLpgSQL_expr"]["query"]
    return text


def _literal(expression: str) -> str | None:
    """The text of an expression that is one string constant."""
    try:
        bound_sql(expression)
        (raw,) = postgast.parse(f"SELECT {expression}").stmts
    except (postgast.PgQueryError, ValueError, DecodeError):
        return None
    value = inner(inner(inner(raw.stmt).target_list[0]).val)
    return value.sval.sval if kind(value) == "A_Const" and value.HasField("sval") else None
