"""The constraints that stand when a statement writes rows, and which of them it could break. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from services.executor.domain.given_names import columns_in, given_name
from shared.sql.actions import (
    Action,
    AddColumn,
    AddConstraint,
    CreateIndex,
    CreateTable,
    DropConstraint,
    DropIndex,
    DropNotNull,
    DropTable,
    RenameColumn,
    RenameConstraint,
    RenameIndex,
    RenameTable,
    SetNotNull,
    ValidateConstraint,
    Write,
)
from shared.sql.columns import Constraint, Table

Rule: TypeAlias = AddConstraint | CreateIndex | SetNotNull
_CASCADES = frozenset("cnd")


@dataclass
class Standing:
    """Every constraint, index and NOT NULL, as the statement that would make it."""

    rules: list[Rule] = field(default_factory=list)

    def touched(self, write: Write) -> Iterator[Rule]:
        """What the write could break: rules of its own columns, and references to rows that it deletes."""
        for rule in self.rules:
            if rule.table == write.table and write.verb in ("insert", "update"):
                columns = set(columns_of(rule))
                if write.verb == "insert" or not columns or columns & set(write.columns):
                    yield rule
            elif write.verb in ("delete", "truncate", "update") and self._refers(rule, write.table):
                assert isinstance(rule, AddConstraint)
                if write.verb != "update" or set(rule.constraint.referenced_columns) & set(write.columns):
                    yield rule

    def cascades_to(self, table: Table) -> tuple[Table, ...]:
        """The tables whose rows change by themselves when rows of `table` are deleted."""
        return tuple(
            rule.table
            for rule in self.rules
            if isinstance(rule, AddConstraint)
            and self._refers(rule, table)
            and rule.constraint.on_delete in _CASCADES
        )

    def is_referred_to(self, table: Table) -> bool:
        """Whether a foreign key leads there."""
        return any(self._refers(rule, table) for rule in self.rules)

    def constraint(self, table: Table, name: str) -> Constraint | None:
        """The table's constraint of that name."""
        return next(
            (
                rule.constraint
                for rule in self.rules
                if isinstance(rule, AddConstraint) and rule.table == table and _name(rule) == name
            ),
            None,
        )

    def has_index(self, name: str) -> bool:
        """Whether an index has that name, be it a constraint's."""
        return any(_name(rule) == name for rule in self.rules)

    def columns_of_index(self, name: str) -> tuple[str, ...]:
        """The columns of the index of that name; none when it is not known."""
        found = (rule for rule in self.rules if isinstance(rule, CreateIndex) and rule.name == name)
        return next((rule.columns for rule in found), ())

    def _add(self, rule: Rule) -> None:
        """One more; without a name it gets the one that PostgreSQL gives it."""
        taken = {_name(each) for each in self.rules}
        match rule:
            case AddConstraint(table=table, constraint=Constraint(name=None) as each):
                columns = each.columns if each.expression is None else columns_in(each.expression)
                rule = _named(rule, each.using_index or given_name(table, each.kind, columns, taken))
            case CreateIndex(table=table, name=None, columns=columns) if columns:
                rule = _named(rule, given_name(table, "index", columns, taken))
            case _:
                pass
        self.rules.append(rule)

    def _refers(self, rule: Rule, table: Table) -> bool:
        return isinstance(rule, AddConstraint) and rule.constraint.references == table

    def keep_up(self, action: Action) -> None:
        """The rules after the action; those of a column or table that is renamed or dropped are let go."""
        match action:
            case AddConstraint() | CreateIndex() | SetNotNull():
                self._add(action)
            case ValidateConstraint(table=table, name=name):
                self.rules = [
                    _validated(rule) if rule.table == table and _name(rule) == name else rule
                    for rule in self.rules
                ]
            case CreateTable(table=table, columns=columns, constraints=constraints):
                self.rules += [SetNotNull(table, each.name) for each in columns if each.not_null]
                for one in (*(one for each in columns for one in each.constraints), *constraints):
                    self._add(AddConstraint(table, one))
            case AddColumn(table=table, column=column):
                for each in column.constraints:
                    self._add(AddConstraint(table, each))
                self.rules += [SetNotNull(table, column.name)] if column.not_null else []
            case DropNotNull(table=table, column=column_name):
                self.rules = [rule for rule in self.rules if rule != SetNotNull(table, column_name)]
            case DropConstraint(table=table, name=name):
                self.rules = [
                    rule for rule in self.rules if rule.table != table or not _is_called(rule, name)
                ]
            case RenameConstraint(table=table, name=name, to=to):
                self.rules = [
                    _named(rule, to) if rule.table == table and _name(rule) == name else rule
                    for rule in self.rules
                ]
            case RenameIndex(name=(_, name), to=to):
                self.rules = [_named(rule, to) if _name(rule) == name else rule for rule in self.rules]
            case DropIndex(name=(_, name)):
                self.rules = [rule for rule in self.rules if _name(rule) != name]
            case RenameColumn(table=table, column=column_name):
                self.rules = [
                    rule for rule in self.rules if rule.table != table or column_name not in columns_of(rule)
                ]
            case RenameTable(table=table, to=to):
                self.rules = [replace(rule, table=to) if rule.table == table else rule for rule in self.rules]
            case DropTable(table=table):
                self.rules = [rule for rule in self.rules if rule.table != table]
            case _:
                pass


def columns_of(rule: Rule) -> tuple[str, ...]:
    """The columns that the rule is about; none when it has expressions, which may be about any."""
    match rule:
        case SetNotNull(column=column):
            return (column,)
        case AddConstraint(constraint=constraint):
            return constraint.columns
        case CreateIndex(columns=columns):
            return columns


def _validated(rule: Rule) -> Rule:
    if not isinstance(rule, AddConstraint):
        return rule
    return replace(rule, constraint=replace(rule.constraint, validated=True))


def _named(rule: Rule, name: str) -> Rule:
    match rule:
        case AddConstraint(constraint=constraint):
            return replace(rule, constraint=replace(constraint, name=name))
        case CreateIndex():
            return replace(rule, name=name)
        case SetNotNull():
            return rule


def _is_called(rule: Rule, name: str) -> bool:
    if isinstance(rule, SetNotNull):
        # From PostgreSQL 18 on it has a name, too.
        return name == given_name(rule.table, "not null", (rule.column,))
    return _name(rule) == name


def _name(rule: Rule) -> str | None:
    match rule:
        case AddConstraint(constraint=constraint):
            return constraint.name
        case CreateIndex(name=name):
            return name
        case SetNotNull():
            return None
