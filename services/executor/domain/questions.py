"""What rows must be like for a statement to succeed, as queries that count those that are not. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from services.executor.domain.new_column import new_column
from services.executor.domain.one_pass import Counted
from services.executor.domain.partitions import Partitions
from services.executor.domain.queries import evaluated, is_worth_asking
from services.executor.domain.question import Question, counting
from services.executor.domain.relation import Relation, alias_of
from services.executor.domain.relations import Relations
from services.executor.domain.row_rules import RowRules, softened
from services.executor.domain.standing import Rule, Standing
from services.executor.domain.type_change import keeps_values, type_change
from services.executor.domain.unsettled import Unsettled
from shared.contracts.impact import Verdict
from shared.sql.actions import (
    Action,
    AddColumn,
    AddConstraint,
    ChangeType,
    Code,
    Create,
    CreateIndex,
    CreateTable,
    CreateType,
    DropColumn,
    DropTable,
    Read,
    RenameColumn,
    RenameTable,
    RenameType,
    Rewrite,
    SetNotNull,
    ValidateConstraint,
    Write,
)
from shared.sql.block_flow import STRAIGHT, Flow, flow_of
from shared.sql.columns import Constraint, Table, shown
from shared.sql.names import quoted
from shared.sql.raising import may_raise
from shared.sql.script import Statement

STEPS_MAX = 500
"""Changes of rows that are followed: each later question has all of them in its SQL."""


@dataclass
class Asker:
    """Asks of each action, in their order, what depends on rows; keeps the relations up to date."""

    relations: Relations
    keys: dict[Table, tuple[str, ...]] = field(default_factory=dict)
    """Each table's primary key."""
    standing: Standing = field(default_factory=Standing)
    triggered: set[Table] = field(default_factory=set)
    """Tables with triggers or rules of the user's, which may write what no statement says."""
    partitions: Partitions = field(default_factory=Partitions)
    filled: dict[Table, Any] = field(default_factory=dict)
    """Each materialized view's query, as the parser's node."""
    unsettled: Unsettled = field(default_factory=Unsettled)
    _labels: dict[Table, tuple[str, ...]] = field(default_factory=dict)
    _flow: Flow = STRAIGHT

    def of(self, statement: Statement) -> tuple[Question, ...]:
        """The questions of a statement; the relations are those after it then."""
        if len(self.relations.steps) > STEPS_MAX:
            why = f"it comes behind more than {STEPS_MAX} others that change rows"
            return (Question("does it go through?", "would fail", None, why),)
        self._flow = flow_of(statement.node)
        self.unsettled.keep_up(statement.node, statement.schema)
        found = [question for action in statement.actions for question in self.ask(action)]
        found = [self.unsettled.settled(question) for question in found]
        if self._flow.decides is not None:
            found = [replace(each, doubt=each.doubt or self._flow.decides) for each in found]
            for action in statement.actions:
                self.relations.distrust(getattr(action, "table", None), self._flow.decides)
        makes = any(isinstance(action, Code) for action in statement.actions)
        if self._flow.raises is not None and not makes:
            text = "does the DO block go through?"
            found.append(Question(text, "would fail", None, f"it {self._flow.raises}"))
        return tuple(found)

    def ask(self, action: Action) -> tuple[Question, ...]:
        """The questions of one action; the relations are those after it then."""
        if self._is_there(action):
            return ()
        questions = list(self._questions(action))
        before = self.relations.tables.get(getattr(action, "table", None) or ("", ""))
        self._learn(action)
        self.relations.advance(action)
        questions += self._afterwards(action, before)
        self.standing.keep_up(action)
        return tuple(questions)

    def _afterwards(self, action: Action, before: Relation | None) -> Iterator[Question]:
        """What is asked of the rows as the action leaves them; `before` is its table as it was."""
        match action:
            case Write(table=table):
                if table in self.triggered:
                    self.relations.distrust(table, "a trigger or rule runs when its rows are written")
                yield from self._computed(action)
                yield from self._broken_by(action)
            case ChangeType(table=table, column=column) if before and not keeps_values(before, action):
                # Every rule of the column is proven anew with its new values.
                yield from self._broken_by(Write("update", table, (column,)))
            case AddColumn(table=table, column=column) if before and (column.default or column.generated):
                for constraint in column.constraints:
                    if constraint.kind in ("check", "foreign key"):
                        yield from self._rules.constraint(self.relations.tables[table], constraint)
            case Rewrite(table=table, what="REFRESH MAT VIEW") if before is not None:
                assert table is not None
                for rule in self.standing.touched(Write("insert", table)):
                    if isinstance(rule, CreateIndex):
                        yield from self._rules.index(self.relations.tables[table], rule)
            case _:
                pass

    def _is_there(self, action: Action) -> bool:
        """Whether the statement passes over it, since a thing of its name is there already."""
        skips = self._flow.skips
        match action:
            case CreateTable(table=table, unless_there=unless):
                return (unless or skips) and table in self.relations.tables
            case AddColumn(table=table, column=column, unless_there=unless):
                relation = self.relations.tables.get(table)
                return (unless or skips) and relation is not None and column.name in relation.columns
            case CreateIndex(name=str(name), unless_there=unless):
                return (unless or skips) and self.standing.has_index(name)
            case AddConstraint(table=table, constraint=Constraint(name=str(name))):
                return skips and self.standing.constraint(table, name) is not None
            case _:
                return False

    def _learn(self, action: Action) -> None:
        match action:
            case CreateType(name=name, labels=labels):
                self._labels[name] = labels
            case RenameType(name=name, to=to) if name in self._labels:
                self._labels[to] = self._labels.pop(name)
            case Create(kind="trigger" | "rule", table=(schema, name)):
                self.triggered.add((schema, name))
            case Create(kind="materialized view", table=(schema, name), query=query):
                self.filled[schema, name] = query
            case CreateTable(table=table, columns=columns, constraints=constraints, part_of=part_of):
                self.partitions.attach(part_of, table)
                held = [*constraints, *(each for column in columns for each in column.constraints)]
                for each in held:
                    if each.kind == "primary key":
                        self.keys[table] = each.columns
            case AddConstraint(table=table, constraint=Constraint(kind="primary key") as made):
                index = made.using_index
                self.keys[table] = self.standing.columns_of_index(index) if index else made.columns
            case RenameColumn(table=table, column=column_name, to=name_then) if table in self.keys:
                self.keys[table] = tuple(
                    name_then if each == column_name else each for each in self.keys[table]
                )
            case RenameTable(table=table, to=to_table):
                for known in (self.keys, self.filled):
                    if table in known:
                        known[to_table] = known.pop(table)
                if table in self.triggered:
                    self.triggered.add(to_table)
            case Rewrite(table=table, what="REFRESH MAT VIEW") if table in self.filled:
                assert table is not None
                self.relations.made_by(table, self.filled[table])

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
        doubt = self.relations.doubt or relation.doubt_of(values)
        if self.relations.casts_to_new(write.node):
            doubt = doubt or "a type of it has other values only then"
        text = f"can every {shown(write.table)}.{', '.join(columns)} be computed?"
        yield Question(text, "would fail", sql, doubt, tries=True, implied=True, counted=counted)

    def _broken_by(self, write: Write) -> Iterator[Question]:
        """Whether the rows as they are then still keep the rules that stand."""
        for table in self.standing.cascades_to(write):
            self.relations.distrust(table, f"rows of {shown(write.table)} take some of its own along")
        for rule in self.standing.touched(write):
            constraint = rule.constraint if isinstance(rule, AddConstraint) else None
            for question in self._of_rule(rule):
                yield replace(softened(question, constraint), text=f"{question.text} after it", implied=True)
        # Moving a row to another partition is an insert there.
        if write.verb in ("insert", "update"):
            yield from self.partitions.written(write)
        returned = getattr(write.node, "returning_clause", None)
        if returned is not None and may_raise(returned):
            text = f"can what is returned of {shown(write.table)} be computed?"
            yield Question(text, "would fail", None, "it computes values of its own")

    @property
    def _rules(self) -> RowRules:
        return RowRules(self.relations, self.keys)

    def _of_rule(self, rule: Rule) -> Iterator[Question]:
        """All that a rule wants of rows, proven already or not."""
        relation = self.relations.tables.get(rule.table)
        if relation is None:
            return
        match rule:
            case AddConstraint(constraint=constraint):
                if not relation.is_own_key(constraint.kind, constraint.columns):
                    yield from self._rules.constraint(relation, constraint)
            case CreateIndex():
                yield from self._rules.index(relation, rule)
            case SetNotNull(column=column) if not relation.never_null(column):
                yield from self._not_null(relation, column)

    def _not_null(self, relation: Relation, column: str) -> Iterator[Question]:
        if relation.has(column):
            text = f"rows whose {shown(relation.table)}.{column} is null"
            yield counting(self.relations, relation, text, f"{relation.alias}.{quoted(column)} IS NULL")

    def _questions(self, action: Action) -> Iterator[Question]:
        table = getattr(action, "table", None)
        relation = self.relations.tables.get(table) if table is not None else None
        if isinstance(action, Code):
            yield Question(f"{action.what}: what does it do to rows?", "writes", None, action.what)
        yield from self._of_query(action)
        yield from self.partitions.changed(action, self.relations, self.standing)
        if relation is None:
            return
        match action:
            case AddColumn():
                yield from new_column(self.relations, relation, action, self._labels)
            case SetNotNull(column=column):
                yield from self._not_null(relation, column)
            case AddConstraint(constraint=constraint) if constraint.using_index:
                if constraint.kind == "primary key":
                    columns = self.standing.columns_of_index(constraint.using_index)
                    yield from self._rules.nulls(relation, columns)
            case AddConstraint(constraint=constraint) if constraint.validated:
                yield from self._rules.constraint(relation, constraint)
            case ValidateConstraint(name=name):
                found = self.standing.constraint(relation.table, name)
                if found is not None and not found.validated:
                    yield from self._rules.constraint(relation, found)
            case CreateIndex():
                yield from self._rules.index(relation, action)
            case ChangeType(column=column) if column in relation.columns:
                yield from type_change(self.relations, relation, action, self._labels)
            case DropColumn(column=column) if relation.has(column):
                condition = f"{relation.alias}.{quoted(column)} IS NOT NULL"
                text = f"values of {shown(relation.table)}.{column} that go"
                yield counting(self.relations, relation, text, condition, "loses")
            case DropTable():
                text = f"rows of {shown(relation.table)} that go"
                yield counting(self.relations, relation, text, "true", "loses")
            case Rewrite(what="SET EXPRESSION" | "ENFORCED" as what):
                text = f"rows of {shown(relation.table)} that it is computed of or proven for"
                why = f"{what} is not tried beforehand"
                yield counting(self.relations, relation, text, "true", "unknown", why=why)
            case Write():
                yield from self._write(relation, action)

    def _of_query(self, action: Action) -> Iterator[Question]:
        match action:
            case Read(node=node) if is_worth_asking(node):
                yield evaluated(self.relations, node, "can the query be computed?")
            case CreateTable(table=table, query=query) if query is not None:
                yield evaluated(self.relations, query, f"can every row of {shown(table)} be computed?")
            case Create(kind="materialized view", name=name, query=query, empty=False) if query is not None:
                yield evaluated(self.relations, query, f"can every row of {name} be computed?")
            case Rewrite(table=table, what="REFRESH MAT VIEW") if table is not None:
                text = f"can every row of {shown(table)} be computed?"
                query = self.filled.get(table)
                unknown = Question(text, "would fail", None, "its query is not known")
                yield unknown if query is None else evaluated(self.relations, query, text)

    def _write(self, relation: Relation, action: Write) -> Iterator[Question]:
        table = shown(relation.table)
        if action.verb == "insert":
            return
        verdict: Verdict = "writes" if action.verb == "update" else "loses"
        text = f"rows of {table} that are {'written' if action.verb == 'update' else 'deleted'}"
        if action.everywhere or action.node is None:
            yield counting(self.relations, relation, text, "true", verdict)
        elif action.node.HasField("with_clause"):
            yield Question(text, verdict, None, "a query with parts that write")
        else:
            alias = alias_of(action.node, relation)
            yield counting(
                self.relations, relation, text, self.relations.condition(action.node), verdict, alias=alias
            )
