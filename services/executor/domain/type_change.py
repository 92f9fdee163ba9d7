"""What a change of a column's type wants of its values, as questions. Pure."""

from collections.abc import Iterator, Mapping

from services.executor.domain.casting import BOUNDS, INTEGERS, LIMITED, cast, widens
from services.executor.domain.one_pass import Counted
from services.executor.domain.question import Question, counting
from services.executor.domain.readings import Reading
from services.executor.domain.relation import Relation
from shared.sql.actions import ChangeType
from shared.sql.columns import Table, shown
from shared.sql.names import quoted


def keeps_values(relation: Relation, action: ChangeType) -> bool:
    """Whether every value stays as it is, and so does what depends on it."""
    old = relation.columns.get(action.column)
    return old is not None and action.using is None and widens(old, action.type)


def type_change(
    reading: Reading, relation: Relation, action: ChangeType, enums: Mapping[Table, tuple[str, ...]]
) -> Iterator[Question]:
    """Whether every value can become the new type, and which become others; `enums` are made before it."""
    name = f"{shown(relation.table)}.{action.column}"
    old = relation.columns[action.column]
    column = f"{relation.alias}.{quoted(action.column)}"
    new, was = reading.castable(action.type), reading.castable(old)
    value = reading.readable(action.using) if action.using else column
    # USING may make other values of the same type.
    if action.using is None and widens(old, action.type):
        return
    labels = _labels_of(reading, action.type.removesuffix("[]"), enums)
    if labels:
        among = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
        text = f"rows whose {name} is none of the values of {action.type}"
        other = f"({value})::text NOT IN ({among})"
        if action.type.endswith("[]"):
            other = f"NOT (array_remove(({value})::text[], NULL) <@ ARRAY[{among}]::text[])"
        yield counting(reading, relation, text, other)
        if action.using:
            text = f"values of {name} that become others"
            yield counting(
                reading, relation, text, f"({value})::text IS DISTINCT FROM {column}::text", "loses"
            )
        return
    if old in INTEGERS and action.type in INTEGERS and action.using is None:
        yield counting(
            reading,
            relation,
            f"rows whose {name} is too big for {action.type}",
            f"{column} NOT BETWEEN {BOUNDS[action.type]}",
        )
        return
    longest = LIMITED.fullmatch(action.type)
    if longest is not None and action.using is None:
        # Without USING nothing is cut off, save spaces at the end.
        text = f"rows whose {name} has more than {longest[1]} characters"
        yield counting(reading, relation, text, f"length(rtrim({column}::text)) > {longest[1]}")
    counted = Counted(relation.source, relation.alias, f"({value})::{new}", values=True)
    tried = f"SELECT count(({value})::{new}) FROM {relation.source} AS {relation.alias}"
    text = f"can every {name} become {action.type}?"
    doubt = reading.doubt or relation.doubt_of(value)
    if reading.relabelled and (new, was) != (action.type, old):
        doubt = doubt or "an enum of it gets other values first"
    elif new != action.type:
        doubt = doubt or "its type is made only then"
    sql = reading.query(tried)
    yield Question(text, "would fail", sql, doubt, tries=True, counted=counted)
    back = cast(f"({value})::{new}", new, was)
    changed = f"({back})::text IS DISTINCT FROM {column}::text"
    lost = f"values of {name} that {action.type} does not hold as they are"
    yield counting(reading, relation, lost, changed, "loses")


def _labels_of(reading: Reading, type_name: str, enums: Mapping[Table, tuple[str, ...]]) -> tuple[str, ...]:
    plain = type_name.replace('"', "").split(".")
    name = (plain[0], plain[1]) if len(plain) > 1 else (reading.schema, plain[0])
    return enums.get(name, ())
