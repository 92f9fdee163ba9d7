"""What constraints and indexes want of rows, as questions. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from services.executor.domain.question import Question, computing, counting
from services.executor.domain.readings import Reading
from services.executor.domain.relation import Relation
from shared.sql.actions import CreateIndex
from shared.sql.columns import Constraint, Table, shown
from shared.sql.names import quoted

_KEY_BYTES = 2700
"""An entry of an index may take 2,704 bytes with its head (btree; the others take more)."""
_MAY_SHRINK = "an index takes 2,704 bytes at the most, and only building it tells how far they shrink"
_MAY_CHANGE = "it holds when the transaction ends, and a later statement may mend it"
_NOT_WRITTEN = "it holds only for rows that are written, and rows that were there may break it"
# Their values are short, whatever they are.
_SHORT = re.compile(
    r"(small|big)?int(eger|\d)?|(small|big)?serial|boolean|bool|uuid|date|real|float\d|double precision|money"
    r"|(timestamp|time)( \(\d\)|\(\d\))?( with(out)? time zone)?|timestamptz|interval|oid|inet|cidr|macaddr8?"
    r"|(character varying|varchar|character|char|numeric|decimal|bit|bit varying)\((\d+)[^)]*\)"
)
_FOUR_BYTES_EACH = _KEY_BYTES // 4
_PLAIN = re.compile(r'"(?:[^"]|"")+"')


@dataclass
class RowRules:
    """Asks over `reading`; `keys` are each table's primary key."""

    reading: Reading
    keys: Mapping[Table, tuple[str, ...]]

    def constraint(self, relation: Relation, constraint: Constraint) -> Iterator[Question]:
        """What a constraint wants of all rows."""
        match constraint.kind:
            case "check":
                text = f"rows of {shown(relation.table)} that do not satisfy {constraint.expression}"
                condition = f"NOT ({self.reading.readable(constraint.expression or '')})"
                yield counting(self.reading, relation, text, condition, computes=True)
            case "unique" | "primary key":
                keys = tuple(map(quoted, constraint.columns))
                yield self.duplicates(relation, keys, None, nulls_distinct=constraint.nulls_distinct)
                if constraint.kind == "primary key":
                    yield from self.nulls(relation, constraint.columns)
                yield from self.too_long(relation, keys, None)
            case "foreign key":
                yield from self.orphans(relation, constraint)
            case "exclude":
                text = f"rows of {shown(relation.table)} beyond the first, which may exclude each other"
                sql = f"SELECT greatest(count(*) - 1, 0) FROM {relation.source} AS {relation.alias}"
                why = "an exclusion constraint is not tried beforehand"
                doubt = self.reading.doubt or relation.doubt
                yield Question(text, "unknown", self.reading.query(sql), doubt, why=why)

    def nulls(self, relation: Relation, columns: tuple[str, ...]) -> Iterator[Question]:
        """A primary key holds no null."""
        condition = " OR ".join(f"{quoted(column)} IS NULL" for column in columns)
        if condition:
            text = f"rows of {shown(relation.table)} with a null in its primary key"
            yield counting(self.reading, relation, text, condition)

    def index(self, relation: Relation, index: CreateIndex) -> Iterator[Question]:
        """Its expressions can be computed of every row, no entry is too long, and none is there twice."""
        made = [key for key in index.keys if not _PLAIN.fullmatch(key)]
        where = self.reading.readable(index.where) if index.where else None
        if made or where:
            value = f"concat({', '.join(map(self.reading.readable, made)) or 'NULL'})"
            # A row that the index leaves out has no entry to compute.
            value = f"CASE WHEN ({where}) THEN {value} END" if where else value
            text = f"can the index on {shown(relation.table)} be computed of every row?"
            yield replace(computing(self.reading, relation, text, value), quiet=True)
        if index.unique:
            yield self.duplicates(relation, index.keys, index.where, nulls_distinct=index.nulls_distinct)
        if index.method != "hash":
            yield from self.too_long(relation, index.keys, where)

    def too_long(self, relation: Relation, keys: tuple[str, ...], where: str | None) -> Iterator[Question]:
        """Whether an index can hold every value. Its column alone says so where its type is short."""
        long = [key for key in keys if not self._is_short(relation, key)]
        if not long:
            return
        size = " + ".join(f"COALESCE(pg_column_size({self.reading.readable(key)}), 0)" for key in long)
        condition = f"{size} > {_KEY_BYTES}"
        # The sizes of entries that the index leaves out need not be computable.
        condition = f"CASE WHEN ({where}) THEN {condition} ELSE false END" if where else condition
        names = ", ".join(key.strip('"()') for key in long)
        text = f"rows of {shown(relation.table)} whose ({names}) may be too long for an index"
        found = counting(self.reading, relation, text, condition, "unknown", why=_MAY_SHRINK)
        yield replace(found, quiet=True)

    def _is_short(self, relation: Relation, key: str) -> bool:
        if not _PLAIN.fullmatch(key):
            return False
        found = _SHORT.fullmatch(relation.columns.get(key[1:-1].replace('""', '"'), "").lower())
        if found is None:
            return False
        limit = found.groups()[-1]
        return limit is None or int(limit) <= _FOUR_BYTES_EACH

    def duplicates(
        self, relation: Relation, keys: tuple[str, ...], where: str | None, *, nulls_distinct: bool = True
    ) -> Question:
        """Rows whose key another row has already."""
        conditions = [f"({self.reading.readable(where)})"] if where else []
        if nulls_distinct:
            conditions += [f"{key} IS NOT NULL" for key in keys]
        grouped = ", ".join(keys)

        def repeated(by: str) -> str:
            counted = (
                f"SELECT count(*) AS n FROM {relation.source} AS {relation.alias}"
                f" WHERE {' AND '.join(conditions) or 'true'} GROUP BY {by} HAVING count(*) > 1"
            )
            sql = f"SELECT COALESCE(sum(n - 1), 0)::bigint FROM ({counted}) AS duplicates"
            return self.reading.query(sql)

        names = ", ".join(key.strip('"()') for key in keys)
        text = f"rows of {shown(relation.table)} whose ({names}) another row has already"
        # Equal values have equal hashes, which are small and sorted without a collation.
        quick = repeated(f"hash_record_extended(ROW({grouped}), 0)")
        doubt = self.reading.doubt or relation.doubt_of(f"{grouped} {where or ''}")
        return Question(text, "would fail", repeated(grouped), doubt, quick=quick)

    def orphans(self, relation: Relation, constraint: Constraint) -> Iterator[Question]:
        """Rows that refer to a row which is not there."""
        assert constraint.references is not None
        parent = self.reading.tables.get(constraint.references)
        there = constraint.referenced_columns or self.keys.get(constraint.references, ())
        if parent is None or len(there) != len(constraint.columns):
            return
        pairs = zip(constraint.columns, there, strict=True)
        matches = " AND ".join(f"parent.{quoted(b)} = child.{quoted(a)}" for a, b in pairs)
        present = " AND ".join(f"child.{quoted(column)} IS NOT NULL" for column in constraint.columns)
        sql = (
            f"SELECT count(*) FROM {relation.source} AS child WHERE {present} AND NOT EXISTS"
            f" (SELECT FROM {parent.source} AS parent WHERE {matches})"
        )
        names = ", ".join(constraint.columns)
        text = f"rows of {shown(relation.table)} whose ({names}) is not in {shown(parent.table)}"
        doubt = self.reading.doubt or relation.doubt_of(names) or parent.doubt_of(", ".join(there))
        yield Question(text, "would fail", self.reading.query(sql), doubt)


def softened(question: Question, constraint: Constraint | None) -> Question:
    """A question of a rule that stands when rows are written: what it means that some break it."""
    why = (
        _NOT_WRITTEN if constraint is not None and not constraint.validated
        else _MAY_CHANGE if constraint is not None and constraint.deferrable
        else ""
    )  # fmt: skip
    if not why or question.verdict != "would fail" or question.tries:
        return question
    return replace(question, verdict="unknown", why=why, computes=False)
