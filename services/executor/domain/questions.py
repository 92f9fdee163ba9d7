"""What rows must be like for a statement to succeed, as queries that count those that are not. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from services.executor.domain.casting import BOUNDS, INTEGERS, LIMITED, cast, widens
from services.executor.domain.one_pass import Counted
from services.executor.domain.relation import Relation, alias_of
from services.executor.domain.relations import Relations
from services.executor.domain.standing import Standing
from shared.contracts.impact import Verdict
from shared.sql.actions import (
    Action,
    AddColumn,
    AddConstraint,
    ChangeType,
    Code,
    Create,
    CreateIndex,
    CreateType,
    DropColumn,
    DropTable,
    RenameType,
    SetNotNull,
    ValidateConstraint,
    Write,
)
from shared.sql.columns import Constraint, Table, shown
from shared.sql.names import quoted


@dataclass(frozen=True)
class Question:
    """`sql` counts rows, and `verdict` is what it means when there are any. `tries` means that running it at
    all is the test: an error of the data is the verdict. Without SQL the answer is known to be not known."""

    text: str
    verdict: Verdict
    sql: str | None
    doubt: str | None = None
    tries: bool = False
    implied: bool = False
    """It comes with a rule that stands already, so it is worth a word only when rows break it."""
    counted: Counted | None = None
    """The same for a pass over the table that answers several questions, where that can be."""
    quick: str | None = None
    """SQL that costs less and gives 0 only if `sql` does."""


@dataclass
class Asker:
    """Asks of each action, in their order, what depends on rows; keeps the relations up to date."""

    relations: Relations
    keys: Mapping[Table, tuple[str, ...]] = field(default_factory=dict)
    """Each table's primary key."""
    standing: Standing = field(default_factory=Standing)
    triggered: set[Table] = field(default_factory=set)
    """Tables with triggers of the user's, which may write what no statement says."""
    _labels: dict[Table, tuple[str, ...]] = field(default_factory=dict)
    _unproven: dict[tuple[Table, str], Constraint] = field(default_factory=dict)

    def ask(self, action: Action) -> tuple[Question, ...]:
        """The questions of one action; the relations are those after it then."""
        questions = list(self._questions(action))
        if isinstance(action, CreateType):
            self._labels[action.name] = action.labels
        if isinstance(action, RenameType) and action.name in self._labels:
            self._labels[action.to] = self._labels.pop(action.name)
        if isinstance(action, AddConstraint) and not action.constraint.validated and action.constraint.name:
            self._unproven[action.table, action.constraint.name] = action.constraint
        self.relations.advance(action)
        if isinstance(action, Create) and action.kind == "trigger" and action.table is not None:
            self.triggered.add(action.table)
        if isinstance(action, Write) and action.table in self.triggered:
            self.relations.distrust(action.table, "a trigger runs when its rows are written")
        if isinstance(action, Write):
            questions += [*self._computed(action), *self._broken_by(action)]
        self.standing.keep_up(action)
        return tuple(questions)

    def _computed(self, write: Write) -> Iterator[Question]:
        """Whether every value that it writes can be computed, be it a cast or a division."""
        relation = self.relations.tables.get(write.table)
        if relation is None or write.verb not in ("insert", "update"):
            return
        written = write.columns or tuple(relation.columns)
        columns = [column for column in written if column in relation.columns]
        if not columns:
            return
        values = f"concat({', '.join(f'{relation.alias}.{quoted(column)}' for column in columns)})"
        counted = Counted(relation.source, relation.alias, values, values=True)
        sql = self.relations.query(f"SELECT count({values}) FROM {relation.source} AS {relation.alias}")
        doubt = self._doubt(relation)
        if self.relations.casts_to_new(write.node):
            doubt = doubt or "a type of it has other values only then"
        text = f"can every {shown(write.table)}.{', '.join(columns)} be computed?"
        yield Question(text, "would fail", sql, doubt, tries=True, implied=True, counted=counted)

    def _broken_by(self, write: Write) -> Iterator[Question]:
        """Whether the rows as they are then still keep the rules that stand."""
        if write.verb in ("delete", "truncate"):
            for table in self.standing.cascades_to(write.table):
                self.relations.distrust(table, f"rows of {shown(write.table)} take some of its own along")
        # A foreign key counts as proven once its rows are; one that is not valid holds new rows all the same.
        for rule in self.standing.touched(write):
            for question in self._questions(rule):
                yield replace(question, text=f"{question.text} after it", implied=True)

    def _questions(self, action: Action) -> Iterator[Question]:
        table = getattr(action, "table", None)
        relation = self.relations.tables.get(table) if table is not None else None
        if isinstance(action, Code):
            yield Question(f"{action.what}: what does it do to rows?", "writes", None, action.what)
        if relation is None:
            return
        match action:
            case AddColumn():
                yield from self._new_column(relation, action)
            case SetNotNull(column=column) if column in relation.columns:
                name = f"{shown(relation.table)}.{column}"
                condition = f"{relation.alias}.{quoted(column)} IS NULL"
                yield self._count(relation, f"rows whose {name} is null", condition)
            case AddConstraint(constraint=constraint) if constraint.validated and not constraint.using_index:
                yield from self._constraint(relation, constraint)
            case ValidateConstraint(name=name) if (relation.table, name) in self._unproven:
                yield from self._constraint(relation, self._unproven[relation.table, name])
            case CreateIndex(unique=True, keys=keys, where=where, nulls_distinct=distinct):
                yield self._duplicates(relation, keys, where, nulls_distinct=distinct)
            case ChangeType(column=column) if column in relation.columns:
                yield from self._type(relation, action)
            case DropColumn(column=column) if column in relation.columns:
                condition = f"{relation.alias}.{quoted(column)} IS NOT NULL"
                text = f"values of {shown(relation.table)}.{column} that go"
                yield self._count(relation, text, condition, "loses")
            case DropTable():
                yield self._count(relation, f"rows of {shown(relation.table)} that go", "true", "loses")
            case Write():
                yield from self._write(relation, action)

    def _count(
        self, relation: Relation, text: str, condition: str, verdict: Verdict = "would fail", alias: str = ""
    ) -> Question:
        alias = alias or relation.alias
        sql = f"SELECT count(*) FROM {relation.source} AS {alias} WHERE {condition}"
        counted = Counted(relation.source, alias, condition)
        return Question(text, verdict, self.relations.query(sql), self._doubt(relation), counted=counted)

    def _doubt(self, relation: Relation) -> str | None:
        return self.relations.doubt or relation.doubt

    def _new_column(self, relation: Relation, action: AddColumn) -> Iterator[Question]:
        column = action.column
        name = f"{shown(relation.table)}.{column.name}"
        if column.not_null and column.default is None and not column.fills and column.generated is None:
            yield self._count(relation, f"rows that would have no value for {name}", "true")
        unique = any(each.kind in ("unique", "primary key") for each in column.constraints)
        if unique and column.default is not None and not column.volatile:
            text = f"rows of {shown(relation.table)} beyond the first, all with the same {column.name}"
            sql = f"SELECT greatest(count(*) - 1, 0) FROM {relation.source} AS {relation.alias}"
            yield Question(text, "would fail", self.relations.query(sql), self._doubt(relation))

    def _constraint(self, relation: Relation, constraint: Constraint) -> Iterator[Question]:
        match constraint.kind:
            case "check":
                text = f"rows of {shown(relation.table)} that do not satisfy {constraint.expression}"
                yield self._count(
                    relation, text, f"NOT ({self.relations.readable(constraint.expression or '')})"
                )
            case "unique" | "primary key":
                yield self._duplicates(relation, tuple(map(quoted, constraint.columns)), None)
                if constraint.kind == "primary key":
                    nulls = " OR ".join(f"{quoted(column)} IS NULL" for column in constraint.columns)
                    text = f"rows of {shown(relation.table)} with a null in its primary key"
                    yield self._count(relation, text, nulls)
            case "foreign key":
                yield from self._orphans(relation, constraint)
            case "exclude":
                text = f"rows of {shown(relation.table)} that exclude each other"
                yield Question(text, "would fail", None, "an exclusion constraint is not tried beforehand")

    def _duplicates(
        self, relation: Relation, keys: tuple[str, ...], where: str | None, *, nulls_distinct: bool = True
    ) -> Question:
        conditions = [f"({self.relations.readable(where)})"] if where else []
        if nulls_distinct:
            conditions += [f"{key} IS NOT NULL" for key in keys]
        grouped = ", ".join(keys)

        def repeated(by: str) -> str:
            counted = (
                f"SELECT count(*) AS n FROM {relation.source} AS {relation.alias}"
                f" WHERE {' AND '.join(conditions) or 'true'} GROUP BY {by} HAVING count(*) > 1"
            )
            sql = f"SELECT COALESCE(sum(n - 1), 0)::bigint FROM ({counted}) AS duplicates"
            return self.relations.query(sql)

        names = ", ".join(key.strip('"()') for key in keys)
        text = f"rows of {shown(relation.table)} whose ({names}) another row has already"
        # Equal values have equal hashes, which are small and sorted without a collation.
        quick = repeated(f"hash_record_extended(ROW({grouped}), 0)")
        return Question(text, "would fail", repeated(grouped), self._doubt(relation), quick=quick)

    def _orphans(self, relation: Relation, constraint: Constraint) -> Iterator[Question]:
        assert constraint.references is not None
        parent = self.relations.tables.get(constraint.references)
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
        doubt = self._doubt(relation) or parent.doubt
        yield Question(text, "would fail", self.relations.query(sql), doubt)

    def _type(self, relation: Relation, action: ChangeType) -> Iterator[Question]:
        name = f"{shown(relation.table)}.{action.column}"
        old = relation.columns[action.column]
        column = f"{relation.alias}.{quoted(action.column)}"
        new, was = self.relations.castable(action.type), self.relations.castable(old)
        value = self.relations.readable(action.using) if action.using else column
        # USING may make other values of the same type.
        if action.using is None and widens(old, action.type):
            return
        labels = self._labels_of(action.type)
        if labels:
            among = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
            text = f"rows whose {name} is none of the values of {action.type}"
            yield self._count(relation, text, f"({value})::text NOT IN ({among})")
            if action.using:
                text = f"values of {name} that become others"
                yield self._count(relation, text, f"({value})::text IS DISTINCT FROM {column}::text", "loses")
            return
        if old in INTEGERS and action.type in INTEGERS and action.using is None:
            yield self._count(
                relation,
                f"rows whose {name} is too big for {action.type}",
                f"{column} NOT BETWEEN {BOUNDS[action.type]}",
            )
            return
        longest = LIMITED.fullmatch(action.type)
        if longest is not None and action.using is None:
            # Without USING nothing is cut off, save spaces at the end.
            text = f"rows whose {name} has more than {longest[1]} characters"
            yield self._count(relation, text, f"length(rtrim({column}::text)) > {longest[1]}")
        counted = Counted(relation.source, relation.alias, f"({value})::{new}", values=True)
        tried = f"SELECT count(({value})::{new}) FROM {relation.source} AS {relation.alias}"
        text = f"can every {name} become {action.type}?"
        doubt = self._doubt(relation)
        if self.relations.relabelled and (new, was) != (action.type, old):
            doubt = doubt or "an enum of it gets other values first"
        sql = self.relations.query(tried)
        yield Question(text, "would fail", sql, doubt, tries=True, counted=counted)
        back = cast(f"({value})::{new}", new, was)
        changed = f"({back})::text IS DISTINCT FROM {column}::text"
        lost = f"values of {name} that {action.type} does not hold as they are"
        yield self._count(relation, lost, changed, "loses")

    def _labels_of(self, type_name: str) -> tuple[str, ...]:
        plain = type_name.replace('"', "").split(".")
        name = (plain[0], plain[1]) if len(plain) > 1 else (self.relations.schema, plain[0])
        return self._labels.get(name, ())

    def _write(self, relation: Relation, action: Write) -> Iterator[Question]:
        table = shown(relation.table)
        if action.verb == "insert":
            return
        verdict: Verdict = "writes" if action.verb == "update" else "loses"
        text = f"rows of {table} that are {'written' if action.verb == 'update' else 'deleted'}"
        if action.everywhere or action.node is None:
            yield self._count(relation, text, "true", verdict)
        elif action.node.HasField("with_clause"):
            yield Question(text, verdict, None, "a query with parts that write")
        else:
            alias = alias_of(action.node, relation)
            yield self._count(relation, text, self.relations.condition(action.node), verdict, alias)
