"""The parser's tree: the few ways in which the rest of this room looks into it.

Its nodes are messages of some 250 kinds with fields that hold any of them, so they go by `Any` here and
nowhere further: `script` makes typed actions of them.
"""

from collections.abc import Iterator
from typing import Any

import postgast
from postgast import pg_query_pb2

from shared.sql.columns import Table

_VOLATILE_KNOWN_NOT = frozenset(
    {"now", "transaction_timestamp", "statement_timestamp", "current_setting", "to_char", "lower", "upper"}
    | {
        "coalesce",
        "concat",
        "md5",
        "date_trunc",
        "age",
        "to_timestamp",
        "make_date",
        "array_fill",
        "timezone",
    }
    | {
        "json_build_object",
        "jsonb_build_object",
        "to_json",
        "to_jsonb",
        "length",
        "format",
        "replace",
        "trim",
    }
    | {
        "encode",
        "decode",
        "sha256",
        "txid_current",
        "greatest",
        "least",
        "substr",
        "substring",
        "left",
        "right",
    }
)


def kind(node: Any) -> str:
    """The name of a message's type: `AlterTableStmt`, `ColumnRef`…"""
    name: str = type(node).DESCRIPTOR.name
    return name


def inner(node: Any) -> Any:
    """What a `Node` holds."""
    return postgast.unwrap_node(node)


def strings(nodes: Any) -> tuple[str, ...]:
    """The texts of a list of `String`."""
    return tuple(inner(node).sval for node in nodes)


def below(node: Any) -> Iterator[Any]:
    """The node and all below it."""
    for _, each in postgast.walk(node):
        yield each


def table_of(relation: Any, schema: str) -> Table:
    """A `RangeVar`'s table; `schema` where it names none."""
    return (relation.schemaname or schema, relation.relname)


def qualified(names: tuple[str, ...], schema: str) -> Table:
    """The last two of a list of names."""
    return (names[-2] if len(names) > 1 else schema, names[-1])


def expression_sql(expression: Any) -> str:
    """An expression as SQL text, in PostgreSQL's own print."""
    statement = pg_query_pb2.ParseResult(version=180004)
    target = statement.stmts.add().stmt.select_stmt.target_list.add().res_target
    if kind(expression) == "Node":
        target.val.CopyFrom(expression)
    else:
        target.val.CopyFrom(as_node(expression))
    text: str = postgast.deparse(statement)
    return text.removeprefix("SELECT ")


def statement_sql(node: Any) -> str:
    """A whole statement as SQL text."""
    statement = pg_query_pb2.ParseResult(version=180004)
    statement.stmts.add().stmt.CopyFrom(node if kind(node) == "Node" else as_node(node))
    text: str = postgast.deparse(statement)
    return text


def type_sql(type_name: Any) -> str:
    """A type as SQL text, with its modifiers and brackets."""
    cast = pg_query_pb2.TypeCast()
    cast.type_name.CopyFrom(type_name)
    cast.arg.a_const.isnull = True
    return expression_sql(cast).removeprefix("NULL::")


def as_node(message: Any) -> pg_query_pb2.Node:
    """The message in the wrapper in which its parents hold it."""
    node = pg_query_pb2.Node()
    for field in node.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.name == kind(message):
            getattr(node, field.name).CopyFrom(message)
            return node
    raise TypeError(f"no node holds a {kind(message)}")


def is_volatile(expression: Any) -> bool:
    """Whether each row may get another value of it. A function that is not known counts as one that does."""
    return any(
        kind(each) == "FuncCall" and strings(each.funcname)[-1].lower() not in _VOLATILE_KNOWN_NOT
        for each in below(expression)
    )
