"""Which rows of production a sample keeps, so that no row refers to one that is left out.

Tables are decided after those that they refer to: of a row whose parent is left out nothing is kept, then a
limit takes some of what is left, always the same ones. References that run in a circle are followed at the
end, and bring the parents that are still missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from services.executor.clients.postgres import Connection, quoted

Table = tuple[str, str]
"""Schema and name."""
Place = tuple[int, tuple[int, int]]
"""Where a row stands, for as long as the snapshot lasts: its table's oid (a partition's own) and its ctid."""

_REFERENCES = """
    SELECT cn.nspname, c.relname, pn.nspname, p.relname,
        ARRAY(SELECT quote_ident(a.attname) FROM unnest(k.conkey) WITH ORDINALITY u(n, place)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY place),
        ARRAY(SELECT quote_ident(a.attname) FROM unnest(k.confkey) WITH ORDINALITY u(n, place)
            JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY place)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
    JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY k.conname, k.oid
"""
_KEYS = """
    SELECT n.nspname, c.relname,
        (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey))
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'p'
"""

_MEMORY = "SET work_mem = '64MB'"


@dataclass(frozen=True)
class _Reference:
    child: Table
    parent: Table
    child_columns: tuple[str, ...]
    parent_columns: tuple[str, ...]

    @property
    def matches(self) -> str:
        pairs = zip(self.child_columns, self.parent_columns, strict=True)
        return " AND ".join(f"child.{one} = parent.{other}" for one, other in pairs)

    def of(self, side: Literal["child", "parent"]) -> str:
        columns = self.child_columns if side == "child" else self.parent_columns
        return ", ".join(f"{side}.{column}" for column in columns)

    @property
    def points_nowhere(self) -> str:
        return " OR ".join(f"child.{column} IS NULL" for column in self.child_columns)


@dataclass(frozen=True)
class Sample:
    """The rows that are kept of each table that is not copied whole."""

    rows: Mapping[Table, frozenset[Place]]

    def condition(self, table: Table) -> str:
        """What follows the table's name in a query of these rows; empty when the table is copied whole."""
        if table not in self.rows:
            return ""
        by_oid: dict[int, list[str]] = {}
        for oid, (block, line) in sorted(self.rows[table]):
            by_oid.setdefault(oid, []).append(f'"({block},{line})"')
        parts = [
            f"(tableoid = {oid} AND ctid = ANY ('{{{','.join(places)}}}'::tid[]))"
            for oid, places in by_oid.items()
        ]
        return f" WHERE {' OR '.join(parts) or 'false'}"


async def choose(
    source: Connection, tables: Mapping[Table, str], rows_max: int | None, limits: Mapping[Table, int]
) -> Sample:
    """Decide for `tables`, each with its name in a FROM: `limits` by table, `rows_max` for the others.

    A limit that is none means all rows; one is exceeded only by what kept rows refer to in a circle.
    `source` must be inside the snapshot in which the rows are then read.
    """
    wanted = {table: limits.get(table, rows_max) for table in tables}
    if all(limit is None for limit in wanted.values()):
        return Sample({})
    references = [
        _Reference((row[0], row[1]), (row[2], row[3]), tuple(row[4]), tuple(row[5]))
        for row in await source.fetch(_REFERENCES)
    ]
    keys = {(row[0], row[1]): row[2] for row in await source.fetch(_KEYS)}
    await source.execute(_MEMORY)
    choosing = _Choosing(source, tables, references, keys)
    for table in _parents_first(wanted, references):
        await choosing.decide(table, wanted[table])
    await choosing.complete()
    return Sample({table: frozenset(rows) for table, rows in choosing.kept.items() if rows is not None})


