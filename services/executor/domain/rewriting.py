"""Statements changed so that the database can read them now, before what they need has been made. Pure."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import postgast

from shared.sql.columns import Table
from shared.sql.tree import below, inner, kind, qualified, statement_sql, strings, table_of


@dataclass(frozen=True)
class Rewriting:
    """`sources`: what tables are read from instead. Of `made_types`, not there yet, values are text."""

    schema: str
    sources: Mapping[Table, str]
    made_types: AbstractSet[Table]

    def type(self, name: str) -> str:
        """A type that the database knows now."""
        plain = name.removesuffix("[]")
        names = tuple(plain.replace('"', "").split("."))
        if qualified(names, self.schema) not in self.made_types:
            return name
        return "text" + name.removeprefix(plain)

    def expression(self, sql: str) -> str:
        """An expression as SQL text."""
        if not self.made_types and not self.sources:
            return sql
        tree = postgast.parse(f"SELECT {sql}")
        return statement_sql(self.node(tree.stmts[0].stmt)).removeprefix("SELECT ")

    def node(self, node: Any) -> Any:
        """A copy of any part of a statement."""
        copy = type(node)()
        copy.CopyFrom(node)
        for each in (inner(copy), *below(copy)):
            if kind(each) == "RangeVar":
                self._read_elsewhere(each)
            elif kind(each) == "TypeName" and qualified(strings(each.names), self.schema) in self.made_types:
                del each.names[:]
                each.names.add().string.sval = "text"
        return copy

    def changes_types(self, node: Any) -> bool:
        """Whether `node` would be read with other types than are written there."""
        return any(
            qualified(strings(each.names), self.schema) in self.made_types
            for each in below(node)
            if kind(each) == "TypeName" and len(each.names)
        )

    def _read_elsewhere(self, relation: Any) -> None:
        source = self.sources.get(table_of(relation, self.schema))
        if source is None or relation.relname == source:
            return
        if not relation.HasField("alias"):
            relation.alias.aliasname = relation.relname
        relation.relname = source
        relation.schemaname = ""
