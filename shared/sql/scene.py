"""What is there when a statement of an upgrade runs, as far as it matters to those whom it meets."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from shared.sql.actions import Action, AddColumn, Create, CreateTable, RenameColumn, RenameTable
from shared.sql.columns import Table

Known = Mapping[Table, AbstractSet[str]]
"""The tables and columns that the old code knows."""


@dataclass
class Scene:
    """What is there when a statement runs, as far as its class depends on it; `classify` keeps it up to date.

    `known` is what the old code uses; none when nobody can say, and then it is taken to use everything.
    """

    known: Known | None = None
    made: set[Table] = field(default_factory=set)
    made_columns: set[tuple[Table, str]] = field(default_factory=set)
    sequences: set[str] = field(default_factory=set)
    """Those that are new, as people write them."""

    def is_new(self, table: Table, column: str | None = None) -> bool:
        """Made by this upgrade, so that neither rows nor code depend on it."""
        return table in self.made or (column is not None and (table, column) in self.made_columns)

    def uses(self, table: Table, column: str | None = None) -> bool:
        """Whether the old code uses it."""
        if self.is_new(table, column):
            return False
        if self.known is None:
            return True
        columns = self.known.get(table)
        return columns is not None and (column is None or column in columns)

    def keep_up(self, action: Action) -> None:
        """The scene after the action."""
        match action:
            case CreateTable(table=table):
                self.made.add(table)
            case Create(kind="view" | "materialized view", table=table) if table is not None:
                self.made.add(table)
            case Create(kind="sequence", name=name):
                self.sequences.add(name)
            case AddColumn(table=table, column=column):
                self.made_columns.add((table, column.name))
            case RenameTable(table=table, to=to) if table in self.made:
                self.made.add(to)
            case RenameColumn(table=table, column=name, to=to_name) if self.is_new(table, name):
                self.made_columns.add((table, to_name))
            case _:
                pass
