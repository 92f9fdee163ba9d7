"""The constraints that stand when a statement writes rows, and which of them it could break. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from services.executor.domain.given_names import columns_in, given_name
from services.executor.domain.standing_changes import (
    Rule,
    columns_of,
    goes_with,
    refers_to,
    rests_on,
    with_column,
    with_table,
)
from shared.sql.actions import (
    Action,
    AddColumn,
    AddConstraint,
    CreateIndex,
    CreateTable,
    DropColumn,
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

__all__ = ["Rule", "Standing"]
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
            elif write.verb in ("delete", "truncate", "update") and refers_to(rule, write.table):
                assert isinstance(rule, AddConstraint)
                if write.verb != "update" or self._moves(rule.constraint, write):
                    yield rule

    def cascades_to(self, write: Write) -> tuple[Table, ...]:
        """The tables whose rows change by themselves with the rows that are written, over however many."""
        found = [each.table for each in self.rules if self._takes_along(each, write)]
        for table in found:
            found += [
                rule.table
                for rule in self.rules
                if rule.table not in found
                and isinstance(rule, AddConstraint)
                and refers_to(rule, table)
                and (write.cascades or {rule.constraint.on_delete, rule.constraint.on_update} & _CASCADES)
            ]
        return tuple(dict.fromkeys(found))

    def _takes_along(self, rule: Rule, write: Write) -> bool:
        if not isinstance(rule, AddConstraint) or not refers_to(rule, write.table):
            return False
        if write.verb == "update":
            return rule.constraint.on_update in _CASCADES and self._moves(rule.constraint, write)
        return write.cascades or (write.verb == "delete" and rule.constraint.on_delete in _CASCADES)

    def _moves(self, constraint: Constraint, write: Write) -> bool:
        """Whether an update writes what the foreign key refers to."""
        referenced = constraint.referenced_columns or self._primary_key(write.table)
        return bool({*referenced} & {*write.columns})

    def is_referred_to(self, table: Table) -> bool:
        """Whether a foreign key leads there."""
        return any(refers_to(rule, table) for rule in self.rules)

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
            case AddConstraint(constraint=Constraint(using_index=str(index)) as each):
                rule = self._made_of(rule, each, index)
            case AddConstraint(table=table, constraint=Constraint(name=None) as each):
                columns = each.columns if each.expression is None else columns_in(each.expression)
                rule = _named(rule, given_name(table, each.kind, columns, taken))
            case CreateIndex(table=table, name=None, columns=columns) if columns:
                rule = _named(rule, given_name(table, "index", columns, taken))
            case _:
                pass
        self.rules.append(rule)

    def _made_of(self, rule: AddConstraint, constraint: Constraint, index: str) -> AddConstraint:
        """A constraint takes over an index: its columns, and the index its name."""
        name, columns = constraint.name or index, self.columns_of_index(index)
        self.rules = [
            replace(each, name=name) if isinstance(each, CreateIndex) and each.name == index else each
            for each in self.rules
            if not (isinstance(each, CreateIndex) and each.name == index and each.nulls_distinct and columns)
        ]
        return replace(rule, constraint=replace(constraint, name=name, columns=columns))

    def _primary_key(self, table: Table) -> tuple[str, ...]:
        keys = (
            each.constraint for each in self.rules if isinstance(each, AddConstraint) and each.table == table
        )
        return next((each.columns for each in keys if each.kind == "primary key"), ())

    def _drop(self, gone: list[Rule], *, cascades: bool) -> None:
        """Without these rules; CASCADE takes along the foreign keys that rest on them."""
        self.rules = [rule for rule in self.rules if not any(rule is each for each in gone)]
        for each in gone if cascades else ():
            columns = columns_of(each)
            primary = isinstance(each, AddConstraint) and each.constraint.kind == "primary key"
            # On which of two keys a foreign key rests, only the server knows.
            other = any(_is_key(rule) and {*columns_of(rule)} == {*columns} for rule in self._of(each.table))
            self.rules = [
                _in_doubt(rule) if other else rule
                for rule in self.rules
                if other or not rests_on(rule, each.table, columns, primary=primary)
            ]

    def _of(self, table: Table) -> list[Rule]:
        return [rule for rule in self.rules if rule.table == table]

    def keep_up(self, action: Action) -> None:
        """The rules after the action; those of a column or table that is dropped are let go."""
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
            case DropConstraint(table=table, name=name, cascades=cascades):
                self._drop([each for each in self._of(table) if _is_called(each, name)], cascades=cascades)
            case RenameConstraint(table=table, name=name, to=to):
                self.rules = [
                    _named(rule, to) if rule.table == table and _name(rule) == name else rule
                    for rule in self.rules
                ]
            case RenameIndex(name=(_, name), to=to):
                self.rules = [_named(rule, to) if _name(rule) == name else rule for rule in self.rules]
            case DropIndex(name=(_, name), cascades=cascades):
                self._drop([each for each in self.rules if _name(each) == name], cascades=cascades)
            case DropColumn(table=table, column=column_name):
                key = self._primary_key(table)
                self.rules = [each for each in self.rules if not goes_with(each, table, column_name, key)]
            case RenameColumn(table=table, column=column_name, to=to):
                self.rules = [with_column(rule, table, column_name, to) for rule in self.rules]
            case RenameTable(table=table, to=to_table):
                self.rules = [with_table(rule, table, to_table) for rule in self.rules]
            case DropTable(table=table):
                # It goes only with CASCADE, or where nothing refers to it any more.
                self.rules = [
                    rule for rule in self.rules if rule.table != table and not refers_to(rule, table)
                ]
            case _:
                pass


def _is_key(rule: Rule) -> bool:
    if isinstance(rule, CreateIndex):
        return rule.unique
    return isinstance(rule, AddConstraint) and rule.constraint.kind in ("primary key", "unique")


def _in_doubt(rule: Rule) -> Rule:
    """It may stand: what breaks it then is not known."""
    if not isinstance(rule, AddConstraint) or rule.constraint.references is None:
        return rule
    return replace(rule, constraint=replace(rule.constraint, deferrable=True))


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
