"""The way down: statements that undo a step, from the schema before it and the schema after it. Pure."""

import re
from collections.abc import Iterator, Sequence, Set

from services.executor.domain.changing import change, columns_of, numbers_on, owned_again, set_free
from services.executor.domain.standing_order import above, founds, in_order, view_of
from services.executor.domain.things import Definition, Numbers, Shape, Thing
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

# These are altered where they stand; all else goes and comes back.
_CHANGING = frozenset({"column", "enum", "function", "sequence", "table"})


def undo(before: Shape, after: Shape, actions: Sequence[Action]) -> tuple[str, ...]:
    """Statements that lead from `after` back to `before`; `actions` are what led there."""
    renamed = tuple(_renamed(actions, before))
    if renamed:
        return renamed
    return tuple(f"{statement};" for statement in _differences(before, after, _remade(actions)))


def numberless(before: Shape, after: Shape) -> tuple[Thing, ...]:
    """The sequences, and the columns that are identities, that are no longer there as such."""
    gone = [each for each in before if each.kind == "sequence" and each not in after]
    identities = [each for each in before if each.kind == "column" and before[each].labels]
    return (*gone, *(each for each in identities if each in after and not after[each].labels))


def numbered(things: Sequence[Thing], start: Shape) -> tuple[str, ...]:
    """The last statements of a way down that leads to `start` and has made these again."""
    found = [each for each in dict.fromkeys(things) if each in start]
    return tuple(f"{statement};" for each in found for statement in numbers_on(each, start))


def taken_away(before: Shape, after: Shape, actions: Sequence[Action]) -> tuple[Thing, ...]:
    """The tables and columns that had rows to lose and are gone, names that only changed not among them."""
    if any(isinstance(each, RenameTable | RenameColumn) for each in actions):
        return ()
    gone = [each for each in before if each.kind in ("table", "column") and each not in after]
    # The rows of a table are those of its partitions, and its values theirs.
    every = set(gone)
    gone = [each for each in gone if not before[each].inherited and not before[each].below & every]
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
    # What comes and goes with a parent's is changed with it, too.
    both = [each for each in both if not (before[each].inherited and after[each].inherited)]
    changed = [each for each in both if each.kind in _CHANGING and each not in remade]
    again = [each for each in both if each not in changed]
    again += _in_the_way(changed, both, before, after)
    again += [
        each for each in before if each not in both and each in after and _stands_on(each, remade, before)
    ]
    moved = set(_moved(changed, before, after))
    again += above(moved.union(again), before, after)
    changed = [each for each in changed if each not in again]
    added = [*(each for each in after if each not in before), *again]
    removed = [*(each for each in before if each not in after), *again]
    for thing in changed:
        yield from set_free(thing, before, after)
    for thing in in_order(added, after):
        if not after[thing].inherited and not _inside(thing, added, after):
            yield from _drop(thing, after)
    made = [each for each in reversed(in_order(removed, before)) if not before[each].inherited]
    # A default that comes back may be of a type, or call a function, that went with it.
    first = [each for each in made if founds(each, before) and not before[each].below & moved]
    for thing in first:
        yield from _make(thing, before, removed)
    for thing in in_order(changed, before):
        yield from change(thing, before, after)
    for thing in [each for each in made if each not in first]:
        yield from _make(thing, before, removed)
    for thing in [each for each in made if each.kind == "sequence"]:
        yield from owned_again(thing, before)


def _moved(changed: Sequence[Thing], before: Shape, after: Shape) -> Iterator[Thing]:
    """The columns that get another type, and the enums whose columns do."""
    for each in changed:
        if each.kind == "enum":
            yield from (each, *columns_of(each, after))
        elif each.kind == "column" and before[each].type != after[each].type:
            yield each


def _in_the_way(changed: Sequence[Thing], both: Sequence[Thing], before: Shape, after: Shape) -> list[Thing]:
    """What holds an enum's columns to their type while they move to another: it goes and comes back."""
    found: list[Thing] = []
    for enum in [each for each in changed if each.kind == "enum"]:
        tables = {(column.schema, column.table) for column in columns_of(enum, after)}
        name = f"{enum.schema}.{enum.name}"
        for each in before:
            if each in both or each not in after or (each.schema, each.table) not in tables:
                continue
            named = name in before[each].sql.replace('"', "")
            if each.kind in ("trigger", "policy") or (each.kind in ("index", "constraint") and named):
                found.append(each)
    return found


def _stands_on(thing: Thing, remade: Set[Thing], shape: Shape) -> bool:
    """Whether it goes with a column that is dropped, and does not come back with it."""
    columns = [each for each in remade if (each.schema, each.table) == (thing.schema, thing.table)]
    return thing.kind in ("index", "constraint", "foreign key", "statistics") and any(
        re.search(rf"\b{re.escape(each.name)}\b", shape[thing].sql) for each in columns
    )


def _owner(thing: Thing, shape: Shape) -> Thing | None:
    """The column with which a sequence goes and comes."""
    return Numbers(*shape[thing].labels).owner


def _inside(thing: Thing, added: Sequence[Thing], after: Shape) -> bool:
    """Whether it goes with its table, its view or its column."""
    if thing.kind == "sequence":
        return _owner(thing, after) in added
    if (view := view_of(thing, after)) is not None:
        return view in added
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
        case "trigger" | "policy" | "rule":
            yield f"DROP {thing.kind.upper()} {quoted(thing.name)} ON {quoted(thing.schema, thing.table)}"
        case "function":
            yield f"DROP ROUTINE {name}({thing.arguments})"
        case "aggregate":
            yield f"DROP AGGREGATE {name}({thing.arguments})"
        case "enum" | "range" | "composite":
            yield f"DROP TYPE {name}"
        case "view index":
            yield f"DROP INDEX {name}"
        case "schema" | "extension":
            yield f"DROP {thing.kind.upper()} {quoted(thing.name)}"
        case _:
            yield f"DROP {thing.kind.upper()} {name}"


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
                if each.kind == "column"
                and each[1:3] == (thing.schema, thing.name)
                and not before[each].inherited
            ]
            yield from _create_table(thing, definition, columns)
            yield from definition.labels
        case _:
            yield definition.sql


def _create_table(thing: Thing, definition: Definition, columns: Sequence[str]) -> Iterator[str]:
    name, rest = quoted(thing.schema, thing.name), f" {definition.sql}".rstrip()
    if definition.type and not columns:
        yield f"CREATE TABLE {name} PARTITION OF {definition.type} {definition.default}{rest}"
        return
    yield f"CREATE TABLE {name} ({', '.join(columns)}){rest}"
    if definition.type:
        yield f"ALTER TABLE {definition.type} ATTACH PARTITION {name} {definition.default}"


def _add_column(thing: Thing, definition: Definition) -> Iterator[str]:
    alter = f"ALTER TABLE {quoted(thing.schema, thing.table)}"
    default = f" DEFAULT {definition.default}"
    if definition.not_null or definition.default is None or default not in definition.sql:
        yield f"{alter} ADD COLUMN {definition.sql}"
    else:
        # A column goes without loss when its values are nulls; its default would fill them.
        yield f"{alter} ADD COLUMN {definition.sql.replace(default, '', 1)}"
        yield f"{alter} ALTER COLUMN {quoted(thing.name)} SET{default}"
