"""What a statement does, read from the parser's tree. Pure."""

from collections.abc import Iterator
from typing import Any

from postgast import pg_query_pb2

from shared.sql.actions import (
    Action,
    Code,
    Create,
    Outside,
    Read,
    Renumber,
    Rewrite,
    Rights,
    Setting,
    Write,
)
from shared.sql.alter import altered
from shared.sql.blocks import statements_of_block
from shared.sql.columns import Table, shown
from shared.sql.objects import READERS, Reader, made_by_query, words
from shared.sql.outside import outside_of
from shared.sql.parsing import Unreadable, parse
from shared.sql.tree import below, expression_sql, inner, kind, strings, table_of

BORDER = Setting("a transaction's border")
"""BEGIN, COMMIT and the like."""


def actions_of(node: Any, schema: str) -> Iterator[Action]:
    """What one statement does; `schema` is meant where a name has none."""
    reader = _READERS.get(kind(node))
    outside = () if kind(node) in _DEFINING else tuple(dict.fromkeys(outside_of(node)))
    yield from (Outside(each) for each in outside)
    if reader is not None:
        yield from reader(node, schema)
    elif outside:
        return
    elif kind(node) in _SETTINGS:
        yield Setting(_SETTINGS[kind(node)])
    elif kind(node).startswith(("Create", "Define")):
        yield Create(words(kind(node)), "")
    else:
        yield Code(words(kind(node)))


def _write(node: Any, schema: str) -> Iterator[Action]:
    verb = kind(node).removesuffix("Stmt").lower()
    columns = tuple(
        inner(each).name
        for each in (node.cols if verb == "insert" else node.target_list if verb == "update" else ())
    )
    everywhere = verb != "insert" and not node.HasField("where_clause")
    yield Write(verb, table_of(node.relation, schema), columns, everywhere, node)  # type: ignore[arg-type]
    yield from _nested(node, schema)


def _nested(node: Any, schema: str) -> Iterator[Action]:
    """What the parts of WITH write, and the functions of the Project's own that are called."""
    for each in below(node):
        if each is not node and kind(each) in ("InsertStmt", "UpdateStmt", "DeleteStmt"):
            yield from _write(each, schema)


def _truncate(node: Any, schema: str) -> Iterator[Action]:
    cascades = node.behavior == pg_query_pb2.DROP_CASCADE
    for each in node.relations:
        table = table_of(inner(each), schema)
        yield Write("truncate", table, everywhere=True, cascades=cascades)
        if node.restart_seqs:
            yield Renumber(f"{shown(table)}'s own", table)


def _select(node: Any, schema: str) -> Iterator[Action]:
    if node.HasField("into_clause"):
        read = type(node)()
        read.CopyFrom(node)
        read.ClearField("into_clause")
        yield made_by_query(node.into_clause, read, table_of(node.into_clause.rel, schema))
    wrote = list(_nested(node, schema))
    yield from wrote
    renumbered = list(_renumbered(node, schema))
    yield from renumbered
    called = {strings(each.funcname)[-1].lower() for each in below(node) if kind(each) == "FuncCall"}
    for name in sorted(called - _HARMLESS_FUNCTIONS):
        yield Code(f"calls {name}()")
    if not wrote and called <= _HARMLESS_FUNCTIONS and not node.HasField("into_clause"):
        yield Read(node)


def _renumbered(node: Any, schema: str) -> Iterator[Action]:
    """Each setval() of it; `table` is told where pg_get_serial_sequence() names it."""
    for each in below(node):
        if kind(each) != "FuncCall" or strings(each.funcname)[-1].lower() != "setval":
            continue
        named = inner(each.args[0])
        if kind(named) == "TypeCast":
            named = inner(named.arg)
        text = _constant(named)
        if text is not None:
            yield Renumber(text)
        elif kind(named) == "FuncCall" and strings(named.funcname)[-1] == "pg_get_serial_sequence":
            table = _constant(inner(named.args[0]))
            yield Renumber(f"{table}'s own", None if table is None else _named(table, schema))
        else:
            yield Renumber(expression_sql(named))


def _constant(node: Any) -> str | None:
    return node.sval.sval if kind(node) == "A_Const" and node.HasField("sval") else None


def _named(text: str, schema: str) -> Table:
    """A table as a string names it."""
    (statement,) = parse(f"TABLE {text}")
    return table_of(inner(statement.node.from_clause[0]), schema)


def _altered_sequence(node: Any, schema: str) -> Iterator[Action]:
    names = {inner(each).defname for each in node.options}
    if names == {"owned_by"} or "restart" not in names:
        yield Setting("a sequence's numbers")
    else:
        yield Renumber(shown(table_of(node.sequence, schema)))


