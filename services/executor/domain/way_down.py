"""The way down: statements that undo a step, from the schema before it and the schema after it. Pure."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from services.executor.domain.casting import cast
from shared.sql.actions import (
    Action,
    AddColumn,
    DropColumn,
    RenameColumn,
    RenameConstraint,
    RenameIndex,
    RenameLabel,
    RenameTable,
    RenameType,
)
from shared.sql.names import literal, quoted


class Thing(NamedTuple):
    """One thing of a schema; `table` is whose it is, `arguments` tell functions of one name apart."""

    kind: str
    schema: str
    table: str
    name: str
    arguments: str = ""


@dataclass(frozen=True)
class Definition:
    """How PostgreSQL prints the thing; a column's parts go by themselves, an enum has its labels."""

    sql: str
    type: str = ""
    not_null: bool = False
    default: str | None = None
    labels: tuple[str, ...] = ()


Shape = Mapping[Thing, Definition]

# What stands on others goes first, and comes back last.
_ORDER = (
    "policy", "trigger", "view", "materialized view", "foreign key", "index", "constraint", "column", "table",
    "function", "aggregate", "sequence", "enum", "domain", "range", "composite", "extension", "schema",
)  # fmt: skip

# These are altered where they stand; all else goes and comes back.
_CHANGING = frozenset({"column", "enum", "function", "table"})
_FOUNDATIONS = _ORDER[_ORDER.index("table") + 1 :]


def undo(before: Shape, after: Shape, actions: Sequence[Action]) -> tuple[str, ...]:
    """Statements that lead from `after` back to `before`; `actions` are what led there."""
    renamed = tuple(_renamed(actions, before))
    if renamed:
        return renamed
    return tuple(f"{statement};" for statement in _differences(before, after, _remade(actions)))


def taken_away(before: Shape, after: Shape, actions: Sequence[Action]) -> tuple[Thing, ...]:
    """The tables and columns that had rows to lose and are gone, names that only changed not among them."""
    if any(isinstance(each, RenameTable | RenameColumn) for each in actions):
        return ()
    gone = [each for each in before if each.kind in ("table", "column") and each not in after]
    tables = {(each.schema, each.name) for each in gone if each.kind == "table"}
    return tuple(each for each in gone if each.kind == "table" or (each.schema, each.table) not in tables)


def _renamed(actions: Sequence[Action], before: Shape) -> Iterator[str]:
    for action in reversed(actions):
        match action:
            case RenameTable(table=(schema, name), to=(new_schema, new_name)):
                what = (
                    "VIEW"
                    if any(each.kind == "view" and each[1:4] == (schema, "", name) for each in before)
                    else "TABLE"
                )
                if new_schema != schema:
                    yield f"ALTER {what} {quoted(new_schema, new_name)} SET SCHEMA {quoted(schema)};"
                else:
                    yield f"ALTER {what} {quoted(schema, new_name)} RENAME TO {quoted(name)};"
            case RenameColumn(table=table, column=column, to=to):
                yield f"ALTER TABLE {quoted(*table)} RENAME COLUMN {quoted(to)} TO {quoted(column)};"
            case RenameConstraint(table=table, name=name, to=to):
                yield f"ALTER TABLE {quoted(*table)} RENAME CONSTRAINT {quoted(to)} TO {quoted(name)};"
            case RenameIndex(name=(schema, name), to=to):
                yield f"ALTER INDEX {quoted(schema, to)} RENAME TO {quoted(name)};"
            case RenameType(name=name, to=new):
                what = "DOMAIN" if Thing("domain", name[0], "", name[1]) in before else "TYPE"
                yield f"ALTER {what} {quoted(*new)} RENAME TO {quoted(name[1])};"
            case RenameLabel(type=name, label=label, to=to):
                yield f"ALTER TYPE {quoted(*name)} RENAME VALUE {literal(to)} TO {literal(label)};"
            case _:
                pass


def _remade(actions: Sequence[Action]) -> frozenset[Thing]:
    """Columns that went and came back under the same name, with none of their values."""
    gone = {(each.table, each.column) for each in actions if isinstance(each, DropColumn)}
    made = {(each.table, each.column.name) for each in actions if isinstance(each, AddColumn)}
    return frozenset(Thing("column", *table, column) for table, column in gone & made)


def _differences(before: Shape, after: Shape, remade: Set[Thing]) -> Iterator[str]:
    both = [each for each in before if each in after and before[each] != after[each]]
    changed = [each for each in both if each.kind in _CHANGING and each not in remade]
    again = [each for each in both if each not in changed]
    added = [*(each for each in after if each not in before), *again]
    removed = [*(each for each in before if each not in after), *again]
    for thing in _sorted(added):
        if not _inside(thing, added):
            yield from _drop(thing, after)
    making = list(reversed(_sorted(removed)))
    # A default that comes back may be of a type, or call a function, that went with it.
    for thing in [each for each in making if each.kind in _FOUNDATIONS]:
        yield from _make(thing, before, removed)
    for thing in _sorted(changed):
        yield from _change(thing, before, after)
    for thing in [each for each in making if each.kind not in _FOUNDATIONS]:
        yield from _make(thing, before, removed)


