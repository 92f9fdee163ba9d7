"""Why a statement must not come from a Release: by its kind, its settings and every name in it. Pure."""

from collections.abc import Callable, Iterator
from typing import Any

from postgast import pg_query_pb2

from shared.sql.concerns import INSIDE, LEAVE_OUT
from shared.sql.made_text import made_text, number_of
from shared.sql.outward import (
    EXTENSIONS,
    FUNCTION_SCHEMAS,
    FUNCTIONS,
    OBJECTS,
    OUR_LOCKS,
    OUR_NAMES,
    SECRET_RELATIONS,
    SETTING_VALUES,
    SETTINGS,
    STATEMENTS,
)
from shared.sql.tree import below, inner, kind, strings

Refused = Iterator[tuple[str, str]]
"""Reasons with their cures."""
_CATALOGUES = ("pg_catalog", "information_schema", "pg_toast")
_WRITERS = {
    "InsertStmt": "relation", "UpdateStmt": "relation", "DeleteStmt": "relation", "MergeStmt": "relation",
    "AlterTableStmt": "relation", "CreateStmt": "relation", "ViewStmt": "view", "IndexStmt": "relation",
    "CreateTrigStmt": "relation", "RuleStmt": "relation", "CreatePolicyStmt": "table", "CopyStmt": "relation",
    "AlterPolicyStmt": "table", "RenameStmt": "relation", "AlterObjectSchemaStmt": "relation",
    "CreateSeqStmt": "sequence", "AlterSeqStmt": "sequence", "IntoClause": "rel",
}  # fmt: skip
# Names in these are of columns, constants and roles, not of what lies in a schema.
_OTHER_NAMES = frozenset(
    {"A_Const", "ColumnRef", "RoleSpec", "Alias", "ResTarget", "ColumnDef", "Constraint", "String"}
)
_DEFAULT_SCHEMA = "public"
_IN_CATALOGUE = "it changes the server's own catalogue"


def refusals_of(node: Any) -> Refused:
    """Why the statement, with all that stands in it, must not come from a Release."""
    for each in below(node):
        name = kind(each)
        if name in STATEMENTS:
            yield STATEMENTS[name], LEAVE_OUT
        if name in _BY_KIND:
            yield from _BY_KIND[name](each)
        if name in _WRITERS and not (name == "CopyStmt" and not each.is_from):
            yield from _written(getattr(each, _WRITERS[name]))
        yield from _tablespace(each)
        if name not in _OTHER_NAMES:
            yield from _named(each)


def _copy(node: Any) -> Refused:
    if node.is_program:
        yield "COPY … PROGRAM runs a program on the server", LEAVE_OUT
    elif node.filename:
        yield "COPY reads or writes a file of the server", "write INSERT … VALUES"


def _set(node: Any) -> Refused:
    name, values = node.name.lower(), [made_text(inner(each)).text for each in node.args]
    yield from _setting(name, values, reset=not node.args)


def _setting(name: str, values: list[str], *, reset: bool = False) -> Refused:
    if name in SETTINGS:
        yield f"{SETTINGS[name]}: {name}", LEAVE_OUT
    if name in SETTING_VALUES and not reset:
        permitted, why = SETTING_VALUES[name]
        if any(value.strip().lower() not in permitted for value in values):
            yield f"{why}: {name}", "leave the setting as it is"
    if name == "search_path" and any(ours in value for value in values for ours in OUR_NAMES):
        yield OUR_NAMES["upgradepath"], "leave it out of the search_path"


def _grant(node: Any) -> Refused:
    objtype = pg_query_pb2.ObjectType.Name(node.objtype)
    if objtype in OBJECTS:
        yield f"it changes rights beyond the Project's schemas: {OBJECTS[objtype]}", LEAVE_OUT
    if node.targtype == pg_query_pb2.ACL_TARGET_ALL_IN_SCHEMA or objtype == "OBJECT_SCHEMA":
        for each in node.objects:
            if inner(each).sval in _CATALOGUES:
                yield _IN_CATALOGUE, INSIDE


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
        if objtype == "OBJECT_SCHEMA" and named.sval in _CATALOGUES:
            yield _IN_CATALOGUE, INSIDE
        if kind(named) == "List" and objtype in _RELATIONS:
            yield from _in_catalogue(strings(named.items))


_RELATIONS = frozenset(
    {f"OBJECT_{each}" for each in ("TABLE", "VIEW", "INDEX", "SEQUENCE", "MATVIEW", "TYPE")}
)


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
    if kind(node) == "AlterObjectSchemaStmt" and node.newschema in _CATALOGUES:
        yield _IN_CATALOGUE, INSIDE


