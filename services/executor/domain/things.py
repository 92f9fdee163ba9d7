"""A schema as things that can be made and dropped one by one. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

REMADE = "remade"
"""The kind of a thing, named as SQL names it, that goes and comes back as another one."""


class Thing(NamedTuple):
    """One thing of a schema; `table` is whose it is, `arguments` tell functions of one name apart."""

    kind: str
    schema: str
    table: str
    name: str
    arguments: str = ""


@dataclass(frozen=True)
class Definition:
    """How PostgreSQL prints the thing; a column's parts go by themselves.

    `labels` are an enum's, the statements for a table's row security, how a column is an identity, and of a
    sequence what `Numbers` reads. Of a table, `sql` is what follows its columns, and `type` and `default` say
    whose partition it is, within which bounds. What is `inherited` comes and goes with the parent's. `below`
    are the views, functions, tables and columns without which a view, a function or a partition cannot be;
    two definitions that differ in nothing else are the same.
    """

    sql: str
    type: str = ""
    not_null: bool = False
    default: str | None = None
    labels: tuple[str, ...] = ()
    inherited: bool = False
    below: frozenset[Thing] = field(default=frozenset(), compare=False)


Shape = Mapping[Thing, Definition]


class Numbers(NamedTuple):
    """A sequence's options, how the number furthest along is found, and the column that owns it."""

    options: str
    furthest: str
    at_least: str
    bound: str
    schema: str = ""
    table: str = ""
    column: str = ""

    @property
    def owner(self) -> Thing | None:
        return Thing("column", self.schema, self.table, self.column) if self.column else None
