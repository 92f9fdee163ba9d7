"""The parser's tree: the few ways in which the rest of this room looks into it.

Its nodes are messages of some 250 kinds with fields that hold any of them, so they go by `Any` here and
nowhere further: `script` makes typed actions of them.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

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


_NODE = pg_query_pb2.Node.DESCRIPTOR
_LEAVES = frozenset({None, "a_const", "string", "integer", "float", "boolean"})


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


class Part(NamedTuple):
    """A node below a statement's: its kind, and the names and words that it holds itself."""

    kind: str
    node: Any
    names: tuple[str, ...]


def parts_of_tree(node: Any) -> Iterator[Part]:
    """The node and all below it in the order of the text, without constants; much faster than `below`."""
    stack = [inner(node)]
    while stack:
        each = stack.pop()
        names: list[str] = []
        children: list[Any] = []
        for described, value in each.ListFields():
            if described.message_type is None:
                if isinstance(value, str):
                    names.append(value)
                continue
            for child in value if hasattr(value, "__len__") else (value,):
                if child.DESCRIPTOR is _NODE:
                    held = child.WhichOneof("node")
                    if held == "string":
                        names.append(child.string.sval)
                    if held in _LEAVES:
                        continue
                    child = getattr(child, held)
                children.append(child)
        yield Part(each.DESCRIPTOR.name, each, tuple(names))
        stack.extend(reversed(children))


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
