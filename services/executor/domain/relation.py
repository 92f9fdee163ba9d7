"""One table's rows, as a query tells them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.sql.columns import Table, shown
from shared.sql.names import quoted

_RANDOM = re.compile(r"(public\.)?(gen_random_uuid|uuid_generate_v\d\w*|uuidv\d)\(")
_OWN_VALUE = re.compile(rf"\Z|(now|nextval|clock_timestamp|statement_timestamp)\(|{_RANDOM.pattern}")
"""An identity, or what never gives null."""


@dataclass(frozen=True)
class Relation:
    """A table's rows after the statements so far: `source` goes behind FROM; `columns` are name to type."""

    table: Table
    source: str
    columns: Mapping[str, str]
    defaults: Mapping[str, str] = field(default_factory=dict)
    doubt: str | None = None
    """Why its rows are not known for certain."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Columns that get a value of their own where an INSERT gives none: by name, what makes it."""
    unsure: frozenset[str] = frozenset()
    """Columns whose values are not known in every row."""
    open: bool = False
    """A query made it: its columns are known only to the server."""

    @property
    def alias(self) -> str:
        """The name by which expressions know the table."""
        return quoted(self.table[1])

    def has(self, column: str) -> bool:
        """Whether it may have the column."""
        return self.open or column in self.columns

    def never_null(self, column: str) -> bool:
        """Whether the values of its own that the column gets are none that is null."""
        return column in self.unsure and _OWN_VALUE.match(self.own.get(column, "null")) is not None

    def is_own_key(self, kind: str, columns: tuple[str, ...]) -> bool:
        """Whether a key has a part that is random in every row whose value is not known."""
        random = (each for each in columns if each in self.unsure and _RANDOM.match(self.own.get(each, "-")))
        return kind in ("unique", "primary key") and any(random)

    def doubt_of(self, text: str) -> str | None:
        """Why it is not known for certain what an expression over its rows gives."""
        unsure = ", ".join(sorted(each for each in self.unsure if mentions(text, each)))
        said = f"{shown(self.table)}: inserted rows get their own {unsure}"
        return self.doubt or (said if unsure else None)


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


def mentions(text: str, column: str) -> bool:
    """Whether an expression names the column, or all columns."""
    return re.search(rf"(?<!\w){re.escape(column)}(?!\w)|\*", text) is not None


def alias_of(node: Any, relation: Relation) -> str:
    """The name that an UPDATE or DELETE gives its table."""
    return quoted(node.relation.alias.aliasname) if node.relation.HasField("alias") else relation.alias
