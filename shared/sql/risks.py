"""The risks of a statement: rights, row security, rows and rules that go. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from postgast import pg_query_pb2

from shared.sql.columns import Table, shown
from shared.sql.made_text import made_text, number_of
from shared.sql.tree import Part, inner, kind, strings, table_of

_SCHEMA = "public"
_GRAVE_COMMANDS = {
    "AT_DisableRowSecurity": "row security of {} is switched off",
    "AT_NoForceRowSecurity": "the owner of {} is no longer held to its row security",
}
_COMMANDS = {
    "AT_DisableTrig": "a trigger of {} is switched off",
    "AT_DisableTrigAll": "all triggers of {} are switched off, its references among them",
    "AT_DisableTrigUser": "the triggers of {} are switched off",
    "AT_DisableRule": "a rule of {} is switched off",
    "AT_SetUnLogged": "rows of {} are lost when the server crashes",
    "AT_ChangeOwner": "{} gets another owner",
}
_LATER = re.compile(r"add_job|alter_job|run_job|add_[a-z_]+_policy")
"""Functions of extensions by which the server runs something by itself, now and again."""
_OPERATOR_NAMES = """
    = <> != < > <= >= + - * / % ^ || | & # ~ ~* !~ !~* ~~ ~~* !~~ !~~* << >> @> <@ && -> ->> #> #>> ? @@
"""
_OPERATORS = frozenset(_OPERATOR_NAMES.split())
_FUNCTION_NAMES = """
    abs array_agg array_length array_to_string btrim char_length coalesce concat concat_ws count
    current_database current_schema current_setting current_user date_part date_trunc format gen_random_uuid
    greatest has_schema_privilege has_table_privilege jsonb_build_object json_build_object least left length
    lower ltrim max md5 min mod nextval now pg_get_serial_sequence pg_notify quote_ident quote_literal
    replace right round row_to_json rtrim session_user set_config setval split_part strpos string_agg
    substr substring sum to_char to_date to_json to_jsonb to_regclass to_timestamp trim trunc unnest upper
    version
"""
_CALLED_EVERYWHERE = frozenset(_FUNCTION_NAMES.split())
_SHADOWS = (
    "stands for the server's own of that name where its types fit better, or the search_path has it first"
)
_ROLE_PUBLIC = pg_query_pb2.ROLESPEC_PUBLIC
_SELF = (
    pg_query_pb2.ROLESPEC_CURRENT_USER,
    pg_query_pb2.ROLESPEC_CURRENT_ROLE,
    pg_query_pb2.ROLESPEC_SESSION_USER,
)


class Risk(NamedTuple):
    """In words; `grave` if it opens rows or rights to others, or takes every row of a table."""

    reason: str
    grave: bool = False


@dataclass
class Made:
    """The tables that the script has made so far: nobody has rows in them."""

    tables: set[Table] = field(default_factory=set)


def risks_of(part: Part, made: Made) -> Iterator[Risk]:
    """The risks of a node of a statement; `made` is kept up to date."""
    each = part.node
    match part.kind:
        case "CreateStmt":
            made.tables.add(table_of(each.relation, _SCHEMA))
            if each.relation.relpersistence == "u":
                name = shown(table_of(each.relation, _SCHEMA))
                yield Risk(_COMMANDS["AT_SetUnLogged"].format(name))
        case "CreateTableAsStmt":
            made.tables.add(table_of(each.into.rel, _SCHEMA))
        case "CreateFunctionStmt":
            if (name := strings(each.funcname)[-1]) in _CALLED_EVERYWHERE:
                yield Risk(f"{name}() {_SHADOWS}")
            yield from _definer(strings(each.funcname)[-1], each.options)
        case "AlterFunctionStmt":
            yield from _definer(strings(each.func.objname)[-1], each.actions)
        case "GrantStmt" if each.is_grant and any(_is_public(role) for role in each.grantees):
            later = each.targtype == pg_query_pb2.ACL_TARGET_DEFAULTS
            what = "rights on whatever is made later" if later else "rights"
            yield Risk(f"{what} are granted to everybody (PUBLIC)", grave=True)
        case "AlterTableStmt":
            yield from _altered(each)
        case "AlterOwnerStmt" if each.newowner.roletype not in _SELF:
            yield Risk("something gets another owner")
        case "CreatePolicyStmt" | "AlterPolicyStmt":
            yield from _policy(each)
        case "DropStmt" if each.remove_type == pg_query_pb2.OBJECT_POLICY:
            yield Risk("a policy of row security goes", grave=True)
        case "DefineStmt" if each.kind == pg_query_pb2.OBJECT_OPERATOR:
            if (name := strings(each.defnames)[-1]) in _OPERATORS:
                yield Risk(f"the operator {name} {_SHADOWS}")
        case "CreateSchemaStmt" if each.HasField("authrole") and each.authrole.roletype not in _SELF:
            yield Risk("something gets another owner")
        case "VariableSetStmt" if each.name == "search_path":
            yield from _path([made_text(inner(value)).text for value in each.args])
        case "FuncCall":
            yield from _called(each)
        case "TruncateStmt":
            for name in _truncated(each, made):
                yield Risk(f"every row of {name} goes (TRUNCATE)", grave=True)
        case "DeleteStmt" | "UpdateStmt" if not each.HasField("where_clause"):
            table = table_of(each.relation, _SCHEMA)
            if table not in made.tables:
                deletes = part.kind == "DeleteStmt"
                does = "deleted" if deletes else "written"
                yield Risk(f"every row of {shown(table)} is {does}: there is no WHERE", grave=deletes)


def _called(node: Any) -> Iterator[Risk]:
    name = strings(node.funcname)[-1]
    if name == "set_config" and len(node.args) > 1:
        setting, value = (made_text(inner(each)) for each in node.args[:2])
        if setting.text.lower() == "search_path" and not value.whole:
            yield Risk("the search path is made while it runs, so that other tables may be meant", grave=True)
        elif setting.text.lower() == "search_path":
            yield from _path(value.text.split(","))
    elif _LATER.fullmatch(name):
        yield Risk(f"the server runs something later and by itself ({name})")
    elif name.startswith("pg_sleep"):
        yield Risk(f"it waits ({name}) while it holds its locks, and whoever needs them waits too")
    elif name in ("pg_advisory_unlock", "pg_advisory_unlock_shared") and len(node.args) == 1:
        given = inner(node.args[0])
        hashed = kind(given) == "FuncCall" and strings(given.funcname)[-1].startswith("hash")
        if number_of(given) is None and not hashed:
            yield Risk("it gives up a lock whose number is made while it runs", grave=True)


def _path(schemas: list[str]) -> Iterator[Risk]:
    """Where the server's own schema is named, nothing may be named before it."""
    if "pg_catalog" in [each.strip(' "\n\t').lower() for each in schemas[1:]]:
        yield Risk("the search_path puts other functions and operators before the server's own")


