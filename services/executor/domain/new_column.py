"""What a new column wants of the rows that are there, as questions. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from services.executor.domain.question import Question, computing, counting
from services.executor.domain.readings import Reading
from services.executor.domain.relation import Relation
from shared.sql.actions import AddColumn
from shared.sql.columns import Table, shown


def new_column(
    reading: Reading, relation: Relation, action: AddColumn, enums: Mapping[Table, tuple[str, ...]]
) -> Iterator[Question]:
    """Whether every row gets a value, one that can be computed and that the column takes.

    `enums` are those that the upgrade makes, with their values.
    """
    column = action.column
    name = f"{shown(relation.table)}.{column.name}"
    if column.not_null and column.default is None and not column.fills and column.generated is None:
        yield counting(reading, relation, f"rows that would have no value for {name}", "true")
    unique = any(each.kind in ("unique", "primary key") for each in column.constraints)
    if unique and column.default is not None and not column.volatile:
        text = f"rows of {shown(relation.table)} beyond the first, all with the same {column.name}"
        sql = f"SELECT greatest(count(*) - 1, 0) FROM {relation.source} AS {relation.alias}"
        doubt = reading.doubt or relation.doubt
        yield Question(text, "would fail", reading.query(sql), doubt)
    if column.fills or (column.generated is not None and not column.stored):
        return
    known = reading.castable(column.type)
    value = f"({reading.readable(column.generated or column.default or 'NULL')})::{known}"
    asked = computing(reading, relation, f"can every {name} be computed?", value)
    if known != column.type and enums.get(reading.named(column.type)) == ():
        # It may have rules of its own, be it that nothing of it is null.
        why = "its type is made only then"
        yield counting(reading, relation, f"rows that get a {name}", "true", "unknown", why=why)
    else:
        # Constants and nulls that fit are not worth a word.
        yield replace(asked, quiet=column.generated is None)
