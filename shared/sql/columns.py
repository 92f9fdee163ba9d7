"""What tables are made of, as values: columns and constraints, as they are written.

Names are unquoted; a table is (schema, name). Expressions and types are SQL text in PostgreSQL's print.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Table: TypeAlias = tuple[str, str]

ConstraintKind = Literal["check", "unique", "primary key", "foreign key", "exclude"]


@dataclass(frozen=True)
class Constraint:
    """`expression` is a check's; `references` and its columns a foreign key's (none: its primary key)."""

    kind: ConstraintKind
    name: str | None
    columns: tuple[str, ...] = ()
    expression: str | None = None
    references: Table | None = None
    referenced_columns: tuple[str, ...] = ()
    validated: bool = True
    using_index: str | None = None
    on_delete: str = "a"
    """Of a foreign key, as PostgreSQL has it: no action, restrict, cascade, set null, set default."""
    on_update: str = "a"
    deferrable: bool = False
    """It may be looked at when the transaction ends, and hold then."""
    nulls_distinct: bool = True


@dataclass(frozen=True)
class Column:
    """One column as it is written. `fills` says that every row gets a value of its own (serial, identity)."""

    name: str
    type: str
    not_null: bool = False
    default: str | None = None
    volatile: bool = False
    fills: bool = False
    generated: str | None = None
    stored: bool = True
    """Of a generated column: its values are computed when it is made."""
    constraints: tuple[Constraint, ...] = ()


def shown(table: Table) -> str:
    """The table's name as people write it."""
    schema, name = table
    return name if schema == "public" else f"{schema}.{name}"
