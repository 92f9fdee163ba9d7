"""What belongs to the server's own catalogue, by the names of what a statement changes. Pure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from postgast import pg_query_pb2

from shared.sql.calls import Refused
from shared.sql.catalogue import is_of_catalogue
from shared.sql.concerns import INSIDE
from shared.sql.outward import FUNCTION_SCHEMAS
from shared.sql.tree import inner, kind, strings

CATALOGUES = ("pg_catalog", "information_schema", "pg_toast")
IN_CATALOGUE = "it changes the server's own catalogue"
_RELATIONS = {
    "InsertStmt": "relation", "UpdateStmt": "relation", "DeleteStmt": "relation", "MergeStmt": "relation",
    "AlterTableStmt": "relation", "CreateStmt": "relation", "ViewStmt": "view", "IndexStmt": "relation",
    "CreateTrigStmt": "relation", "RuleStmt": "relation", "CreatePolicyStmt": "table", "CopyStmt": "relation",
    "AlterPolicyStmt": "table", "RenameStmt": "relation", "AlterObjectSchemaStmt": "relation",
    "CreateSeqStmt": "sequence", "AlterSeqStmt": "sequence", "IntoClause": "rel", "ClusterStmt": "relation",
    "ReindexStmt": "relation", "RefreshMatViewStmt": "relation", "VacuumRelation": "relation",
    "CompositeTypeStmt": "typevar",
}  # fmt: skip
"""The field of each statement that names the table which it changes."""
_NAMES: dict[str, Callable[[Any], Sequence[Any]]] = {
    "AlterFunctionStmt": lambda node: node.func.objname,
    "AlterOperatorStmt": lambda node: node.opername.objname,
    "CreateEnumStmt": lambda node: node.type_name,
    "AlterEnumStmt": lambda node: node.type_name,
    "CreateDomainStmt": lambda node: node.domainname,
    "AlterDomainStmt": lambda node: node.type_name,
    "CreateRangeStmt": lambda node: node.type_name,
    "AlterTypeStmt": lambda node: node.type_name,
    "CreateFunctionStmt": lambda node: node.funcname,
    "DefineStmt": lambda node: node.defnames,
    "CreateStatsStmt": lambda node: node.defnames,
    "AlterStatsStmt": lambda node: node.defnames,
    "AlterCollationStmt": lambda node: node.collname,
    "AlterTSDictionaryStmt": lambda node: node.dictname,
    "AlterTSConfigurationStmt": lambda node: node.cfgname,
}
"""The name, with its schema, of what else a statement makes or changes."""
_NAMED_BELOW = frozenset({"DropStmt", "GrantStmt"})
_BY_THEIR_TABLE = frozenset({"TRIGGER", "RULE", "POLICY", "TABCONSTRAINT", "COLUMN"})
_WITHOUT_SCHEMA = frozenset({"TABLE", "VIEW", "INDEX", "SEQUENCE", "MATVIEW", "TYPE"})
"""A plain name of one of these may be the server's: its schema is looked into first."""


def refused_objects(name: str, node: Any) -> Refused:
    """Why what a node makes, changes or drops is not the Project's; `name` is the node's kind."""
    if name in _RELATIONS and not (name == "CopyStmt" and not node.is_from):
        yield from refused_relation(getattr(node, _RELATIONS[name]))
    elif name in _NAMES:
        yield from _named(strings(_NAMES[name](node)))
    elif name in _NAMED_BELOW:
        objtype = _type_of(node.remove_type if name == "DropStmt" else node.objtype)
        if name == "DropStmt" or node.targtype == pg_query_pb2.ACL_TARGET_OBJECT:
            for each in node.objects:
                yield from _object(objtype, inner(each))
    if name in ("RenameStmt", "AlterOwnerStmt", "AlterObjectSchemaStmt", "AlterObjectDependsStmt"):
        number = node.rename_type if name == "RenameStmt" else node.object_type
        yield from _object(_type_of(number), inner(node.object))


def refused_relation(relation: Any) -> Refused:
    """Of a `RangeVar` whose rows or definition change."""
    names = (relation.schemaname, relation.relname) if relation.schemaname else (relation.relname,)
    yield from _relation(names)
    if relation.schemaname in FUNCTION_SCHEMAS:
        yield f"what stands in {relation.schemaname} is run outside this database or later", INSIDE


def _type_of(number: int) -> str:
    name: str = pg_query_pb2.ObjectType.Name(number)
    return name.removeprefix("OBJECT_")


def _object(objtype: str, named: Any) -> Iterator[tuple[str, str]]:
    match kind(named):
        case "ObjectWithArgs":
            yield from _named(strings(named.objname))
        case "RangeVar" if named.relname:
            yield from refused_relation(named)
        case "TypeName":
            yield from _named(strings(named.names))
        case "List" if all(kind(inner(each)) == "String" for each in named.items):
            names = strings(named.items)
            if objtype in _BY_THEIR_TABLE:
                yield from _relation(names[:-1])
            elif objtype in _WITHOUT_SCHEMA:
                yield from _relation(names)
            else:
                yield from _named(names)


def _named(names: tuple[str, ...]) -> Refused:
    if len(names) > 1 and names[0] in CATALOGUES:
        yield IN_CATALOGUE, INSIDE


def _relation(names: tuple[str, ...]) -> Refused:
    if len(names) > 1 and names[-2] in CATALOGUES:
        yield IN_CATALOGUE, INSIDE
    elif len(names) == 1 and is_of_catalogue(names[0]):
        # Without a schema, the server's own table of that name is meant first.
        yield f"{IN_CATALOGUE}, or may: pg_… without a schema", "write its schema before the name"