def _sorted(things: list[Thing]) -> list[Thing]:
    return sorted(things, key=lambda each: (_ORDER.index(each.kind), each))


def _inside(thing: Thing, added: Sequence[Thing]) -> bool:
    """Whether it goes with its table."""
    if not thing.table or Thing("table", thing.schema, "", thing.table) not in added:
        return False
    # New tables that refer to each other go in no order but this: the references first.
    return thing.kind != "foreign key" or sum(each.kind == "table" for each in added) == 1


def _drop(thing: Thing, shape: Shape) -> Iterator[str]:
    name = quoted(thing.schema, thing.name)
    match thing.kind:
        case "column":
            yield f"ALTER TABLE {quoted(thing.schema, thing.table)} DROP COLUMN {quoted(thing.name)}"
        case "constraint" | "foreign key":
            yield f"ALTER TABLE {quoted(thing.schema, thing.table)} DROP CONSTRAINT {quoted(thing.name)}"
        case "trigger" | "policy":
            yield f"DROP {thing.kind.upper()} {quoted(thing.name)} ON {quoted(thing.schema, thing.table)}"
        case "function":
            yield f"DROP ROUTINE {name}({thing.arguments})"
        case "aggregate":
            yield f"DROP AGGREGATE {name}({thing.arguments})"
        case "enum" | "range" | "composite":
            yield f"DROP TYPE {name}"
        case "schema" | "extension":
            yield f"DROP {thing.kind.upper()} {quoted(thing.name)}"
        case _:
            yield f"DROP {thing.kind.upper()} {name}"


def _change(thing: Thing, before: Shape, after: Shape) -> Iterator[str]:
    was, now = before[thing], after[thing]
    match thing.kind:
        case "column":
            yield from _column_back(thing, was, now)
        case "enum":
            yield from _enum_back(thing, was, after)
        case "function":
            yield was.sql
        case "table":
            yield from was.labels
        case other:
            raise AssertionError(f"a {other} does not change, it is made anew")


def _column_back(thing: Thing, was: Definition, now: Definition) -> Iterator[str]:
    alter = f"ALTER TABLE {quoted(thing.schema, thing.table)} ALTER COLUMN {quoted(thing.name)}"
    if was.type != now.type:
        if now.default is not None:
            # It may be of the new type alone.
            yield f"{alter} DROP DEFAULT"
        yield f"{alter} TYPE {was.type} USING ({cast(quoted(thing.name), now.type, was.type)})"
    if was.default != now.default or was.type != now.type:
        if was.default is not None:
            yield f"{alter} SET DEFAULT {was.default}"
        elif now.default is not None and was.type == now.type:
            yield f"{alter} DROP DEFAULT"
    if was.not_null != now.not_null:
        yield f"{alter} {'SET' if was.not_null else 'DROP'} NOT NULL"


def _enum_back(thing: Thing, was: Definition, after: Shape) -> Iterator[str]:
    """A value cannot be taken out of an enum, so the columns move to a new one of the old name."""
    name, aside = quoted(thing.schema, thing.name), quoted(thing.schema, f"{thing.name} before the way down")
    columns = [
        (each, definition)
        for each, definition in after.items()
        if each.kind == "column"
        and definition.type.removesuffix("[]").replace('"', "") == f"{thing.schema}.{thing.name}"
    ]
    yield f"ALTER TYPE {name} RENAME TO {quoted(f'{thing.name} before the way down')}"
    yield f"CREATE TYPE {name} AS ENUM ({', '.join(map(literal, was.labels))})"
    for column, definition in columns:
        many = "[]" if definition.type.endswith("[]") else ""
        alter = f"ALTER TABLE {quoted(column.schema, column.table)} ALTER COLUMN {quoted(column.name)}"
        if definition.default is not None:
            yield f"{alter} DROP DEFAULT"
        yield f"{alter} TYPE {name}{many} USING ({quoted(column.name)}::text{many}::{name}{many})"
        if definition.default is not None:
            yield f"{alter} SET DEFAULT {definition.default}"
    yield f"DROP TYPE {aside}"


def _make(thing: Thing, before: Shape, removed: Sequence[Thing]) -> Iterator[str]:
    definition = before[thing]
    match thing.kind:
        case "column":
            if Thing("table", thing.schema, "", thing.table) not in removed:
                yield from _add_column(thing, definition)
        case "table":
            columns = [
                before[each].sql
                for each in removed
                if each.kind == "column" and each[1:3] == (thing.schema, thing.name)
            ]
            yield f"CREATE TABLE {quoted(thing.schema, thing.name)} ({', '.join(columns)})"
            yield from definition.labels
        case _:
            yield definition.sql


def _add_column(thing: Thing, definition: Definition) -> Iterator[str]:
    alter = f"ALTER TABLE {quoted(thing.schema, thing.table)}"
    default = f" DEFAULT {definition.default}"
    if definition.not_null or definition.default is None or default not in definition.sql:
        yield f"{alter} ADD COLUMN {definition.sql}"
    else:
        # A column goes without loss when its values are nulls; its default would fill them.
        yield f"{alter} ADD COLUMN {definition.sql.replace(default, '', 1)}"
        yield f"{alter} ALTER COLUMN {quoted(thing.name)} SET{default}"