def _define(node: Any) -> Refused:
    objtype = pg_query_pb2.ObjectType.Name(node.kind)
    if objtype in OBJECTS or (objtype == "OBJECT_TYPE" and node.definition):
        yield OBJECTS.get(objtype, OBJECTS["OBJECT_LANGUAGE"]), LEAVE_OUT
    yield from _in_catalogue(strings(node.defnames))


def _cast(node: Any) -> Refused:
    if not node.HasField("func") and not node.inout:
        yield (
            "a cast WITHOUT FUNCTION takes bytes of one type for another's",
            "write WITH FUNCTION or WITH INOUT",
        )


def _function(node: Any) -> Refused:
    yield from _in_catalogue(strings(node.funcname))


def _schema(node: Any) -> Refused:
    if node.schemaname in _CATALOGUES:
        yield _IN_CATALOGUE, INSIDE


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
    if node.kind == pg_query_pb2.REINDEX_OBJECT_SYSTEM:
        yield _IN_CATALOGUE, "write REINDEX TABLE for each table"


def _lock(node: Any) -> Refused:
    for each in node.relations:
        yield from _written(inner(each))


def _truncate(node: Any) -> Refused:
    for each in node.relations:
        yield from _written(inner(each))


def _call(node: Any) -> Refused:
    names = strings(node.funcname)
    if len(names) > 1 and names[-2] in FUNCTION_SCHEMAS:
        yield f"calls a function of {names[-2]}: it acts outside this database or later", INSIDE
    if names[-1] == "set_config" and node.args:
        setting = made_text(inner(node.args[0]))
        if not setting.whole:
            yield "set_config() of a setting that is named only while it runs", "name it by a constant"
        value = [made_text(inner(each)).text for each in node.args[1:2]]
        yield from _setting(setting.text.lower(), value)
    if names[-1].startswith("pg_") and "advisory" in names[-1] and len(node.args) == 1:
        if number_of(inner(node.args[0])) in OUR_LOCKS:
            yield f"{names[-1]}() of a lock under which migrations run", "choose another number"
        elif "unlock" in names[-1] and kind(inner(node.args[0])) in ("A_Expr", "SubLink", "CaseExpr"):
            yield (
                f"{names[-1]}() of a number that is made while it runs",
                "name the lock as when it was taken",
            )


_BY_KIND: dict[str, Callable[[Any], Refused]] = {
    "CopyStmt": _copy,
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
    "CreateCastStmt": _cast,
    "CreateFunctionStmt": _function,
    "CreateSchemaStmt": _schema,
    "TransactionStmt": _transaction,
    "DiscardStmt": _discard,
    "ReindexStmt": _reindex,
    "LockStmt": _lock,
    "TruncateStmt": _truncate,
    "FuncCall": _call,
}


def _written(relation: Any) -> Refused:
    """A `RangeVar` whose rows or definition change."""
    names = (relation.schemaname, relation.relname) if relation.schemaname else (relation.relname,)
    yield from _in_catalogue(names)
    if relation.schemaname in FUNCTION_SCHEMAS:
        yield f"what stands in {relation.schemaname} is run outside this database or later", INSIDE


def _in_catalogue(names: tuple[str, ...]) -> Refused:
    if len(names) > 1 and names[-2] in _CATALOGUES:
        yield _IN_CATALOGUE, INSIDE
    elif len(names) == 1 and names[0].startswith("pg_"):
        # Without a schema, the server's own table of that name is meant first.
        yield f"{_IN_CATALOGUE}, or may: pg_… without a schema", "write its schema before the name"


def _tablespace(node: Any) -> Refused:
    fields = node.DESCRIPTOR.fields_by_name
    names = [getattr(node, each) for each in ("tablespacename", "table_space") if each in fields]
    if kind(node) == "AlterTableCmd" and node.subtype == pg_query_pb2.AT_SetTableSpace:
        names.append(node.name)
    for name in names:
        if name not in ("", "pg_default"):
            yield "tablespaces are folders of the server", "leave TABLESPACE out"


def _named(node: Any) -> Refused:
    """The names that a node holds itself: of relations, schemas, functions and types."""
    if kind(node) == "RangeVar":
        if node.catalogname:
            yield "it names a database, and staging's has another name", "leave the database's name out"
        if node.relname in SECRET_RELATIONS and node.schemaname in ("", "pg_catalog"):
            yield f"{node.relname} holds what is not the Project's", LEAVE_OUT
    for name in _names_in(node):
        if name in OUR_NAMES:
            yield OUR_NAMES[name], "leave it alone"
        elif name in FUNCTIONS:
            yield f"calls {name}(): {FUNCTIONS[name]}", LEAVE_OUT


def _names_in(node: Any) -> Iterator[str]:
    for described, value in node.ListFields():
        if described.message_type is None:
            if isinstance(value, str):
                yield value
            continue
        for each in value if hasattr(value, "__len__") else (value,):
            held = inner(each)
            if kind(held) == "String":
                yield held.sval
