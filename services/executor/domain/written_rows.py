"""Queries over the rows that an UPDATE, DELETE or INSERT takes or gives. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from postgast import pg_query_pb2

from services.executor.domain.relation import Relation
from shared.sql.names import quoted
from shared.sql.tree import below, inner, kind, statement_sql


class Rewrites(Protocol):
    """Changes a statement so that every table is read as it would be by then."""

    def rewritten(self, node: Any) -> Any:
        """A copy."""


def joined(rewrites: Rewrites, others: Any, node: Any, values: Mapping[str, str]) -> str:
    """A query over the other tables of an UPDATE … FROM or DELETE … USING, for one row of its own."""
    select = pg_query_pb2.SelectStmt()
    hit = select.target_list.add().res_target
    hit.name = "hit"
    hit.val.a_const.boolval.boolval = True
    by_name = {inner(each).name: inner(each) for each in getattr(node, "target_list", ())}
    for alias, column in values.items():
        target = select.target_list.add().res_target
        target.name = alias
        target.val.CopyFrom(by_name[column].val)
    for each in others:
        select.from_clause.add().CopyFrom(each)
    if node.HasField("where_clause"):
        select.where_clause.CopyFrom(node.where_clause)
    return statement_sql(rewrites.rewritten(select))


def given_by(insert: Any) -> int | None:
    """How many columns an INSERT's query gives; none when only the server knows."""
    select = inner(insert.select_stmt) if insert.HasField("select_stmt") else None
    if select is None:
        return None
    if len(select.values_lists):
        return len(inner(select.values_lists[0]).items)
    stars = any(kind(each) == "A_Star" for each in below(select))
    return len(select.target_list) if len(select.target_list) and not stars else None


def with_inserted(relation: Relation, names: Sequence[str], types: Mapping[str, str], select: str) -> str:
    """The relation's rows and those of `select`, which gives `names`; what nobody gives is null."""
    given = ", ".join(quoted(name) for name in names)
    chosen = ", ".join(
        f"{quoted('new')}.{quoted(name)}::{type_name}" if name in names
        else f"({relation.defaults.get(name, 'NULL')})::{type_name}"
        for name, type_name in types.items()
    )  # fmt: skip
    old = ", ".join(quoted(name) for name in types)
    return (
        f"SELECT {old} FROM {relation.source} UNION ALL"
        f" SELECT {chosen} FROM ({select}) AS {quoted('new')} ({given})"
    )