def _rights(node: Any, schema: str) -> Iterator[Action]:
    if kind(node) == "GrantStmt" and node.targtype == pg_query_pb2.ACL_TARGET_OBJECT:
        objects = [inner(each) for each in node.objects]
        named = tuple(table_of(each, schema) for each in objects if kind(each) == "RangeVar")
        yield Rights("rights", named if len(named) == len(objects) else ())
    elif kind(node) == "AlterOwnerStmt":
        yield Rights("an owner")
    else:
        yield Rights("rights")


def _do(node: Any, schema: str) -> Iterator[Action]:
    given = {inner(each).defname: inner(inner(each).arg).sval for each in node.args}
    if given.get("language", "plpgsql") != "plpgsql":
        yield Code(f"a DO block in {given['language']}")
        return
    yield from _block(given.get("as", ""), schema)


def _block(body: str, schema: str) -> Iterator[Action]:
    texts, dynamic = statements_of_block(body)
    for text in texts:
        try:
            found = parse(text)
        except Unreadable:
            dynamic = True
            continue
        for each in found:
            yield from actions_of(each.node, schema)
    if dynamic:
        yield Code("a DO block that makes its SQL while it runs")
    elif not texts:
        yield Setting("a DO block that changes nothing")


def _rewrite(node: Any, schema: str) -> Iterator[Action]:
    name = kind(node)
    if name == "VacuumStmt":
        full = any(inner(option).defname == "full" for option in node.options)
        tables = [table_of(inner(each).relation, schema) for each in node.rels]
        if full:
            yield from (Rewrite(table, "VACUUM FULL") for table in tables or (None,))
        else:
            yield Setting("VACUUM or ANALYZE")
    elif name == "LockStmt":
        for each in node.relations:
            yield Rewrite(table_of(inner(each), schema), "LOCK TABLE")
    else:
        yield Rewrite(table_of(node.relation, schema), words(name).upper())


def _explain(node: Any, schema: str) -> Iterator[Action]:
    """ANALYZE runs the query, and keeps all that it writes."""
    if any(inner(option).defname == "analyze" for option in node.options):
        yield from actions_of(inner(node.query), schema)
    else:
        yield Setting("a query's plan")


def _reindex(node: Any, schema: str) -> Iterator[Action]:
    if any(inner(option).defname == "concurrently" for option in node.params):
        yield Setting("an index is built anew beside the old one")
    else:
        yield Rewrite(None, "REINDEX")


def _copy(node: Any, schema: str) -> Iterator[Action]:
    if node.is_from:
        yield Write("insert", table_of(node.relation, schema), strings(node.attlist))
    else:
        yield Setting("COPY TO")


_HARMLESS_FUNCTIONS = frozenset(
    {
        "set_config",
        "setval",
        "nextval",
        "currval",
        "lastval",
        "now",
        "version",
        "count",
        "max",
        "min",
        "coalesce",
    }
    | {"pg_get_serial_sequence", "current_setting", "pg_advisory_lock", "pg_advisory_unlock", "pg_sleep"}
    | {
        "pg_advisory_xact_lock",
        "sum",
        "greatest",
        "to_regclass",
        "lower",
        "upper",
        "current_schema",
        "format",
    }
)
_SETTINGS = {
    "VariableSetStmt": "a setting of the session",
    "VariableShowStmt": "a setting is shown",
    "TransactionStmt": BORDER.what,
    "CommentStmt": "a comment",
    "AlterExtensionStmt": "an extension's version",
    "AlterTableMoveAllStmt": "a tablespace",
    "DiscardStmt": "a setting of the session",
    "DeallocateStmt": "a setting of the session",
    "ConstraintsSetStmt": "when constraints are looked at",
    "CheckPointStmt": "a checkpoint",
}
# What they contain runs at another time, if at all.
_DEFINING = frozenset({"CreateFunctionStmt", "CreateTrigStmt", "ViewStmt", "RuleStmt", "CreatePolicyStmt"})
_READERS: dict[str, Reader] = {
    **READERS,
    "GrantStmt": _rights,
    "AlterDefaultPrivilegesStmt": _rights,
    "AlterOwnerStmt": _rights,
    "AlterSeqStmt": _altered_sequence,
    "AlterTableStmt": altered,
    "InsertStmt": _write,
    "UpdateStmt": _write,
    "DeleteStmt": _write,
    "MergeStmt": lambda node, schema: iter([Write("update", table_of(node.relation, schema))]),
    "TruncateStmt": _truncate,
    "SelectStmt": _select,
    "DoStmt": _do,
    "VacuumStmt": _rewrite,
    "ClusterStmt": _rewrite,
    "RefreshMatViewStmt": _rewrite,
    "LockStmt": _rewrite,
    "ReindexStmt": _reindex,
    "CopyStmt": _copy,
    "ExplainStmt": _explain,
}
