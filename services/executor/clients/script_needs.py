"""What scripts take for granted of a server: extensions, a version, privileges. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from postgast import pg_query_pb2

from services.executor.clients.migration_files import Migration
from shared.reading.progress import now_reading
from shared.sql.actions import (
    Action,
    AddColumn,
    AddConstraint,
    ChangeType,
    CreateIndex,
    CreateTable,
    DropColumn,
    DropConstraint,
    DropIndex,
    DropNotNull,
    DropTable,
    RenameColumn,
    RenameConstraint,
    RenameIndex,
    RenameTable,
    SetDefault,
    SetNotNull,
    ValidateConstraint,
    Write,
)
from shared.sql.columns import Constraint, Table
from shared.sql.names import quoted
from shared.sql.parsing import Unreadable
from shared.sql.script import DEFAULT_SCHEMA, Statement, read_statements
from shared.sql.tree import below, kind, strings

_TYPES = {
    "vector": "vector",
    "halfvec": "vector",
    "sparsevec": "vector",
    "citext": "citext",
    "hstore": "hstore",
    "ltree": "ltree",
    "geometry": "postgis",
    "geography": "postgis",
}
_OPERATOR_CLASSES = {
    "gin_trgm_ops": "pg_trgm",
    "gist_trgm_ops": "pg_trgm",
    "vector_cosine_ops": "vector",
    "vector_l2_ops": "vector",
    "vector_ip_ops": "vector",
}
_FUNCTIONS = {"uuid_generate_v4": "uuid-ossp", "uuid_generate_v1": "uuid-ossp", "gen_salt": "pgcrypto"}
_PLAIN = re.compile("[a-z_][a-z0-9_]*")
# A block may guard what it does with conditions, so that it asks for less than stands there.
_GUARDED = "DoStmt"


@dataclass(frozen=True)
class Extension:
    """A CREATE EXTENSION."""

    place: str
    name: str
    if_not_exists: bool


@dataclass(frozen=True)
class Provided:
    """Something that an extension brings: a type, an operator class or a function."""

    place: str
    thing: str
    kind: str
    extension: str


@dataclass
class Needs:
    """Each with the first place, `folder/migration.sql:line`, that needs it."""

    extensions: list[Extension] = field(default_factory=list)
    provided: list[Provided] = field(default_factory=list)
    versions: dict[tuple[str, int], str] = field(default_factory=dict)
    """What is written, and the first PostgreSQL that understands it."""
    rights: dict[tuple[str, str], str] = field(default_factory=dict)
    """A relation as SQL text, and `owner` or a privilege."""
    new_schemas: dict[str, str] = field(default_factory=dict)


def needs_of(migrations: Sequence[Migration], schema: str = DEFAULT_SCHEMA) -> Needs:
    """What these need together, in order; what one of them makes itself is still named.

    `schema` is meant where a name has none. A script that PostgreSQL cannot read is refused elsewhere.
    """
    needs = Needs()
    for migration in migrations:
        now_reading(f"{migration.path}/migration.sql")
        try:
            statements = read_statements(migration.sql, schema)
        except Unreadable:
            continue
        for statement in statements:
            place = f"{migration.path}/migration.sql:{statement.line}"
            _read(statement, place, needs)
    return needs


def _read(statement: Statement, place: str, needs: Needs) -> None:
    node = statement.node
    for each in below(node):
        for written, version in _newer(each):
            needs.versions.setdefault((written, version), place)
        if kind(node) != "CreateExtensionStmt":
            needs.provided += _provided(each, place)
    if kind(node) == "CreateExtensionStmt":
        needs.extensions.append(Extension(place, node.extname, node.if_not_exists))
    elif kind(node) == "CreateSchemaStmt":
        needs.new_schemas.setdefault(node.schemaname, place)
    elif kind(node) != _GUARDED:
        for action in statement.actions:
            for table, right in _rights(action):
                needs.rights.setdefault((_written(table, statement.schema), right), place)


def _newer(node: Any) -> Iterator[tuple[str, int]]:
    match kind(node):
        case "MergeStmt":
            yield "MERGE INTO", 15
        case "JsonTable":
            yield "JSON_TABLE", 17
        case "CreateTrigStmt" if node.replace:
            yield "CREATE OR REPLACE TRIGGER", 14
        case "ColumnDef" if node.compression == "lz4":
            yield "COMPRESSION LZ4", 14
        case "DefElem" if node.defname == "security_invoker":
            yield "SECURITY_INVOKER", 15
        case "IndexStmt" if node.nulls_not_distinct:
            yield "NULLS NOT DISTINCT", 15
        case "Constraint":
            yield from _newer_rule(node)


def _newer_rule(node: Any) -> Iterator[tuple[str, int]]:
    if node.nulls_not_distinct:
        yield "NULLS NOT DISTINCT", 15
    if node.without_overlaps:
        yield "WITHOUT OVERLAPS", 18
    if node.generated_kind == "v":
        yield "VIRTUAL", 18
    if node.contype == pg_query_pb2.CONSTR_ATTR_NOT_ENFORCED or (
        node.contype in (pg_query_pb2.CONSTR_CHECK, pg_query_pb2.CONSTR_FOREIGN) and not node.is_enforced
    ):
        yield "NOT ENFORCED", 18


def _provided(node: Any, place: str) -> Iterator[Provided]:
    match kind(node):
        case "TypeName":
            found, what, names = _TYPES, "type", node.names
        case "IndexElem":
            found, what, names = _OPERATOR_CLASSES, "operator class", node.opclass
        case "FuncCall":
            found, what, names = _FUNCTIONS, "function", node.funcname
        case _:
            return
    name = strings(names)[-1] if len(names) else ""
    if name in found:
        yield Provided(place, name, what, found[name])


def _rights(action: Action) -> Iterator[tuple[Table, str]]:
    """The tables and indexes that must be there, and what is wanted of each: to own it, or a privilege."""
    match action:
        case Write(table=table, verb=verb):
            yield table, verb.upper()
        case DropIndex(name=name) | RenameIndex(name=name):
            yield name, "owner"
        case (
            AddColumn(table=table) | DropColumn(table=table) | RenameColumn(table=table)
            | SetNotNull(table=table) | DropNotNull(table=table) | SetDefault(table=table)
            | ChangeType(table=table) | AddConstraint(table=table) | ValidateConstraint(table=table)
            | DropConstraint(table=table) | RenameConstraint(table=table) | RenameTable(table=table)
            | DropTable(table=table) | CreateIndex(table=table)
        ):  # fmt: skip
            yield table, "owner"
        case _:
            pass
    for constraint in _constraints(action):
        if constraint.references is not None:
            yield constraint.references, "REFERENCES"


def _constraints(action: Action) -> tuple[Constraint, ...]:
    match action:
        case CreateTable(columns=columns, constraints=constraints):
            return (*constraints, *(each for column in columns for each in column.constraints))
        case AddColumn(column=column):
            return column.constraints
        case AddConstraint(constraint=constraint):
            return (constraint,)
        case _:
            return ()


def _written(table: Table, schema: str) -> str:
    """A name as people write it, quoted where it must be."""
    names = table[1:] if table[0] == schema else table
    return ".".join(name if _PLAIN.fullmatch(name) else quoted(name) for name in names)
