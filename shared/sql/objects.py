"""The statements that make, rename and drop things, as actions. Pure."""

from collections.abc import Callable, Iterator
from typing import Any

from postgast import pg_query_pb2

from shared.sql.actions import (
    Action,
    AddLabel,
    Create,
    CreateIndex,
    CreateTable,
    CreateType,
    Drop,
    DropIndex,
    DropTable,
    RenameColumn,
    RenameConstraint,
    RenameIndex,
    RenameLabel,
    RenameTable,
    RenameType,
    Setting,
)
from shared.sql.alter import column_of, constraint_of
from shared.sql.columns import Table, shown
from shared.sql.tree import expression_sql, inner, kind, qualified, strings, table_of

Reader = Callable[[Any, str], Iterator[Action]]


def _create_table(node: Any, schema: str) -> Iterator[Action]:
    table = table_of(node.relation, schema)
    elements = [inner(each) for each in node.table_elts]
    columns = tuple(column_of(each, schema) for each in elements if kind(each) == "ColumnDef")
    constraints = tuple(constraint_of(each, schema) for each in elements if kind(each) == "Constraint")
    part_of = table_of(inner(node.inh_relations[0]), schema) if node.HasField("partbound") else None
    yield CreateTable(
        table,
        columns,
        tuple(each for each in constraints if each is not None),
        unless_there=node.if_not_exists,
        part_of=part_of,
    )


def _create_as(node: Any, schema: str) -> Iterator[Action]:
    table = table_of(node.into.rel, schema)
    if node.objtype == pg_query_pb2.OBJECT_MATVIEW:
        query, empty = inner(node.query), node.into.skip_data
        yield Create("materialized view", shown(table), table, query=query, empty=empty)
    else:
        yield made_by_query(node.into, inner(node.query), table, unless_there=node.if_not_exists)


def made_by_query(into: Any, query: Any, table: Table, *, unless_there: bool = False) -> CreateTable:
    """CREATE TABLE … AS and SELECT INTO; an EXECUTE has no query to read."""
    known = query if kind(query) == "SelectStmt" and not into.skip_data else None
    return CreateTable(table, (), filled=True, unless_there=unless_there, query=known)


def _create_index(node: Any, schema: str) -> Iterator[Action]:
    parts = [inner(each) for each in node.index_params]
    keys = tuple(_key(part) for part in parts)
    yield CreateIndex(
        table=table_of(node.relation, schema),
        name=node.idxname or None,
        unique=node.unique,
        concurrently=node.concurrent,
        columns=tuple(part.name for part in parts) if all(part.name for part in parts) else (),
        keys=keys,
        where=expression_sql(node.where_clause) if node.HasField("where_clause") else None,
        nulls_distinct=not node.nulls_not_distinct,
        unless_there=node.if_not_exists,
        method=node.access_method or "btree",
    )


def _key(part: Any) -> str:
    return '"' + part.name.replace('"', '""') + '"' if part.name else f"({expression_sql(part.expr)})"


def _drop(node: Any, schema: str) -> Iterator[Action]:
    what = _object_kind(node.remove_type)
    cascades = node.behavior == pg_query_pb2.DROP_CASCADE
    for each in node.objects:
        names = _names(inner(each))
        name = qualified(names, schema)
        if what in ("table", "view", "materialized view", "foreign table"):
            yield DropTable(name, what)  # type: ignore[arg-type]
        elif what == "index":
            yield DropIndex(name, node.concurrent, cascades)
        elif what in ("trigger", "policy", "rule"):
            yield Drop(what, names[-1], qualified(names[:-1], schema))
        else:
            yield Drop(what, shown(name), cascades=cascades)


def _object_kind(number: int) -> str:
    name: str = pg_query_pb2.ObjectType.Name(number)
    return name.removeprefix("OBJECT_").replace("MATVIEW", "materialized view").replace("_", " ").lower()


def _names(node: Any) -> tuple[str, ...]:
    match kind(node):
        case "List":
            # A cast is named by two types, a transform by a type and a language.
            return tuple(_names(inner(each))[-1] for each in node.items)
        case "TypeName":
            return strings(node.names)
        case "ObjectWithArgs":
            return strings(node.objname)
        case "String":
            return (node.sval,)
    return (kind(node),)


