"""What may raise an error by itself when it is computed, whatever the rows are. Pure."""

from collections.abc import Iterator
from typing import Any

from postgast import pg_query_pb2

from shared.sql.tree import below, inner, kind, strings

_SAFE_OPERATORS = frozenset(
    {"=", "<>", "!=", "<", ">", "<=", ">=", "||", "~~", "!~~", "~~*", "!~~*", "->", "->>", "@>", "<@", "?"}
)
_SAFE_FUNCTIONS = frozenset(
    {"count", "max", "min", "coalesce", "now", "lower", "upper", "length", "concat", "md5", "trim", "btrim"}
    | {"current_setting", "to_regclass", "current_schema", "bool_or", "bool_and", "version", "row_number"}
    | {"current_database", "format_type", "pg_get_constraintdef", "pg_get_expr", "exists", "string_agg"}
)
_TEXTS = frozenset({"text", "varchar", "bpchar", "name", "regclass"})
_CATALOGUES = ("pg_catalog", "information_schema")


def may_raise(node: Any) -> bool:
    """Whether computing it may fail on some row: arithmetic, casts, functions, subqueries as values."""
    return any(_may_raise(each) for each in below(node))


def _may_raise(node: Any) -> bool:
    match kind(node):
        case "A_Expr":
            plain = node.kind in (pg_query_pb2.AEXPR_OP, pg_query_pb2.AEXPR_OP_ANY, pg_query_pb2.AEXPR_OP_ALL)
            return plain and strings(node.name)[-1] not in _SAFE_OPERATORS
        case "TypeCast":
            constant = kind(inner(node.arg)) == "A_Const"
            return not constant and strings(node.type_name.names)[-1] not in _TEXTS
        case "FuncCall":
            return strings(node.funcname)[-1].lower() not in _SAFE_FUNCTIONS
        case "SubLink":
            return node.sub_link_type == pg_query_pb2.EXPR_SUBLINK and not one_row(inner(node.subselect))
        case _:
            return False


def one_row(select: Any) -> bool:
    """Whether it has one row at the most: an aggregate of everything, or LIMIT 1."""
    if kind(select) != "SelectStmt":
        return False
    limit = inner(select.limit_count) if select.HasField("limit_count") else None
    if limit is not None and kind(limit) == "A_Const" and limit.ival.ival == 1:
        return True
    aggregates = {"count", "max", "min", "sum", "avg", "bool_or", "bool_and", "string_agg", "array_agg"}
    targets = [inner(inner(each).val) for each in select.target_list]
    called = [each for each in targets if kind(each) == "FuncCall"]
    return not len(select.group_clause) and any(
        strings(each.funcname)[-1].lower() in aggregates and not each.HasField("over") for each in called
    )


def tables_read(node: Any) -> Iterator[Any]:
    """Each `RangeVar` in it that may be a table of the user's: parts of WITH and catalogues are none."""
    parts = {each.ctename for each in below(node) if kind(each) == "CommonTableExpr"}
    for each in below(node):
        if kind(each) != "RangeVar" or each.schemaname in _CATALOGUES:
            continue
        if each.schemaname or (each.relname not in parts and not each.relname.startswith("pg_")):
            yield each
