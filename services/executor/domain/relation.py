"""One table's rows, as a query tells them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.sql.actions import Table
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


def alias_of(node: Any, relation: Relation) -> str:
    """The name that an UPDATE or DELETE gives its table."""
    return quoted(node.relation.alias.aliasname) if node.relation.HasField("alias") else relation.alias
