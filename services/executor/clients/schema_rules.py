"""A database's tables, rules and views as foretelling starts from them; reads catalogues only."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.executor.clients.catalogue import PEOPLES_TRIGGER
from services.executor.clients.postgres import Connection
from services.executor.clients.reading import read_in_child
from services.executor.clients.unsettled_functions import unsettled_of
from services.executor.domain.partitions import Partitions
from services.executor.domain.questions import Asker
from services.executor.domain.relations import Relations
from services.executor.domain.standing import Rule, Standing
from shared.sql.actions import AddConstraint, CreateIndex, SetNotNull
from shared.sql.columns import Table
from shared.sql.parsing import Unreadable, parse
from shared.sql.script import read_statements

_OURS = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'upgradepath')"
_COLUMNS = f"""
    SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type,
        pg_get_expr(d.adbin, d.adrelid) AS default_sql,
        a.attidentity <> '' OR a.attgenerated <> '' AS fills,
        COALESCE(a.attnum = ANY (k.conkey), false) AS is_key
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
    WHERE c.relkind IN ('r', 'p', 'm') AND {_OURS}
    ORDER BY n.nspname, c.relname, array_position(k.conkey, a.attnum), a.attnum
"""
_NOT_NULLS = f"""
    SELECT n.nspname, c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
    WHERE c.relkind IN ('r', 'p') AND {_OURS}
        AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'n'
            AND NOT k.convalidated AND a.attnum = ANY (k.conkey))
"""
_TRIGGERED = f"""
    SELECT n.nspname, c.relname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {PEOPLES_TRIGGER.format("g")} AND g.tgenabled <> 'D' AND {_OURS}
    UNION
    SELECT n.nspname, c.relname FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND {_OURS}
"""
_RULES = f"""
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::regclass, k.conname,
        pg_get_constraintdef(k.oid)) AS statement
    FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
    WHERE (k.contype IN ('c', 'u', 'p', 'f', 'x') OR k.contype = 'n' AND NOT k.convalidated)
        AND k.conrelid > 0 AND {_OURS}
    UNION ALL
    SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE i.indisvalid AND {_OURS}
        AND NOT EXISTS (SELECT FROM pg_constraint k
            WHERE k.conindid = i.indexrelid AND k.contype IN ('u', 'p', 'x'))
"""
_VIEWS = f"""
    SELECT n.nspname, c.relname, c.relkind = 'm' AS filled, pg_get_viewdef(c.oid) AS query
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND {_OURS}
"""
_PARTITIONS = f"""
    SELECT n.nspname, c.relname, c.relispartition AS is_part, c.relkind = 'p' AS is_whole,
        dn.nspname AS default_schema, d.relname AS default_name,
        (SELECT array_agg(a.attname::text) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum = ANY (p.partattrs) AND NOT 0 = ANY (p.partattrs)) AS key
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
    LEFT JOIN pg_class d ON d.oid = p.partdefid LEFT JOIN pg_namespace dn ON dn.oid = d.relnamespace
    WHERE (c.relispartition OR c.relkind = 'p') AND c.relkind IN ('r', 'p') AND {_OURS}
"""


async def asker_of(connection: Connection, schema: str) -> Asker:
    """An asker that knows the database as it is; `schema` is meant where a name has none."""
    columns: dict[Table, dict[str, str]] = {}
    defaults: dict[Table, dict[str, str]] = {}
    own: dict[Table, dict[str, str]] = {}
    keys: dict[Table, tuple[str, ...]] = {}
    for row in await connection.fetch(_COLUMNS):
        table, column, default = (row["nspname"], row["relname"]), row["attname"], row["default_sql"]
        columns.setdefault(table, {})[column] = row["type"]
        # What calls a function may give each row another value, or take a number from a sequence.
        if row["fills"] or (default is not None and "(" in default):
            own.setdefault(table, {})[column] = "" if row["fills"] else default
        elif default is not None:
            defaults.setdefault(table, {})[column] = default
        if row["is_key"]:
            keys[table] = (*keys.get(table, ()), column)
    views = {(row["nspname"], row["relname"]): row for row in await connection.fetch(_VIEWS)}
    plain = frozenset(table for table, row in views.items() if not row["filled"])
    filled = {table: row["query"] for table, row in views.items() if row["filled"]}
    return Asker(
        Relations.of(columns, defaults, schema, own, plain),
        keys,
        Standing(await _rules(connection, schema)),
        {(row["nspname"], row["relname"]) for row in await connection.fetch(_TRIGGERED)},
        await _partitions(connection),
        await read_in_child("the database's views", read_queries, filled),
        await unsettled_of(connection, {table[1]: views[table]["query"] for table in plain}),
    )


async def _rules(connection: Connection, schema: str) -> list[Rule]:
    """What stands in the database, read from the statements that PostgreSQL itself prints for it."""
    rules: list[Rule] = [
        SetNotNull((row["nspname"], row["relname"]), row["attname"])
        for row in await connection.fetch(_NOT_NULLS)
    ]
    printed = [row["statement"] for row in await connection.fetch(_RULES)]
    return rules + await read_in_child("the database's rules", read_rules, printed, schema)


def read_rules(printed: Sequence[str], schema: str) -> list[Rule]:
    """The rules that these statements make: a child calls it."""
    return [
        action
        for each in printed
        for statement in read_statements(each, schema)
        for action in statement.actions
        if isinstance(action, AddConstraint | CreateIndex)
    ]


async def _partitions(connection: Connection) -> Partitions:
    found = Partitions()
    for row in await connection.fetch(_PARTITIONS):
        table = (row["nspname"], row["relname"])
        if row["is_part"]:
            found.parts.add(table)
        if row["is_whole"]:
            found.keys[table] = frozenset(row["key"] or ())
        if row["default_name"] is not None:
            found.defaults[table] = (row["default_schema"], row["default_name"])
    return found


def read_queries(views: Mapping[Table, str]) -> dict[Table, Any]:
    """The parser's node of each view's query: a child calls it."""
    return {table: _query(definition) for table, definition in views.items()}


def _query(definition: str) -> Any:
    """The parser's node of a view's query; none when it cannot be read."""
    try:
        (statement,) = parse(definition)
    except (Unreadable, ValueError):
        return None
    return statement.node
