"""ALTER TABLE and the columns and constraints that it shares with CREATE TABLE, as actions. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from postgast import pg_query_pb2

from shared.sql.actions import (
    Action,
    AddColumn,
    AddConstraint,
    ChangeType,
    Create,
    Drop,
    DropColumn,
    DropConstraint,
    DropNotNull,
    Renumber,
    Rewrite,
    Rights,
    SetDefault,
    SetNotNull,
    Setting,
    ValidateConstraint,
)
from shared.sql.columns import Column, Constraint, ConstraintKind, Table, shown
from shared.sql.names import quoted
from shared.sql.tree import expression_sql, inner, is_volatile, strings, table_of, type_sql

_SERIALS = {
    "serial": "integer", "serial4": "integer", "bigserial": "bigint", "serial8": "bigint",
    "smallserial": "smallint", "serial2": "smallint",
}  # fmt: skip
_VIRTUAL = "v"
_ENFORCED = ("check", "foreign key")
"""Of the others nobody can say that they are not."""
_CONSTRAINTS: dict[str, ConstraintKind] = {
    "CONSTR_CHECK": "check",
    "CONSTR_UNIQUE": "unique",
    "CONSTR_PRIMARY": "primary key",
    "CONSTR_FOREIGN": "foreign key",
    "CONSTR_EXCLUSION": "exclude",
}
_REWRITES = {
    "AT_SetLogged": "SET LOGGED",
    "AT_SetUnLogged": "SET UNLOGGED",
    "AT_SetAccessMethod": "SET ACCESS METHOD",
    "AT_SetTableSpace": "SET TABLESPACE",
    "AT_SetExpression": "SET EXPRESSION",
}


def altered(node: Any, schema: str) -> Iterator[Action]:
    """What each command of an ALTER TABLE does."""
    table = table_of(node.relation, schema)
    for each in node.cmds:
        yield _command(inner(each), table, schema)


def _command(command: Any, table: Table, schema: str) -> Action:
    subtype = pg_query_pb2.AlterTableType.Name(command.subtype)
    definition = inner(getattr(command, "def"))
    match subtype:
        case "AT_AddColumn":
            return AddColumn(table, column_of(definition, schema), command.missing_ok)
        case "AT_DropColumn":
            return DropColumn(table, command.name)
        case "AT_SetNotNull":
            return SetNotNull(table, command.name)
        case "AT_DropNotNull":
            return DropNotNull(table, command.name)
        case "AT_ColumnDefault":
            given = getattr(command, "def").WhichOneof("node") is not None
            return SetDefault(table, command.name, expression_sql(definition) if given else None)
        case "AT_AlterColumnType":
            using = expression_sql(definition.raw_default) if definition.HasField("raw_default") else None
            return ChangeType(table, command.name, type_sql(definition.type_name), using)
        case "AT_AddConstraint":
            return _new_constraint(definition, table, schema)
        case "AT_ValidateConstraint":
            return ValidateConstraint(table, command.name)
        case "AT_DropConstraint":
            cascades = command.behavior == pg_query_pb2.DROP_CASCADE
            return DropConstraint(table, command.name, cascades)
        case "AT_AddIdentity":
            return Create("identity", command.name, table)
        case "AT_DropIdentity" | "AT_DropExpression":
            return Drop("identity" if subtype == "AT_DropIdentity" else "expression", command.name, table)
        case "AT_AttachPartition":
            return Rewrite(table, "ATTACH PARTITION", table_of(definition.name, schema))
        case "AT_AddInherit":
            return Rewrite(table, "ATTACH PARTITION")
        case "AT_AlterConstraint" if definition.alter_enforceability and definition.is_enforced:
            return Rewrite(table, "ENFORCED")
        case "AT_DetachPartition" | "AT_DropInherit":
            return Drop("partition", "", table)
        case "AT_SetIdentity" if any(inner(each).defname == "restart" for each in definition.items):
            return Renumber(f"{shown(table)}.{command.name}'s own", table)
        case "AT_ChangeOwner":
            return Rights("an owner", (table,))
    if subtype in _REWRITES:
        return Rewrite(table, _REWRITES[subtype])
    return Setting(subtype.removeprefix("AT_"))


def _new_constraint(definition: Any, table: Table, schema: str) -> Action:
    constraint = constraint_of(definition, schema)
    if constraint is not None:
        return AddConstraint(table, constraint)
    if pg_query_pb2.ConstrType.Name(definition.contype) != "CONSTR_NOTNULL":
        return Setting("a constraint that is not enforced")
    column = strings(definition.keys)[0]
    if not definition.skip_validation:
        return SetNotNull(table, column)
    # Rows that are there may be null until somebody validates it.
    condition = f"{quoted(column)} IS NOT NULL"
    return AddConstraint(
        table, Constraint("check", definition.conname or None, expression=condition, validated=False)
    )


def column_of(node: Any, schema: str) -> Column:
    """A `ColumnDef`."""
    found = [inner(each) for each in node.constraints]
    names = [pg_query_pb2.ConstrType.Name(each.contype) for each in found]
    by_name = dict(zip(names, found, strict=True))
    default, generated = by_name.get("CONSTR_DEFAULT"), by_name.get("CONSTR_GENERATED")
    type_name = strings(node.type_name.names)[-1]
    constraints = [constraint_of(each, schema, (node.colname,)) for each in found]
    enforced = "CONSTR_ATTR_NOT_ENFORCED" not in names
    deferrable = "CONSTR_ATTR_DEFERRABLE" in names
    return Column(
        name=node.colname,
        type=_SERIALS.get(type_name) or type_sql(node.type_name),
        not_null="CONSTR_NOTNULL" in by_name or "CONSTR_PRIMARY" in by_name,
        default=None if default is None else expression_sql(default.raw_expr),
        volatile=default is not None and is_volatile(default.raw_expr),
        fills=type_name in _SERIALS or "CONSTR_IDENTITY" in by_name,
        generated=None if generated is None else expression_sql(generated.raw_expr),
        stored=generated is None or generated.generated_kind != _VIRTUAL,
        constraints=tuple(
            replace(each, deferrable=deferrable)
            for each in constraints
            if each is not None and (enforced or each.kind not in _ENFORCED)
        ),
    )


def constraint_of(node: Any, schema: str, columns: tuple[str, ...] = ()) -> Constraint | None:
    """A `Constraint`; none for NOT NULL, DEFAULT and the like. `columns` are of the column it stands at."""
    kind = _CONSTRAINTS.get(pg_query_pb2.ConstrType.Name(node.contype))
    if kind is None:
        return None
    if kind in _ENFORCED and not node.is_enforced:
        return None
    return Constraint(
        kind=kind,
        name=node.conname or None,
        columns=columns or strings(node.fk_attrs if kind == "foreign key" else node.keys),
        expression=expression_sql(node.raw_expr) if kind == "check" else None,
        references=table_of(node.pktable, schema) if kind == "foreign key" else None,
        referenced_columns=strings(node.pk_attrs) if kind == "foreign key" else (),
        validated=not node.skip_validation,
        using_index=node.indexname or None,
        on_delete=node.fk_del_action or "a",
        on_update=node.fk_upd_action or "a",
        deferrable=node.deferrable,
        nulls_distinct=not node.nulls_not_distinct,
    )
