"""What a rule is about, and what becomes of it where tables and columns are renamed. Pure."""

from dataclasses import replace
from typing import TypeAlias

import postgast

from services.executor.domain.given_names import columns_in
from shared.sql.actions import AddConstraint, CreateIndex, SetNotNull
from shared.sql.columns import Constraint, Table
from shared.sql.names import quoted
from shared.sql.tree import below, kind, statement_sql

Rule: TypeAlias = AddConstraint | CreateIndex | SetNotNull


def columns_of(rule: Rule) -> tuple[str, ...]:
    """The columns that the rule is about; none when it has expressions, which may be about any."""
    match rule:
        case SetNotNull(column=column):
            return (column,)
        case AddConstraint(constraint=constraint):
            return constraint.columns
        case CreateIndex(columns=columns):
            return columns


def goes_with(rule: Rule, table: Table, column: str, key: tuple[str, ...]) -> bool:
    """Whether dropping the column takes the rule along. `key` is the table's primary key."""
    if rule.table == table and column in _named_by(rule):
        return True
    return refers_to(rule, table) and column in (_referenced(rule) or key)


def refers_to(rule: Rule, table: Table) -> bool:
    """Whether it is a foreign key to that table."""
    return isinstance(rule, AddConstraint) and rule.constraint.references == table


def rests_on(rule: Rule, table: Table, columns: tuple[str, ...], *, primary: bool) -> bool:
    """Whether it is a foreign key to these columns of the table: `primary` ones need not be named."""
    if not refers_to(rule, table):
        return False
    named = _referenced(rule)
    return {*named} == {*columns} or (primary and not named)


def with_column(rule: Rule, table: Table, column: str, to: str) -> Rule:
    """The rule after a column was renamed."""
    if refers_to(rule, table):
        assert isinstance(rule, AddConstraint)
        named = _renamed(rule.constraint.referenced_columns, column, to)
        rule = replace(rule, constraint=replace(rule.constraint, referenced_columns=named))
    if rule.table != table:
        return rule
    match rule:
        case SetNotNull(column=its):
            return replace(rule, column=to if its == column else its)
        case AddConstraint(constraint=constraint):
            expression = constraint.expression
            return replace(
                rule,
                constraint=replace(
                    constraint,
                    columns=_renamed(constraint.columns, column, to),
                    expression=None if expression is None else _reread(expression, column, to),
                ),
            )
        case CreateIndex(keys=keys, where=where):
            return replace(
                rule,
                columns=_renamed(rule.columns, column, to),
                keys=tuple(_key(each, column, to) for each in keys),
                where=None if where is None else _reread(where, column, to),
            )


def with_table(rule: Rule, table: Table, to: Table) -> Rule:
    """The rule after a table was renamed."""
    if refers_to(rule, table):
        assert isinstance(rule, AddConstraint)
        rule = replace(rule, constraint=replace(rule.constraint, references=to))
    return replace(rule, table=to) if rule.table == table else rule


def _referenced(rule: Rule) -> tuple[str, ...]:
    return rule.constraint.referenced_columns if isinstance(rule, AddConstraint) else ()


def _named_by(rule: Rule) -> set[str]:
    """Every column that it names, be it in an expression."""
    named = {*columns_of(rule)}
    match rule:
        case AddConstraint(constraint=Constraint(expression=str(expression))):
            named |= {*columns_in(expression)}
        case CreateIndex(keys=keys, where=where):
            named |= {name for each in (*keys, where) if each for name in columns_in(each)}
        case _:
            pass
    return named


def _renamed(columns: tuple[str, ...], column: str, to: str) -> tuple[str, ...]:
    return tuple(to if each == column else each for each in columns)


def _key(key: str, column: str, to: str) -> str:
    """A part of an index's key: a plain column stays one, and an expression keeps its brackets."""
    if key == quoted(column):
        return quoted(to)
    return f"({_reread(key, column, to)})" if key.startswith("(") else key


def _reread(expression: str, column: str, to: str) -> str:
    """The expression with a column under its new name."""
    if column not in columns_in(expression):
        return expression
    (statement,) = postgast.parse(f"SELECT {expression}").stmts
    for each in below(statement.stmt):
        if kind(each) == "ColumnRef" and each.fields[-1].string.sval == column:
            each.fields[-1].string.sval = to
    return statement_sql(statement.stmt).removeprefix("SELECT ")
