"""Why a statement must not come from a Release: by its kind, its settings and every name in it. Pure."""

from collections.abc import Callable
from typing import Any

from postgast import pg_query_pb2

from shared.sql import calls
from shared.sql.calls import Refused, is_ours, refused_unseen
from shared.sql.concerns import INSIDE, LEAVE_OUT
from shared.sql.made_text import made_text
from shared.sql.outward import (
    EXTENSIONS,
    FUNCTION_SCHEMAS,
    OBJECTS,
    OUR_NAMES,
    SECRET_RELATIONS,
    STATEMENTS,
)
from shared.sql.server_objects import CATALOGUES, IN_CATALOGUE, refused_objects, refused_relation
from shared.sql.tree import Part, inner, kind, parts_of_tree, strings

# Names in these are of columns, constants and roles, not of what lies in a schema.
_OTHER_NAMES = frozenset({"A_Const", "RoleSpec", "Alias", "ResTarget", "ColumnDef", "Constraint", "String"})
_PLACED = {
    "CreateStmt": "tablespacename", "IntoClause": "table_space_name", "IndexStmt": "table_space",
    "Constraint": "indexspace", "AlterTableCmd": "name",
}  # fmt: skip
_DEFAULT_SCHEMA = "public"


def refusals_of(part: Part) -> Refused:
    """Why a node must not stand in a statement of a Release."""
    name, node = part.kind, part.node
    if name in STATEMENTS:
        yield STATEMENTS[name], LEAVE_OUT
    if name in _BY_KIND:
        yield from _BY_KIND[name](node)
    yield from refused_objects(name, node)
    if name in _PLACED:
        yield from _tablespace(node, name)
    if name not in _OTHER_NAMES:
        yield from _named(name, node, part.names)


def _copy(node: Any) -> Refused:
    if node.is_program:
        yield "COPY … PROGRAM runs a program on the server", LEAVE_OUT
    elif node.filename:
        yield "COPY reads or writes a file of the server", "write INSERT … VALUES"


def _table_of_type(node: Any) -> Refused:
    if node.subtype == pg_query_pb2.AT_AddOf:
        yield from calls.refused_rows(inner(getattr(node, "def")))


def _set(node: Any) -> Refused:
    name, values = node.name.lower(), [made_text(inner(each)).text for each in node.args]
    yield from calls.refused_setting(name, values, reset=not node.args)


def _grant(node: Any) -> Refused:
    objtype = pg_query_pb2.ObjectType.Name(node.objtype)
    if objtype in OBJECTS:
        yield f"it changes rights beyond the Project's schemas: {OBJECTS[objtype]}", LEAVE_OUT
    if node.targtype == pg_query_pb2.ACL_TARGET_ALL_IN_SCHEMA or objtype == "OBJECT_SCHEMA":
        for each in node.objects:
            if inner(each).sval in CATALOGUES:
                yield IN_CATALOGUE, INSIDE
            if inner(each).sval in FUNCTION_SCHEMAS and node.is_grant:
                yield f"what stands in {inner(each).sval} is run outside this database or later", INSIDE


def _default_rights(node: Any) -> Refused:
    for option in node.options:
        given = inner(option)
        if given.defname == "roles":
            roles = [inner(each).roletype for each in inner(given.arg).items]
            if pg_query_pb2.ROLESPEC_CSTRING in roles:
                yield (
                    "it changes what other roles grant: ALTER DEFAULT PRIVILEGES FOR ROLE",
                    "leave FOR ROLE out",
                )


def _extension(node: Any) -> Refused:
    if node.extname not in EXTENSIONS:
        cure = "leave it out, and ask in MIGRATION.md that whoever runs the database creates it beforehand"
        yield "an extension that is not among those known to stay inside the database", cure
    for each in node.options:
        option = inner(each)
        if option.defname == "schema" and inner(option.arg).sval in CATALOGUES:
            yield IN_CATALOGUE, INSIDE


def _extension_contents(node: Any) -> Refused:
    yield "it changes what belongs to an extension", LEAVE_OUT


def _drop(node: Any) -> Refused:
    objtype = pg_query_pb2.ObjectType.Name(node.remove_type)
    if objtype in OBJECTS:
        yield OBJECTS[objtype], LEAVE_OUT
    for each in node.objects:
        named = inner(each)
        if objtype == "OBJECT_SCHEMA" and named.sval == _DEFAULT_SCHEMA:
            yield (
                f"the schema {_DEFAULT_SCHEMA} holds Prisma's record of what ran",
                "drop what is in it by name",
            )
        if objtype == "OBJECT_SCHEMA" and named.sval in CATALOGUES:
            yield IN_CATALOGUE, INSIDE


def _on_object(node: Any) -> Refused:
    """COMMENT, RENAME, OWNER and SET SCHEMA of what is not the Project's."""
    number = node.rename_type if kind(node) == "RenameStmt" else (
        node.objtype if kind(node) == "CommentStmt" else node.object_type
    )  # fmt: skip
    objtype = pg_query_pb2.ObjectType.Name(number)
    if objtype in OBJECTS:
        yield OBJECTS[objtype], LEAVE_OUT
    if kind(node) == "RenameStmt" and objtype == "OBJECT_SCHEMA" and node.subname == _DEFAULT_SCHEMA:
        yield f"the schema {_DEFAULT_SCHEMA} holds Prisma's record of what ran", "move its tables by name"
    if kind(node) == "AlterObjectSchemaStmt" and node.newschema in CATALOGUES:
        yield IN_CATALOGUE, INSIDE
    if kind(node) != "CommentStmt" and kind(inner(node.object)) == "ObjectWithArgs":
        # By another name it would be called.
        yield from refused_unseen(strings(inner(node.object).objname))


