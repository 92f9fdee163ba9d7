"""How statements and expressions are read over the rows as they would be by then. Pure."""

from dataclasses import dataclass, field
from typing import Any

from services.executor.domain.relation import Relation, Step
from services.executor.domain.rewriting import Rewriting
from shared.sql.columns import Table, shown
from shared.sql.names import quoted
from shared.sql.raising import tables_read
from shared.sql.tree import qualified, statement_sql, table_of


@dataclass
class Reading:
    """Tables as they would be. `doubt` says why nothing is certain any more."""

    tables: dict[Table, Relation]
    schema: str = "public"
    doubt: str | None = None
    relabelled: bool = False
    """An enum has values that the database does not know yet."""
    views: frozenset[Table] = frozenset()
    """They read tables as these are now."""
    made_views: dict[Table, Any] = field(default_factory=dict)
    """The query of each view that the upgrade makes; none where it cannot be followed any more."""
    steps: dict[str, Step | str] = field(default_factory=dict)
    """What each source is that is no table: by its name, the last one last."""
    _made_types: set[Table] = field(default_factory=set)
    _read_as: dict[Table, str] = field(default_factory=dict)
    """The step that a made view was last read as; an empty one while it is being read."""

    def query(self, sql: str) -> str:
        """`sql`, in which the sources of relations stand, as a query that can be run."""
        needed: list[str] = []
        wanted = sql
        for name, step in reversed(self.steps.items()):
            if name in wanted:
                body = step if isinstance(step, str) else step.sql()
                needed.append(f"{name} AS NOT MATERIALIZED ({body})")
                wanted += body
        return f"WITH {', '.join(reversed(needed))} {sql}" if needed else sql

    def doubt_of(self, node: Any) -> str | None:
        """Why it is not known what a query would give then; none when it is."""
        return self.unread_in(node) or self.doubt

    def unread_in(self, node: Any, but: Table | None = None) -> str | None:
        """Why a table that the statement reads is not known; of `but` single columns may not be."""
        for table in sorted({table_of(each, self.schema) for each in tables_read(node)}):
            relation = self.tables.get(table)
            if table in self.made_views:
                doubt = self._as_a_step(table)
                if doubt is not None:
                    return doubt
                continue
            if relation is None:
                if table not in self.views or self.steps:
                    return f"{shown(table)} cannot be read beforehand as it would be then"
                continue
            doubt = relation.doubt if table == but else relation.doubt_of(statement_sql(node))
            if doubt is not None:
                return doubt
        return None

    def _as_a_step(self, view: Table) -> str | None:
        """Read a made view from a step that holds its rows as they would be by now; or why none can."""
        query = self.made_views[view]
        if query is None or self._read_as.get(view) == "":
            return f"{shown(view)} is a view that cannot be followed"
        before = self._read_as.get(view)
        self._read_as[view] = ""
        doubt = self.unread_in(query)
        if doubt is None and self.casts_to_new(query):
            doubt = "a type of it has other values only then"
        if doubt is None:
            sql = statement_sql(self.rewritten(query))
            if before is None or self.steps[before] != sql:
                before = quoted(f"{view[1]} {len(self.steps) + 1}")
                self.steps[before] = sql
        if before is None:
            del self._read_as[view]
        else:
            self._read_as[view] = before
        return doubt

    def _rewriting(self) -> Rewriting:
        sources = {
            table: each.source[1:-1].replace('""', '"')
            for table, each in self.tables.items()
            if each.source in self.steps
        }
        sources |= {view: name[1:-1].replace('""', '"') for view, name in self._read_as.items() if name}
        return Rewriting(self.schema, sources, self._made_types)

    def casts_to_new(self, node: Any) -> bool:
        """Whether anything in it becomes of a type that the database does not know as it is by then."""
        return node is not None and self._rewriting().changes_types(node)

    def castable(self, type_name: str) -> str:
        """A type that the database knows now: an enum that the upgrade makes is text until then."""
        return self._rewriting().type(type_name)

    def named(self, type_name: str) -> Table:
        """A type's schema and name."""
        return qualified(tuple(type_name.removesuffix("[]").replace('"', "").split(".")), self.schema)

    def readable(self, expression: str) -> str:
        """An expression that the database can read now."""
        return self._rewriting().expression(expression)

    def rewritten(self, node: Any) -> Any:
        """A copy in which every table is read as it would be by then."""
        return self._rewriting().node(node)