def _rename(node: Any, schema: str) -> Iterator[Action]:
    what = _object_kind(node.rename_type)
    if what == "column":
        yield RenameColumn(table_of(node.relation, schema), node.subname, node.newname)
    elif what in ("table", "view"):
        before = table_of(node.relation, schema)
        yield RenameTable(before, (before[0], node.newname))
    elif what in ("type", "domain"):
        name = qualified(_names(inner(node.object)), schema)
        yield RenameType(name, (name[0], node.newname))
    elif what == "tabconstraint":
        yield RenameConstraint(table_of(node.relation, schema), node.subname, node.newname)
    elif what == "index":
        yield RenameIndex(table_of(node.relation, schema), node.newname)
    elif what in ("function", "schema", "sequence", "procedure"):
        named = node.relation.relname or ".".join(_names(inner(node.object))) or node.subname
        yield Drop(what, named)
        yield Create(what, node.newname)
    else:
        yield Setting(f"another name for a {what}: {node.newname}")


def _move(node: Any, schema: str) -> Iterator[Action]:
    if node.HasField("relation"):
        before = table_of(node.relation, schema)
        yield RenameTable(before, (node.newschema, before[1]))
    else:
        yield Drop(_object_kind(node.object_type), ".".join(_names(inner(node.object))))


def _enum(node: Any, schema: str) -> Iterator[Action]:
    yield CreateType(qualified(strings(node.type_name), schema), strings(node.vals))


def _alter_enum(node: Any, schema: str) -> Iterator[Action]:
    name = qualified(strings(node.type_name), schema)
    yield RenameLabel(name, node.old_val, node.new_val) if node.old_val else AddLabel(name, node.new_val)


def _type(node: Any, schema: str) -> Iterator[Action]:
    match kind(node):
        case "CompositeTypeStmt":
            yield CreateType(table_of(node.typevar, schema))
        case "CreateDomainStmt":
            yield CreateType(qualified(strings(node.domainname), schema))
        case _:
            yield CreateType(qualified(strings(node.type_name), schema))


def _create_function(node: Any, schema: str) -> Iterator[Action]:
    name = qualified(strings(node.funcname), schema)
    yield Create("procedure" if node.is_procedure else "function", shown(name), replaces=node.replace)


def _create_trigger(node: Any, schema: str) -> Iterator[Action]:
    yield Create("trigger", node.trigname, table_of(node.relation, schema), node.replace)


def _create_rule(node: Any, schema: str) -> Iterator[Action]:
    yield Create("rule", node.rulename, table_of(node.relation, schema), node.replace)


def _create_view(node: Any, schema: str) -> Iterator[Action]:
    table = table_of(node.view, schema)
    named_anew = len(node.aliases) or node.view.relpersistence == "t"
    yield Create("view", shown(table), table, node.replace, None if named_anew else inner(node.query))


def _create_sequence(node: Any, schema: str) -> Iterator[Action]:
    yield Create("sequence", shown(table_of(node.sequence, schema)))


def _create_extension(node: Any, schema: str) -> Iterator[Action]:
    yield Create("extension", node.extname)


def _create_schema(node: Any, schema: str) -> Iterator[Action]:
    yield Create("schema", node.schemaname)


def _create_policy(node: Any, schema: str) -> Iterator[Action]:
    yield Create("policy", node.policy_name, table_of(node.table, schema))


def _define(node: Any, schema: str) -> Iterator[Action]:
    yield Create(_object_kind(node.kind), shown(qualified(strings(node.defnames), schema)))


def words(name: str) -> str:
    """`CreateSeqStmt` as `create seq`."""
    plain = name.removesuffix("Stmt")
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in plain).strip()


READERS: dict[str, Reader] = {
    "CreateStmt": _create_table,
    "CreateTableAsStmt": _create_as,
    "IndexStmt": _create_index,
    "DropStmt": _drop,
    "RenameStmt": _rename,
    "AlterObjectSchemaStmt": _move,
    "CreateEnumStmt": _enum,
    "AlterEnumStmt": _alter_enum,
    "DefineStmt": _define,
    "CreateDomainStmt": _type,
    "CompositeTypeStmt": _type,
    "CreateRangeStmt": _type,
    "CreateFunctionStmt": _create_function,
    "CreateTrigStmt": _create_trigger,
    "RuleStmt": _create_rule,
    "ViewStmt": _create_view,
    "CreateSeqStmt": _create_sequence,
    "CreateExtensionStmt": _create_extension,
    "CreateSchemaStmt": _create_schema,
    "CreatePolicyStmt": _create_policy,
}
