"""What a statement of a migration does, as values: an action per thing that matters.

Names are unquoted; a table is (schema, name). Expressions and types are SQL text in PostgreSQL's print.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from shared.sql.columns import Column, Constraint, Table


@dataclass(frozen=True)
class CreateTable:
    table: Table
    columns: tuple[Column, ...]
    constraints: tuple[Constraint, ...] = ()
    filled: bool = False
    """CREATE TABLE … AS."""
    unless_there: bool = False
    part_of: Table | None = None
    """The table whose partition it is."""
    query: Any = field(default=None, compare=False, repr=False)
    """The parser's own node of what fills it; none when nothing does."""


@dataclass(frozen=True)
class DropTable:
    table: Table
    kind: Literal["table", "view", "materialized view", "foreign table"] = "table"


@dataclass(frozen=True)
class RenameTable:
    table: Table
    to: Table


@dataclass(frozen=True)
class AddColumn:
    table: Table
    column: Column
    unless_there: bool = False


@dataclass(frozen=True)
class DropColumn:
    table: Table
    column: str


@dataclass(frozen=True)
class RenameColumn:
    table: Table
    column: str
    to: str


@dataclass(frozen=True)
class SetNotNull:
    table: Table
    column: str


@dataclass(frozen=True)
class DropNotNull:
    table: Table
    column: str


@dataclass(frozen=True)
class SetDefault:
    """`default` is none for DROP DEFAULT."""

    table: Table
    column: str
    default: str | None


@dataclass(frozen=True)
class ChangeType:
    table: Table
    column: str
    type: str
    using: str | None


@dataclass(frozen=True)
class AddConstraint:
    table: Table
    constraint: Constraint


@dataclass(frozen=True)
class ValidateConstraint:
    table: Table
    name: str


@dataclass(frozen=True)
class DropConstraint:
    table: Table
    name: str
    cascades: bool = False


@dataclass(frozen=True)
class CreateIndex:
    """`columns` are the plain columns of the key; none of them when an expression is among its parts."""

    table: Table
    name: str | None
    unique: bool
    concurrently: bool
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    """Every part of the key as SQL text, whether column or expression."""
    where: str | None
    nulls_distinct: bool = True
    unless_there: bool = False
    method: str = "btree"


@dataclass(frozen=True)
class DropIndex:
    name: Table
    concurrently: bool
    cascades: bool = False


@dataclass(frozen=True)
class CreateType:
    """An enum's labels in their order; none for other types."""

    name: Table
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class RenameType:
    name: Table
    to: Table


@dataclass(frozen=True)
class RenameConstraint:
    table: Table
    name: str
    to: str


@dataclass(frozen=True)
class RenameIndex:
    """Also of a constraint, which is named by its index."""

    name: Table
    to: str


@dataclass(frozen=True)
class AddLabel:
    """A new value of an enum."""

    type: Table
    label: str


@dataclass(frozen=True)
class RenameLabel:
    type: Table
    label: str
    to: str


@dataclass(frozen=True)
class Write:
    """Rows are written by a query: `node` is the parser's own, for who must look inside."""

    verb: Literal["insert", "update", "delete", "truncate"]
    table: Table
    columns: tuple[str, ...] = ()
    everywhere: bool = False
    """No WHERE: every row."""
    node: Any = field(default=None, compare=False, repr=False)
    cascades: bool = False
    """TRUNCATE … CASCADE: whatever refers to it loses its rows too."""


@dataclass(frozen=True)
class Create:
    """Something without rows of its own: a function, a trigger, a view, a sequence…"""

    kind: str
    name: str
    table: Table | None = None
    replaces: bool = False
    query: Any = field(default=None, compare=False, repr=False)
    """The parser's own node of a view's query."""
    empty: bool = False
    """WITH NO DATA."""


@dataclass(frozen=True)
class Drop:
    kind: str
    name: str
    table: Table | None = None
    cascades: bool = False


@dataclass(frozen=True)
class Rewrite:
    """The table is written anew or locked whole by a command that says so: VACUUM FULL, LOCK TABLE…"""

    table: Table | None
    what: str
    other: Table | None = None
    """The table that becomes a partition."""


@dataclass(frozen=True)
class Read:
    """A query is computed and nothing is kept of it; `node` is the parser's own."""

    node: Any = field(compare=False, repr=False)


@dataclass(frozen=True)
class Setting:
    """Nothing that is stored changes: SET, COMMENT, GRANT…"""

    what: str


@dataclass(frozen=True)
class Rights:
    """Who may do what, or who owns something; `tables` are those that it is about, none when it is more."""

    what: str
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Renumber:
    """A sequence goes on at another number; `sequence` as people write it, `table` whose column it fills."""

    sequence: str
    table: Table | None = None


@dataclass(frozen=True)
class Outside:
    """Something beyond the database changes or hears of it: another server, a file, roles, a listener."""

    what: str


@dataclass(frozen=True)
class Code:
    """Code runs whose doings are decided only then: dynamic SQL in a DO block, a call of a function…"""

    what: str


Action: TypeAlias = (
    CreateTable
    | DropTable
    | RenameTable
    | AddColumn
    | DropColumn
    | RenameColumn
    | SetNotNull
    | DropNotNull
    | SetDefault
    | ChangeType
    | AddConstraint
    | ValidateConstraint
    | DropConstraint
    | CreateIndex
    | DropIndex
    | CreateType
    | RenameType
    | RenameConstraint
    | RenameIndex
    | AddLabel
    | RenameLabel
    | Write
    | Create
    | Drop
    | Rewrite
    | Read
    | Setting
    | Rights
    | Renumber
    | Outside
    | Code
)