def _define(node: Any) -> Refused:
    objtype = pg_query_pb2.ObjectType.Name(node.kind)
    if objtype in OBJECTS or (objtype == "OBJECT_TYPE" and node.definition):
        yield OBJECTS.get(objtype, OBJECTS["OBJECT_LANGUAGE"]), LEAVE_OUT


def _element(node: Any) -> Refused:
    """An option of a definition, which may be a function: as a name, as a text, or SUPPORT's."""
    given = inner(node.arg)
    names: tuple[str, ...] = ()
    match kind(given):
        case "String":
            names = (given.sval,)
        case "TypeName":
            names = strings(given.names)
        case "List" if node.defname == "support":
            names = strings(given.items)
    yield from refused_unseen(names)


def _attribute(node: Any) -> Refused:
    if is_ours(node.arg):
        yield f"{OUR_NAMES['upgradepath']}, and _prisma_migrations is Prisma's", "leave them alone"


def _view(node: Any) -> Refused:
    for each in parts_of_tree(node):
        if each.kind == "RangeVar" and each.node.relname == "pg_settings":
            # Whoever writes the view sets the settings.
            yield "a view or a rule over pg_settings can set what no Release may set", "read it in a function"


def _schema(node: Any) -> Refused:
    if node.schemaname in CATALOGUES:
        yield IN_CATALOGUE, INSIDE
    if node.authrole.rolename in OUR_NAMES:
        # Without a name of its own, a schema has its owner's.
        yield OUR_NAMES[node.authrole.rolename], "name the schema"


def _transaction(node: Any) -> Refused:
    prepared = (pg_query_pb2.TRANS_STMT_COMMIT_PREPARED, pg_query_pb2.TRANS_STMT_ROLLBACK_PREPARED)
    if node.kind in prepared or node.kind == pg_query_pb2.TRANS_STMT_PREPARE:
        yield "a prepared transaction is not bound to the migration", "write BEGIN and COMMIT"


def _discard(node: Any) -> Refused:
    if node.target == pg_query_pb2.DISCARD_ALL:
        yield (
            "DISCARD ALL gives up the lock under which migrations run",
            "write DISCARD PLANS, or leave it out",
        )


def _reindex(node: Any) -> Refused:
    if node.kind in (pg_query_pb2.REINDEX_OBJECT_SYSTEM, pg_query_pb2.REINDEX_OBJECT_DATABASE):
        yield "it is of a whole database, what is not the Project's among it", "write REINDEX TABLE for each"


def _all_of(node: Any) -> Refused:
    for each in node.relations:
        yield from refused_relation(inner(each))


_BY_KIND: dict[str, Callable[[Any], Refused]] = {
    "CopyStmt": _copy,
    "CreateStmt": lambda node: calls.refused_rows(node.of_typename),
    "AlterTableCmd": _table_of_type,
    "VariableSetStmt": _set,
    "GrantStmt": _grant,
    "AlterDefaultPrivilegesStmt": _default_rights,
    "CreateExtensionStmt": _extension,
    "AlterExtensionStmt": _extension,
    "AlterExtensionContentsStmt": _extension_contents,
    "DropStmt": _drop,
    "CommentStmt": _on_object,
    "RenameStmt": _on_object,
    "AlterOwnerStmt": _on_object,
    "AlterObjectSchemaStmt": _on_object,
    "DefineStmt": _define,
    "CreateCastStmt": calls.refused_cast,
    "CreateSchemaStmt": _schema,
    "TransactionStmt": _transaction,
    "DiscardStmt": _discard,
    "ReindexStmt": _reindex,
    "LockStmt": _all_of,
    "TruncateStmt": _all_of,
    "FuncCall": calls.refused_call,
    "ObjectWithArgs": lambda node: calls.refused_function(strings(node.objname)[-1:]),
    "RangeTableSample": lambda node: calls.refused_function(strings(node.method)),
    "CreateTrigStmt": lambda node: refused_unseen(strings(node.funcname)),
    "DefElem": _element,
    "A_Indirection": _attribute,
    "ViewStmt": _view,
    "RuleStmt": _view,
}


def _tablespace(node: Any, name: str) -> Refused:
    if name == "AlterTableCmd":
        places = [node.name] if node.subtype == pg_query_pb2.AT_SetTableSpace else []
    else:
        places = [getattr(node, _PLACED[name])]
    if any(place not in ("", "pg_default") for place in places):
        yield "tablespaces are folders of the server", "leave TABLESPACE out"


def _named(name: str, node: Any, names: tuple[str, ...]) -> Refused:
    """The names that a node holds itself: of relations, schemas and types."""
    if name == "RangeVar":
        if node.catalogname:
            yield "it names a database, and staging's has another name", "leave the database's name out"
        if node.relname in SECRET_RELATIONS and node.schemaname in ("", *CATALOGUES):
            yield f"{node.relname} holds what is not the Project's", LEAVE_OUT
    for each in names:
        if each in OUR_NAMES and name != "ColumnRef":
            yield OUR_NAMES[each], "leave it alone"