class _Choosing:
    """What is decided so far: the kept rows of a table, none for all of them."""

    def __init__(
        self,
        source: Connection,
        tables: Mapping[Table, str],
        references: Sequence[_Reference],
        keys: Mapping[Table, str],
    ) -> None:
        self._source = source
        self._tables = tables
        self._references = references
        self._keys = keys
        self.kept: dict[Table, set[Place] | None] = {}

    async def decide(self, table: Table, limit: int | None) -> None:
        bound = [
            each
            for each in self._references
            if each.child == table and self.kept.get(each.parent) is not None
        ]
        if not bound and (limit is None or await self._has_at_most(table, limit)):
            self.kept[table] = None
            return
        conditions: list[str] = []
        arguments: list[list[object]] = []
        for each in bound:
            # Once per statement, and hashed: a query per row would take for ever.
            conditions.append(
                f"({each.points_nowhere} OR ({each.of('child')}) IN (SELECT {each.of('parent')}"
                f" FROM {quoted(*each.parent)} parent JOIN {_given(len(arguments))}"
                " ON parent.tableoid = kept.oid AND parent.ctid = kept.place))"
            )
            arguments += _columns(self.kept[each.parent] or set())
        chosen = f"SELECT child.tableoid, child.ctid FROM {self._tables[table]} child"
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        # The same rows each time, and some of everything: neither the first ones nor the last.
        key = self._keys.get(table)
        order = f"hashtextextended(row({key})::text, 0), {key}" if key else "child.tableoid, child.ctid"
        limited = "" if limit is None else f" ORDER BY {order} LIMIT {limit}"
        found = await self._source.fetch(chosen + where + limited, *arguments)
        self.kept[table] = {(oid, place) for oid, place in found}

    async def complete(self) -> None:
        """Add every parent that a kept row refers to and that is not kept."""
        fresh = {table: rows for table, rows in self.kept.items() if rows is None or rows}
        while fresh:
            added: dict[Table, set[Place] | None] = {}
            for each in self._references:
                if each.child in fresh and self.kept.get(each.parent) is not None:
                    missing = await self._missing(each, fresh[each.child])
                    if missing:
                        kept = self.kept[each.parent] or set()
                        self.kept[each.parent] = kept | missing
                        added[each.parent] = (added.get(each.parent) or set()) | missing
            fresh = added

    async def _missing(self, reference: _Reference, children: set[Place] | None) -> set[Place]:
        joined = ""
        arguments: list[list[object]] = []
        if children is not None:
            joined = f" JOIN {_given(0)} ON child.tableoid = kept.oid AND child.ctid = kept.place"
            arguments = _columns(children)
        found = await self._source.fetch(
            f"SELECT DISTINCT parent.tableoid, parent.ctid FROM {quoted(*reference.child)} child{joined}"
            f" JOIN {quoted(*reference.parent)} parent ON {reference.matches}",
            *arguments,
        )
        return {(oid, place) for oid, place in found} - (self.kept[reference.parent] or set())

    async def _has_at_most(self, table: Table, limit: int) -> bool:
        counted = f"SELECT count(*) FROM (SELECT FROM {self._tables[table]} LIMIT {limit + 1}) AS counted"
        return bool(await self._source.fetchval(counted) <= limit)


def _parents_first(limits: Mapping[Table, int | None], references: Sequence[_Reference]) -> list[Table]:
    """Each after all that it refers to; in a circle the most limited goes first."""
    waiting = {
        table: {each.parent for each in references if each.child == table and each.parent != table}
        & limits.keys()
        for table in sorted(limits)
    }
    ordered: list[Table] = []
    while waiting:
        free = [table for table, parents in waiting.items() if not parents & waiting.keys()]
        for table in free or [min(_first_circle(waiting), key=lambda each: _tightness(each, limits))]:
            ordered.append(table)
            del waiting[table]
    return ordered


def _first_circle(waiting: Mapping[Table, set[Table]]) -> list[Table]:
    """Tables that refer to each other and to nothing else that waits. There must be no free one."""
    above: dict[Table, set[Table]] = {}
    for table in waiting:
        seen: set[Table] = set()
        ahead = {table}
        while ahead:
            ahead = {parent for each in ahead for parent in waiting[each] & waiting.keys()} - seen
            seen |= ahead
        above[table] = seen
    return [table for table, seen in above.items() if all(table in above[each] for each in seen)]


def _tightness(table: Table, limits: Mapping[Table, int | None]) -> tuple[bool, int, Table]:
    limit = limits[table]
    return (limit is None, limit or 0, table)


def _given(before: int) -> str:
    return f"unnest(${before + 1}::oid[], ${before + 2}::tid[]) AS kept(oid, place)"


def _columns(rows: set[Place]) -> list[list[object]]:
    ordered = sorted(rows)
    return [[oid for oid, _ in ordered], [place for _, place in ordered]]
