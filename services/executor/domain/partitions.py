"""What partitions want of rows: nobody tries beforehand where each would go. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from services.executor.domain.question import Question, counting
from services.executor.domain.readings import Reading
from services.executor.domain.standing import Standing
from shared.sql.actions import Action, CreateTable, Drop, Rewrite, Write
from shared.sql.columns import Table, shown

_OF_DEFAULT = "rows of the new partition may be among those of the default one"


@dataclass
class Partitions:
    """The database's: each parent's default partition, its key's columns, and the tables that are parts."""

    defaults: dict[Table, Table] = field(default_factory=dict)
    keys: dict[Table, frozenset[str]] = field(default_factory=dict)
    """Per partitioned table; none are named when the key has expressions."""
    parts: set[Table] = field(default_factory=set)

    def attach(self, parent: Table | None, part: Table) -> None:
        """Know of one more partition."""
        if parent is not None:
            self.parts.add(part)

    def changed(self, action: Action, reading: Reading, standing: Standing) -> Iterator[Question]:
        """Of a partition that is attached, made or taken off."""
        match action:
            case Rewrite(table=table, what="ATTACH PARTITION", other=(schema, name)):
                self.attach(table, (schema, name))
                why = (
                    "whether they lie within its bounds, and keep the table's rules, is not tried beforehand"
                )
                yield from _rows_of((schema, name), reading, why)
                yield from _rows_of(self.defaults.get(table or ("", "")), reading, _OF_DEFAULT)
            case CreateTable(part_of=(schema, name)):
                yield from _rows_of(self.defaults.get((schema, name)), reading, _OF_DEFAULT)
            case Drop(kind="partition", table=(schema, name)) if standing.is_referred_to((schema, name)):
                why = "rows of the partition may be referred to"
                yield from _rows_of((schema, name), reading, why)

    def written(self, write: Write) -> Iterator[Question]:
        """Whether there is a partition for every row that is written."""
        key = self.keys.get(write.table)
        moved = write.verb == "insert" or not key or bool(key & set(write.columns))
        whole = key is not None and write.table not in self.defaults
        if (whole and moved) or write.table in self.parts:
            text = f"is there a partition for every row that is written to {shown(write.table)}?"
            yield Question(text, "would fail", None, "bounds are not tried beforehand", implied=True)


def _rows_of(table: Table | None, reading: Reading, why: str) -> Iterator[Question]:
    relation = reading.tables.get(table) if table is not None else None
    if relation is not None:
        text = f"rows of {shown(relation.table)}"
        yield counting(reading, relation, text, "true", "unknown", why=why)
