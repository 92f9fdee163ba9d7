"""One table's rows, as a query tells them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.sql.columns import Table
from shared.sql.names import quoted


@dataclass(frozen=True)
class Relation:
    """A table's rows after the statements so far: `source` goes behind FROM; `columns` are name to type."""

    table: Table
    source: str
    columns: Mapping[str, str]
    defaults: Mapping[str, str] = field(default_factory=dict)
    doubt: str | None = None
    """Why its rows are not known for certain."""

    @property
    def alias(self) -> str:
        """The name by which expressions know the table."""
        return quoted(self.table[1])


@dataclass(frozen=True)
class Step:
    """One query over the rows of `source`; with `keeps_rows`, each of them gives one row."""

    chosen: str
    source: str
    alias: str
    rest: str = ""
    keeps_rows: bool = True

    def sql(self, source: str = "", more: str = "") -> str:
        """The query; of another source, with `more` columns, where they are named."""
        return f"SELECT {self.chosen}{more} FROM {source or self.source} AS {self.alias} {self.rest}".strip()


def alias_of(node: Any, relation: Relation) -> str:
    """The name that an UPDATE or DELETE gives its table."""
    return quoted(node.relation.alias.aliasname) if node.relation.HasField("alias") else relation.alias
