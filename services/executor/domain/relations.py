"""What each table would hold after the statements so far, as a query over what it holds now.

Every statement that changes rows becomes one more common table expression over the one before, so that
production's own rows answer what a later statement would find, and not one of them is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from postgast import pg_query_pb2

from services.executor.domain.relation import Relation, Step, alias_of
from services.executor.domain.rewriting import Rewriting
from shared.sql.actions import (
    Action,
    AddColumn,
    AddLabel,
    ChangeType,
    Code,
    CreateTable,
    CreateType,
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
from shared.sql.tree import below, expression_sql, inner, kind, statement_sql, table_of

HIT = "upgradepath hit"
# What a sequence gives to rows that are there: another number to each.
_NUMBERED = "row_number() OVER ()"


@dataclass
class Relations:
    """All tables, kept up to date by `advance`. `doubt` says why nothing is certain any more."""

    tables: dict[Table, Relation]
    schema: str = "public"
    doubt: str | None = None
    relabelled: bool = False
    """An enum has values that the database does not know yet."""
    _made_types: set[Table] = field(default_factory=set)
    steps: dict[str, Step | str] = field(default_factory=dict)
    """What each source is that is no table: by its name, the last one last."""

    @classmethod
    def of(
        cls,
        columns: Mapping[Table, Mapping[str, str]],
        defaults: Mapping[Table, Mapping[str, str]],
        schema: str = "public",
    ) -> "Relations":
        """As the database has them: per table, column to type, and column to default."""
        return cls(
            {
                table: Relation(table, quoted(*table), dict(each), defaults.get(table, {}))
                for table, each in columns.items()
            },
            schema,
        )

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

    def advance(self, action: Action) -> None:
        """The relations after the action."""
        match action:
            case CreateTable(table=table, columns=columns, filled=filled):
                types = {each.name: each.type for each in columns}
                nothing = ", ".join(
                    f"NULL::{self.castable(each)} AS {quoted(name)}" for name, each in types.items()
                )
                doubt = "it is filled by a query" if filled else None
                defaults = {each.name: each.default for each in columns if each.default and not each.volatile}
                self.tables[table] = Relation(table, "", types, defaults, doubt)
                self._next(table, f"SELECT {nothing} WHERE false")
            case DropTable(table=table):
                self.tables.pop(table, None)
            case RenameTable(table=table, to=to) if table in self.tables:
                self.tables[to] = replace(self.tables.pop(table), table=to)
            case Code(what=what):
                self.doubt = self.doubt or what
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

    def _change(
        self, action: AddColumn | DropColumn | RenameColumn | ChangeType | SetDefault | Write
    ) -> None:
        relation = self.tables[action.table]
        types = dict(relation.columns)
        match action:
            case AddColumn(column=column) if column.name not in types:
                given = column.default or column.generated or (_NUMBERED if column.fills else "NULL")
                value = f"({self.readable(given)})::{self.castable(column.type)}"
                self._select(relation, {column.name: value}, types | {column.name: column.type})
                if column.default and not column.volatile:
                    self._set_default(action.table, column.name, column.default)
            case DropColumn(column=name):
                types.pop(name, None)
                self._select(relation, {}, types)
            case RenameColumn(column=name, to=to) if name in types:
                renamed = {to if each == name else each: kind for each, kind in types.items()}
                self._select(relation, {to: f"{relation.alias}.{quoted(name)}"}, renamed)
            case ChangeType(column=name, type=new, using=using) if name in types:
                value = self.readable(using) if using else f"{relation.alias}.{quoted(name)}"
                self._select(relation, {name: f"({value})::{self.castable(new)}"}, types | {name: new})
            case SetDefault(column=name, default=default):
                self._set_default(action.table, name, default)
            case Write():
                self._write(relation, action)

    def _set_default(self, table: Table, column: str, default: str | None) -> None:
        relation = self.tables[table]
        others = {name: value for name, value in relation.defaults.items() if name != column}
        self.tables[table] = replace(relation, defaults=others | ({column: default} if default else {}))

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
        self.tables[relation.table] = replace(relation, columns=dict(columns))
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
        elif node is None or node.HasField("with_clause") or not self._knows_all(node):
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
        return f"EXISTS ({self._joined(others, node, {})})"

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
            joined = self._joined(node.from_clause, node, {names[name]: name for name in chosen})
            rest = f"LEFT JOIN LATERAL ({joined} LIMIT 1) AS {quoted(HIT)} ON true"
            hit = f"{quoted(HIT)}.hit IS NOT NULL"
            chosen = {name: f"{quoted(HIT)}.{quoted(names[name])}" for name in chosen}
        values = {
            name: self._either(hit, value, f"{alias}.{quoted(name)}", relation.columns[name])
            for name, value in chosen.items()
            if name in relation.columns
        }
        self._select(relation, values, relation.columns, rest, alias=alias)

    def _joined(self, others: Any, node: Any, values: Mapping[str, str]) -> str:
        """A query over the other tables of an UPDATE … FROM or DELETE … USING, for one row of its own."""
        select = pg_query_pb2.SelectStmt()
        hit = select.target_list.add().res_target
        hit.name = "hit"
        hit.val.a_const.boolval.boolval = True
        by_name = {inner(each).name: inner(each) for each in getattr(node, "target_list", ())}
        for alias, column in values.items():
            target = select.target_list.add().res_target
            target.name = alias
            target.val.CopyFrom(by_name[column].val)
        for each in others:
            select.from_clause.add().CopyFrom(each)
        if node.HasField("where_clause"):
            select.where_clause.CopyFrom(node.where_clause)
        return statement_sql(self.rewritten(select))

    def _insert(self, relation: Relation, node: Any) -> None:
        names = [inner(each).name for each in node.cols] or list(relation.columns)
        if not node.HasField("select_stmt") or node.HasField("on_conflict_clause"):
            self._doubt(relation, "rows are inserted in a way that cannot be followed")
            return
        select = statement_sql(self.rewritten(inner(node.select_stmt)))
        given = ", ".join(quoted(name) for name in names)
        chosen = ", ".join(
            f"{quoted('new')}.{quoted(name)}::{self.castable(each)}" if name in names
            else f"({relation.defaults.get(name, 'NULL')})::{self.castable(each)}"
            for name, each in relation.columns.items()
        )  # fmt: skip
        old = ", ".join(quoted(name) for name in relation.columns)
        missing = [name for name in relation.columns if name not in names and name not in relation.defaults]
        self._next(
            relation.table,
            f"SELECT {old} FROM {relation.source} UNION ALL"
            f" SELECT {chosen} FROM ({select}) AS {quoted('new')} ({given})",
        )
        if missing:
            self._doubt(self.tables[relation.table], f"inserted rows get their own {', '.join(missing)}")

    def distrust(self, table: Table, why: str) -> None:
        """From here on the table's rows are not known for certain."""
        if table in self.tables:
            self._doubt(self.tables[table], why)

    def _doubt(self, relation: Relation, why: str) -> None:
        self.tables[relation.table] = replace(
            relation, doubt=relation.doubt or f"{shown(relation.table)}: {why}"
        )

    # --- expressions -------------------------------------------------------------------------------

    def _rewriting(self) -> Rewriting:
        sources = {
            table: each.source[1:-1].replace('""', '"')
            for table, each in self.tables.items()
            if each.source in self.steps
        }
        return Rewriting(self.schema, sources, self._made_types)

    def casts_to_new(self, node: Any) -> bool:
        """Whether anything in it becomes of a type that the database does not know as it is by then."""
        return node is not None and self._rewriting().changes_types(node)

    def castable(self, type_name: str) -> str:
        """A type that the database knows now: an enum that the upgrade makes is text until then."""
        return self._rewriting().type(type_name)

    def readable(self, expression: str) -> str:
        """An expression that the database can read now."""
        return self._rewriting().expression(expression)

    def rewritten(self, node: Any) -> Any:
        """A copy in which every table is read as it would be by then."""
        return self._rewriting().node(node)

    def _either(self, condition: str, value: str, other: str, type_name: str) -> str:
        castable = self.castable(type_name)
        return f"CASE WHEN {condition} THEN ({value})::{castable} ELSE ({other})::{castable} END"

    def _knows_all(self, node: Any) -> bool:
        """Whether every table that the statement reads is known without a doubt."""
        read = {table_of(each, self.schema) for each in below(node) if kind(each) == "RangeVar"}
        return all(table in self.tables and self.tables[table].doubt is None for table in read)
