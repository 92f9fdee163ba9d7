"""What each table would hold after the statements so far, as a query over what it holds now.

Every statement that changes rows becomes one more common table expression over the one before, so that
production's own rows answer what a later statement would find, and not one of them is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.executor.domain.readings import Reading
from services.executor.domain.relation import Relation, Step, alias_of
from services.executor.domain.written_rows import given_by, joined, with_inserted
from shared.sql.actions import (
    Action,
    AddColumn,
    AddLabel,
    ChangeType,
    Code,
    Create,
    CreateTable,
    CreateType,
    Drop,
    DropColumn,
    DropTable,
    RenameColumn,
    RenameLabel,
    RenameTable,
    RenameType,
    SetDefault,
    Write,
)
from shared.sql.columns import Table, shown
from shared.sql.names import quoted
from shared.sql.tree import expression_sql, inner, kind, statement_sql

HIT = "upgradepath hit"
# What a sequence gives to rows that are there: another number to each.
_NUMBERED = "row_number() OVER ()"


@dataclass
class Relations(Reading):
    """All tables, kept up to date by `advance`."""

    @classmethod
    def of(
        cls,
        columns: Mapping[Table, Mapping[str, str]],
        defaults: Mapping[Table, Mapping[str, str]],
        schema: str = "public",
        own: Mapping[Table, Mapping[str, str]] | None = None,
        views: frozenset[Table] = frozenset(),
    ) -> "Relations":
        """As the database has them: per table, column to type, to default, to what makes its own value."""
        made = own or {}
        return cls(
            {
                table: Relation(
                    table, quoted(*table), dict(each), defaults.get(table, {}), own=made.get(table, {})
                )
                for table, each in columns.items()
            },
            schema,
            views=views,
        )

    def advance(self, action: Action) -> None:
        """The relations after the action."""
        self._see(action)
        match action:
            case CreateTable(table=table, unless_there=True) if table in self.tables:
                pass
            case CreateTable():
                self._create(action)
            case Create(kind="materialized view", table=table, query=query, empty=empty) if table:
                self.made_by(table, query, empty=empty)
            case DropTable(table=table):
                self.tables.pop(table, None)
            case RenameTable(table=table, to=to) if table in self.tables:
                self.tables[to] = replace(self.tables.pop(table), table=to)
            case Code(what=what):
                self.doubt = self.doubt or what
            case Drop(kind=kind, name=name, cascades=True):
                self.doubt = self.doubt or f"DROP {kind.upper()} {name} CASCADE takes others along"
            case CreateType(name=name):
                self._made_types.add(name)
            case RenameType(to=to):
                self._made_types.add(to)
            case AddLabel(type=name) | RenameLabel(type=name):
                self._made_types.add(name)
                self.relabelled = True
            case AddColumn() | DropColumn() | RenameColumn() | ChangeType() | SetDefault() | Write():
                if action.table in self.tables:
                    self._change(action)
            case _:
                pass

    def _see(self, action: Action) -> None:
        """The views that the upgrade makes, whose columns are those of the moment when each is made."""
        match action:
            case Create(kind="view", table=table, query=query) if table is not None:
                self.made_views[table] = query
                self._read_as.pop(table, None)
            case DropTable(table=table, kind="view"):
                self.made_views.pop(table, None)
                self._read_as.pop(table, None)
            case AddColumn() | DropColumn() | RenameColumn() | ChangeType() | RenameTable() | DropTable():
                self.made_views = dict.fromkeys(self.made_views)
            case Create(kind="rule" | "trigger", table=table) if table in self.made_views:
                self.made_views[table] = None
            case _:
                pass

    def _create(self, action: CreateTable) -> None:
        table, columns = action.table, action.columns
        if action.filled:
            self.made_by(table, action.query)
            return
        types = {each.name: each.type for each in columns}
        nothing = ", ".join(f"NULL::{self.castable(each)} AS {quoted(name)}" for name, each in types.items())
        defaults = {each.name: each.default for each in columns if each.default and not each.volatile}
        own = {each.name: each.default or "" for each in columns if each.volatile or each.fills}
        own |= {each.name: "" for each in columns if each.generated}
        self.tables[table] = Relation(table, "", types, defaults, own=own)
        self._next(table, f"SELECT {nothing} WHERE false")

    def made_by(self, table: Table, query: Any, *, empty: bool = False) -> None:
        """The rows of a query are the table's; none of them with `empty`."""
        doubt = "it is filled by a query" if query is None else self.doubt_of(query)
        there = self.tables.get(table)
        made = replace(there, doubt=doubt) if there else Relation(table, "", {}, doubt=doubt, open=True)
        self.tables[table] = made
        if query is not None:
            read = f"SELECT * FROM ({statement_sql(self.rewritten(query))}) AS {quoted('made')}"
            self._next(table, f"{read} WHERE false" if empty else read)
        else:
            self._next(table, "SELECT WHERE false")

    def _change(
        self, action: AddColumn | DropColumn | RenameColumn | ChangeType | SetDefault | Write
    ) -> None:
        relation = self.tables[action.table]
        types = dict(relation.columns)
        if relation.open:
            self._doubt(relation, "a query made it, and it is changed since")
            return
        match action:
            case AddColumn(column=column) if column.name not in types:
                given = column.default or column.generated or (_NUMBERED if column.fills else "NULL")
                value = f"({self.readable(given)})::{self.castable(column.type)}"
                self._select(relation, {column.name: value}, types | {column.name: column.type})
                if column.default and not column.volatile:
                    self._set_default(action.table, column.name, column.default)
                elif column.default or column.fills or column.generated:
                    self._gets_own(action.table, column.name, column.default or "")
            case DropColumn(column=name):
                types.pop(name, None)
                self._select(relation, {}, types)
            case RenameColumn(column=name, to=to) if name in types:
                renamed = {to if each == name else each: kind for each, kind in types.items()}
                unsure = frozenset(to if each == name else each for each in relation.unsure)
                own = {to if each == name else each: made for each, made in relation.own.items()}
                defaults = {to if each == name else each: made for each, made in relation.defaults.items()}
                relation = replace(relation, unsure=unsure, own=own, defaults=defaults)
                self._select(relation, {to: f"{relation.alias}.{quoted(name)}"}, renamed)
            case ChangeType(column=name, type=new, using=using) if name in types:
                value = self.readable(using) if using else f"{relation.alias}.{quoted(name)}"
                self._select(relation, {name: f"({value})::{self.castable(new)}"}, types | {name: new})
            case SetDefault(column=name, default=default):
                if default is not None and "(" in default:
                    self._gets_own(action.table, name, default)
                else:
                    self._set_default(action.table, name, default)
            case Write():
                self._write(relation, action)

    def _set_default(self, table: Table, column: str, default: str | None) -> None:
        relation = self.tables[table]
        others = {name: value for name, value in relation.defaults.items() if name != column}
        own = {name: made for name, made in relation.own.items() if name != column}
        given = others | ({column: default} if default else {})
        self.tables[table] = replace(relation, defaults=given, own=own)

    def _gets_own(self, table: Table, column: str, made: str) -> None:
        self._set_default(table, column, None)
        relation = self.tables[table]
        self.tables[table] = replace(relation, own={**relation.own, column: made})

    def _select(
        self,
        relation: Relation,
        values: Mapping[str, str],
        columns: Mapping[str, str],
        rest: str = "",
        *,
        alias: str | None = None,
    ) -> None:
        """One more step: `values` for some columns, the others as they were; `rest` goes behind FROM."""
        alias = alias or relation.alias
        chosen = ", ".join(
            f"{values.get(name, f'{alias}.{quoted(name)}')} AS {quoted(name)}" for name in columns
        )
        # What is made of an unsure value is unsure itself.
        unsure = {name for name, value in values.items() if relation.doubt_of(f"{value} {rest}")}
        kept_unsure = relation.unsure if not unsure or relation.doubt else relation.unsure | unsure
        self.tables[relation.table] = replace(relation, columns=dict(columns), unsure=kept_unsure)
        kept = not rest.startswith("WHERE")
        self._next(relation.table, Step(chosen, relation.source, alias, rest, kept))

    def _next(self, table: Table, step: Step | str) -> None:
        name = quoted(f"{table[1]} {len(self.steps) + 1}")
        self.steps[name] = step
        self.tables[table] = replace(self.tables[table], source=name)

    # --- rows that are written ---------------------------------------------------------------------

    def _write(self, relation: Relation, action: Write) -> None:
        node = action.node
        if action.verb == "truncate":
            self._select(relation, {}, relation.columns, "WHERE false")
        elif node is None or node.HasField("with_clause") or self.unread_in(node, relation.table):
            self._doubt(relation, f"a query {action.verb}s its rows that cannot be followed")
        elif action.verb == "delete":
            kept = f"WHERE NOT {self.condition(node)}"
            self._select(relation, {}, relation.columns, kept, alias=alias_of(node, relation))
        elif action.verb == "update":
            self._update(relation, node)
        else:
            self._insert(relation, node)

    def condition(self, node: Any) -> str:
        """Whether an UPDATE or DELETE takes a row of its table, as an expression that is never null."""
        others = node.from_clause if kind(node) == "UpdateStmt" else node.using_clause
        if not len(others):
            if not node.HasField("where_clause"):
                return "true"
            return f"COALESCE(({expression_sql(self.rewritten(node.where_clause))}), false)"
        return f"EXISTS ({joined(self, others, node, {})})"

    def _update(self, relation: Relation, node: Any) -> None:
        targets = [inner(each) for each in node.target_list]
        if any(kind(inner(each.val)) == "MultiAssignRef" or len(each.indirection) for each in targets):
            self._doubt(relation, "an UPDATE that cannot be followed")
            return
        chosen: dict[str, str] = {}
        for each in targets:
            if kind(inner(each.val)) == "SetToDefault":
                chosen[each.name] = relation.defaults.get(each.name, "NULL")
            else:
                chosen[each.name] = expression_sql(self.rewritten(each.val))
        alias = alias_of(node, relation)
        hit, rest = self.condition(node), ""
        if len(node.from_clause):
            names = {name: f"value {place}" for place, name in enumerate(chosen)}
            found = joined(self, node.from_clause, node, {names[name]: name for name in chosen})
            rest = f"LEFT JOIN LATERAL ({found} LIMIT 1) AS {quoted(HIT)} ON true"
            hit = f"{quoted(HIT)}.hit IS NOT NULL"
            chosen = {name: f"{quoted(HIT)}.{quoted(names[name])}" for name in chosen}
        values = {
            name: self._either(hit, value, f"{alias}.{quoted(name)}", relation.columns[name])
            for name, value in chosen.items()
            if name in relation.columns
        }
        self._select(relation, values, relation.columns, rest, alias=alias)

    def _insert(self, relation: Relation, node: Any) -> None:
        names = [inner(each).name for each in node.cols] or list(relation.columns)[: given_by(node)]
        if not node.HasField("select_stmt") or node.HasField("on_conflict_clause") or relation.open:
            self._doubt(relation, "rows are inserted in a way that cannot be followed")
            return
        types = {name: self.castable(each) for name, each in relation.columns.items()}
        select = statement_sql(self.rewritten(inner(node.select_stmt)))
        missing = {name for name in relation.own if name not in names}
        if relation.doubt_of(select):
            missing |= set(names)
        self.tables[relation.table] = replace(relation, unsure=relation.unsure | missing)
        self._next(relation.table, with_inserted(relation, names, types, select))

    def distrust(self, table: Table | None, why: str) -> None:
        """From here on the table's rows are not known for certain, or which view that is."""
        if table in self.made_views:
            self.made_views[table] = None
        if table in self.tables:
            self._doubt(self.tables[table], why)

    def _doubt(self, relation: Relation, why: str) -> None:
        self.tables[relation.table] = replace(
            relation, doubt=relation.doubt or f"{shown(relation.table)}: {why}"
        )

    def _either(self, condition: str, value: str, other: str, type_name: str) -> str:
        castable = self.castable(type_name)
        return f"CASE WHEN {condition} THEN ({value})::{castable} ELSE ({other})::{castable} END"
