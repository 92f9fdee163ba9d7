"""What is altered where it stands, led back to how it was. Pure."""

from collections.abc import Iterator

from services.executor.domain.casting import cast
from services.executor.domain.things import Definition, Numbers, Shape, Thing
from shared.sql.names import literal, quoted


def change(thing: Thing, before: Shape, after: Shape) -> Iterator[str]:
    """The statements for one thing that is there before and after."""
    was, now = before[thing], after[thing]
    match thing.kind:
        case "column":
            yield from _column_back(thing, was, now)
        case "enum":
            yield from _enum_back(thing, was, after)
        case "function":
            yield was.sql
        case "sequence":
            yield from _sequence_back(thing, Numbers(*was.labels), Numbers(*now.labels))
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
    if now.labels and not was.labels:
        yield f"{alter} DROP IDENTITY"
    if was.not_null != now.not_null:
        yield f"{alter} {'SET' if was.not_null else 'DROP'} NOT NULL"
    if was.labels and not now.labels:
        yield f"{alter} ADD GENERATED {was.labels[0]} AS IDENTITY ({was.labels[1]})"
    elif was.labels and was.labels != now.labels:
        yield f"{alter} SET GENERATED {was.labels[0]} {was.labels[2]}"


def _enum_back(thing: Thing, was: Definition, after: Shape) -> Iterator[str]:
    """A value cannot be taken out of an enum, so the columns move to a new one of the old name."""
    name, aside = quoted(thing.schema, thing.name), quoted(thing.schema, f"{thing.name} before the way down")
    yield f"ALTER TYPE {name} RENAME TO {quoted(f'{thing.name} before the way down')}"
    yield f"CREATE TYPE {name} AS ENUM ({', '.join(map(literal, was.labels))})"
    for column in columns_of(thing, after):
        definition = after[column]
        many = "[]" if definition.type.endswith("[]") else ""
        alter = f"ALTER TABLE {quoted(column.schema, column.table)} ALTER COLUMN {quoted(column.name)}"
        if definition.default is not None:
            yield f"{alter} DROP DEFAULT"
        yield f"{alter} TYPE {name}{many} USING ({quoted(column.name)}::text{many}::{name}{many})"
        if definition.default is not None:
            yield f"{alter} SET DEFAULT {definition.default}"
    yield f"DROP TYPE {aside}"


def columns_of(enum: Thing, shape: Shape) -> list[Thing]:
    """The columns that are of an enum, or lists of it."""
    name = f"{enum.schema}.{enum.name}"
    columns = [each for each in shape if each.kind == "column"]
    return [each for each in columns if shape[each].type.removesuffix("[]").replace('"', "") == name]


def set_free(thing: Thing, before: Shape, after: Shape) -> Iterator[str]:
    """A sequence that others own now, before they go and take it along."""
    if thing.kind == "sequence" and before[thing].labels[4:] != after[thing].labels[4:]:
        yield f"ALTER SEQUENCE {quoted(thing.schema, thing.name)} OWNED BY NONE"


def _sequence_back(thing: Thing, was: Numbers, now: Numbers) -> Iterator[str]:
    alter = f"ALTER SEQUENCE {quoted(thing.schema, thing.name)}"
    if was.options != now.options:
        yield f"{alter} {was.options}"
    if was.owner is not None and was.owner != now.owner:
        yield f"{alter} OWNED BY {quoted(was.schema, was.table, was.column)}"


def owned_again(thing: Thing, before: Shape) -> Iterator[str]:
    """A sequence that was made again is the column's that it was."""
    was = Numbers(*before[thing].labels)
    if was.owner is not None:
        owner = quoted(was.schema, was.table, was.column)
        yield f"ALTER SEQUENCE {quoted(thing.schema, thing.name)} OWNED BY {owner}"


def numbers_on(thing: Thing, start: Shape) -> Iterator[str]:
    """What is said once all is as it was at the `start`: a sequence that is new goes on behind its column.

    No number that a row has is given again. A sequence of nobody's begins where it was made to.
    """
    if thing.kind == "column":
        table = quoted(thing.schema, thing.table)
        sequence = f"pg_get_serial_sequence({literal(table)}, {literal(thing.name)})"
        numbers = Numbers("", "max", "GREATEST", "1", thing.schema, thing.table, thing.name)
    else:
        sequence = literal(quoted(thing.schema, thing.name))
        numbers = Numbers(*start[thing].labels)
        if numbers.owner is None:
            return
    furthest = f"{numbers.furthest}({quoted(numbers.column)})"
    yield (
        f"SELECT pg_catalog.setval({sequence}, {numbers.at_least}({furthest}, {numbers.bound}),"
        f" {furthest} IS NOT NULL) FROM {quoted(numbers.schema, numbers.table)}"
    )