def _is_public(role: Any) -> bool:
    return bool(inner(role).roletype == _ROLE_PUBLIC)


def _definer(name: str, options: Any) -> Iterator[Risk]:
    given = [inner(each) for each in options]
    definer = any(each.defname == "security" and inner(each.arg).boolval for each in given)
    paths = [inner(each.arg) for each in given if each.defname == "set"]
    fixed = any(each.name == "search_path" and each.args for each in paths)
    if definer and fixed:
        yield Risk(f"{name}() runs with the rights of its owner (SECURITY DEFINER)")
    elif definer:
        why = "its caller can put other functions and tables in the place of those that it names"
        yield Risk(
            f"{name}() runs with the rights of its owner (SECURITY DEFINER) and no fixed search_path: {why}",
            grave=True,
        )


def _altered(node: Any) -> Iterator[Risk]:
    name = shown(table_of(node.relation, _SCHEMA))
    for each in node.cmds:
        command = inner(each)
        subtype = pg_query_pb2.AlterTableType.Name(command.subtype)
        if subtype == "AT_ChangeOwner" and command.newowner.roletype in _SELF:
            continue
        if subtype in _GRAVE_COMMANDS:
            yield Risk(_GRAVE_COMMANDS[subtype].format(name), grave=True)
        elif subtype in _COMMANDS:
            yield Risk(_COMMANDS[subtype].format(name))


def _policy(node: Any) -> Iterator[Risk]:
    if kind(node) == "CreatePolicyStmt" and not node.permissive:
        return
    name = shown(table_of(node.table, _SCHEMA))
    for clause in ("qual", "with_check"):
        if node.HasField(clause) and _is_true(inner(getattr(node, clause))):
            written = "USING" if clause == "qual" else "WITH CHECK"
            yield Risk(f"policy {node.policy_name} of {name} permits every row: {written} (true)", grave=True)


def _is_true(node: Any) -> bool:
    """A constant that is true, or a comparison of equal constants."""
    match kind(node):
        case "A_Const":
            return bool(node.HasField("boolval") and node.boolval.boolval)
        case "BoolExpr" if node.boolop != pg_query_pb2.NOT_EXPR:
            known = [_is_true(inner(each)) for each in node.args]
            return any(known) if node.boolop == pg_query_pb2.OR_EXPR else all(known)
        case "TypeCast":
            return kind(inner(node.arg)) == "A_Const" and inner(node.arg).sval.sval in ("t", "true")
        case "A_Expr":
            sides = (inner(node.lexpr), inner(node.rexpr))
            if any(kind(each) != "A_Const" for each in sides):
                return False
            left, right = (str(each).partition("location")[0] for each in sides)
            return strings(node.name)[-1:] == ("=",) and left == right
    return False


def _truncated(node: Any, made: Made) -> Iterator[str]:
    for each in node.relations:
        table = table_of(inner(each), _SCHEMA)
        if table not in made.tables:
            yield shown(table)
