"""Every row of PostgreSQL's catalogues that is about a schema, as lines: complete by construction.

The server says which catalogues and columns it has, and which of them refer to which (`COLUMNS`). A column
is read as it is unless `OMITTED` names it or `WRITTEN` says how it is written, so that a column or a
catalogue of a later version is seen without our knowing it. `catalogue` says the same of the commonest
things in the words of people.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from cachetools import LRUCache

from services.executor.clients.catalogue import NOT_OURS, description
from services.executor.clients.catalogue_columns import (
    COLUMNS,
    MORE,
    NOT_READ,
    OMITTED,
    REFERENCES,
    REFERENCES_13,
    RIGHTS_OF,
    SPELLED,
    TELLS_REFERENCES,
    WRITTEN,
    role,
)

FIRST_OF_USERS = 16384
"""Lower numbers are the server's own."""
_Rows: TypeAlias = tuple[tuple[str, ...], ...]
_REFERENCES: LRUCache[str, _Rows | None] = LRUCache(maxsize=16)
"""By the server's version."""
# Per catalogue: FROM and WHERE behind `FROM <catalogue> x`, and how a row is called.
_ON_RELATION = "JOIN relations r ON r.oid = x.{0}"
_NAMED = "(SELECT concat_ws(' ', f.type, f.identity) FROM pg_identify_object({0}, {1}, {2}) f)"
_RELATION = "kind_of(r.relkind) || ' ' || x.{0}::regclass"
_SCOPES = {
    "pg_class": (_ON_RELATION.format("oid"), "true"),
    "pg_attribute": (
        _ON_RELATION.format("attrelid"),
        "x.attnum > 0 AND NOT x.attisdropped AND r.relkind <> 'S'"
        " AND (r.relkind NOT IN ('i', 'I') OR x.attstattarget <> -1)",
    ),
    "pg_attrdef": (_ON_RELATION.format("adrelid"), "true"),
    "pg_constraint": (
        "LEFT JOIN relations r ON r.oid = x.conrelid LEFT JOIN pg_type t ON t.oid = x.contypid",
        "r.oid IS NOT NULL OR (t.typnamespace IN (SELECT oid FROM schemas)"
        " AND NOT EXISTS (SELECT FROM members e WHERE e.class = 'pg_type'::regclass AND e.oid = t.oid))",
    ),
    "pg_index": (_ON_RELATION.format("indexrelid"), "true"),
    "pg_trigger": (_ON_RELATION.format("tgrelid"), "NOT x.tgisinternal OR x.tgenabled <> 'O'"),
    "pg_rewrite": (_ON_RELATION.format("ev_class"), "x.rulename <> '_RETURN' OR x.ev_enabled <> 'O'"),
    "pg_policy": (_ON_RELATION.format("polrelid"), "true"),
    "pg_sequence": (_ON_RELATION.format("seqrelid"), "true"),
    "pg_inherits": (_ON_RELATION.format("inhrelid"), "true"),
    "pg_partitioned_table": (_ON_RELATION.format("partrelid"), "true"),
    "pg_foreign_table": (_ON_RELATION.format("ftrelid"), "true"),
    "pg_publication_rel": (_ON_RELATION.format("prrelid"), "true"),
    "pg_statistic_ext": (_ON_RELATION.format("stxrelid"), "true"),
    "pg_publication_namespace": ("", "x.pnnspid IN (SELECT oid FROM schemas)"),
    "pg_range": ("JOIN pg_type t ON t.oid = x.rngtypid", "t.typnamespace IN (SELECT oid FROM schemas) AND NOT"
                 " EXISTS (SELECT FROM members e WHERE e.class = 'pg_type'::regclass AND e.oid = t.oid)"),
    "pg_aggregate": (
        "JOIN pg_proc p ON p.oid = x.aggfnoid", "p.pronamespace IN (SELECT oid FROM schemas) AND NOT EXISTS"
        " (SELECT FROM members e WHERE e.class = 'pg_proc'::regclass AND e.oid = p.oid)",
    ),
    "pg_ts_config_map": (
        "JOIN pg_ts_config g ON g.oid = x.mapcfg", "g.cfgnamespace IN (SELECT oid FROM schemas) AND NOT"
        " EXISTS (SELECT FROM members e WHERE e.class = 'pg_ts_config'::regclass AND e.oid = g.oid)",
    ),
    "pg_type": ("", "(x.typrelid = 0 OR x.typtype = 'c' AND x.typrelid IN (SELECT oid FROM relations WHERE"
                " relkind = 'c')) AND NOT EXISTS (SELECT FROM pg_type y WHERE y.typarray = x.oid)"),
    "pg_amop": ("", "NOT EXISTS (SELECT FROM members e WHERE e.oid IN (x.amopopr, x.amopfamily))"),
    "pg_amproc": ("", "NOT EXISTS (SELECT FROM members e WHERE e.oid IN (x.amproc, x.amprocfamily))"),
    "pg_description": ("", "{0}"),
    "pg_seclabel": ("", "{0}"),
}  # fmt: skip
OF_USERS = (
    f"(x.objoid >= {FIRST_OF_USERS} OR x.objoid = 'public'::regnamespace AND x.classoid ="
    " 'pg_namespace'::regclass) AND NOT EXISTS (SELECT FROM members e WHERE e.class = x.classoid AND e.oid ="
    " x.objoid) AND (x.classoid <> 'pg_class'::regclass OR x.objoid IN (SELECT oid FROM relations)) AND"
    " COALESCE((SELECT f.schema IS NULL OR f.schema IN (SELECT quote_ident(nspname) FROM schemas)"
    " FROM pg_identify_object(x.classoid, x.objoid, 0) f), false)"
)
_CALLED = {
    "pg_class": _RELATION.format("oid"),
    "pg_attribute": f"'column ' || {_RELATION.format('attrelid')} || '.' || quote_ident(x.attname)",
    "pg_attrdef": f"'default of ' || {_RELATION.format('adrelid')} || '.' || (SELECT quote_ident(a.attname)"
    " FROM pg_attribute a WHERE a.attrelid = x.adrelid AND a.attnum = x.adnum)",
    "pg_constraint": "'constraint ' || quote_ident(x.conname) || ' on ' || COALESCE(NULLIF(x.conrelid, 0)"
    "::regclass::text, format_type(x.contypid, NULL))",
    "pg_index": f"'keys of ' || {_RELATION.format('indexrelid')}",
    "pg_trigger": "CASE WHEN x.tgisinternal THEN 'internal trigger of constraint ' || (SELECT"
    " quote_ident(k.conname) || ' on ' || k.conrelid::regclass FROM pg_constraint k WHERE k.oid ="
    " x.tgconstraint) || ' by ' || x.tgfoid::regproc ELSE 'trigger ' || quote_ident(x.tgname) || ' on ' ||"
    " x.tgrelid::regclass END",
    "pg_rewrite": "'rule ' || quote_ident(x.rulename) || ' on ' || x.ev_class::regclass",
    "pg_policy": "'policy ' || quote_ident(x.polname) || ' on ' || x.polrelid::regclass",
    "pg_sequence": f"'numbers of ' || {_RELATION.format('seqrelid')}",
    "pg_inherits": f"'parent of ' || {_RELATION.format('inhrelid')}",
    "pg_partitioned_table": f"'partitions of ' || {_RELATION.format('partrelid')}",
    "pg_foreign_table": f"'server of ' || {_RELATION.format('ftrelid')}",
    "pg_range": "'range of type ' || format_type(x.rngtypid, NULL)",
    "pg_aggregate": "'steps of aggregate ' || x.aggfnoid::regprocedure",
    "pg_ts_config_map": "'dictionaries of text search configuration ' || x.mapcfg::regconfig || ' ' ||"
    " x.maptokentype || '/' || x.mapseqno",
    "pg_description": "'comment on ' || " + _NAMED.format("x.classoid", "x.objoid", "x.objsubid"),
    "pg_seclabel": "'label on ' || " + _NAMED.format("x.classoid", "x.objoid", "x.objsubid"),
}
BEGIN = f"""
    WITH base AS MATERIALIZED (
        SELECT b.datdba AS owner FROM pg_database b WHERE b.datname = current_database()
    ), members AS MATERIALIZED (
        SELECT d.classid AS class, d.objid AS oid FROM pg_depend d WHERE d.deptype = 'e'
    ), schemas AS MATERIALIZED (
        SELECT n.oid, n.nspname FROM pg_namespace n WHERE {NOT_OURS}
    ), relations AS MATERIALIZED (
        SELECT c.oid, c.relkind FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
        LEFT JOIN pg_class b ON b.oid = i.indrelid
        WHERE c.relnamespace IN (SELECT oid FROM schemas) AND c.relkind <> 't'
        AND COALESCE(b.relname, c.relname) <> '_prisma_migrations' AND NOT EXISTS (SELECT FROM members e
            WHERE e.class = 'pg_class'::regclass AND e.oid = COALESCE(b.oid, c.oid))
    )
"""
_KIND = (
    "CASE r.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN"
    " 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type'"
    " ELSE 'index' END"
)


@dataclass
class Catalogue:
    """One catalogue of a server: its columns with their types, and what each refers to."""

    name: str
    types: dict[str, str] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)

    def part(self) -> str:
        """The query that gives a line for each of its rows."""
        scope, where = _SCOPES.get(self.name, ("", "true"))
        where = where.format(OF_USERS)
        if self.name not in _SCOPES or not scope:
            where = " AND ".join([f"({where})", *self._own()])
        called = _CALLED.get(self.name, _NAMED.format(f"'{self.name}'::regclass", "x.oid", "0"))
        values = ", ".join(self._values())
        line = f"SELECT concat('of ', {called}, ': ', concat_ws('; ', {values})) AS line"
        return f"{line} FROM pg_catalog.{self.name} x {scope} WHERE {where}".replace(
            "kind_of(r.relkind)", _KIND
        )

    def _own(self) -> Iterator[str]:
        """What keeps the server's own rows, and those of extensions, away from a catalogue with numbers."""
        if "oid" not in self.types:
            return
        public = " OR x.nspname = 'public'" if self.name == "pg_namespace" else ""
        yield f"(x.oid >= {FIRST_OF_USERS}{public})"
        yield (
            f"NOT EXISTS (SELECT FROM members e WHERE e.class = '{self.name}'::regclass AND e.oid = x.oid)"
        )
        if self.name == "pg_namespace":
            yield "x.oid IN (SELECT oid FROM schemas)"
        for name, of in self.references.items():
            if of == "pg_namespace" and name in self.types:
                none = "x.defaclnamespace = 0 OR " if name == "defaclnamespace" else ""
                yield f"({none}x.{name} IN (SELECT oid FROM schemas))"

    def _values(self) -> Iterator[str]:
        for name, type_ in self.types.items():
            if name in OMITTED:
                continue
            written = WRITTEN.get(name) or self._written(name, type_)
            label = f"'{name}='"
            if name not in WRITTEN and type_ == "boolean":
                yield f"CASE WHEN {written} THEN '{name}' END"
            else:
                yield f"{label} || NULLIF(({written})::text, '')"
        for name, written in MORE.get(self.name, {}).items():
            yield f"'{name}=' || {written}"

    def _written(self, name: str, type_: str) -> str:
        of = self.references.get(name)
        if type_ == "aclitem[]":
            return _rights(name)
        if of is not None and type_ in ("oid[]", "oidvector"):
            each = "WITH ORDINALITY AS u (o, n)"
            return f"(SELECT array_agg({_named(of, 'o')} ORDER BY n) FROM unnest(x.{name}) {each})"
        if of is not None and type_ == "oid":
            return _named(of, f"x.{name}")
        return f"x.{name}"


def _rights(name: str) -> str:
    """Who may do what, where it is not what everybody may who made the thing."""
    granted = (
        f"(SELECT array_agg(g.line ORDER BY g.line) FROM (SELECT {role('e.grantee')} || ':' ||"
        " string_agg(e.privilege_type || CASE WHEN e.is_grantable THEN '*' ELSE '' END, ',' ORDER BY"
        f" e.privilege_type) || ' by ' || {role('e.grantor')} AS line FROM aclexplode(x.{name}) e"
        " GROUP BY e.grantee, e.grantor) g)"
    )
    if not RIGHTS_OF.get(name):
        return granted
    usual = f"acldefault({RIGHTS_OF[name]})"
    same = " IS NOT DISTINCT FROM ".join(
        f"(SELECT array_agg(a::text ORDER BY a::text) FROM unnest({acl}) a)" for acl in (f"x.{name}", usual)
    )
    return f"CASE WHEN x.{name} IS NOT NULL AND NOT {same} THEN {granted} END"


def _named(of: str, number: str) -> str:
    if of == "pg_authid":
        return f"CASE WHEN {number} <> 0 THEN {role(number)} END"
    if of == "pg_type":
        return f"CASE WHEN {number} <> 0 THEN format_type({number}, NULL) END"
    if of == "pg_tablespace":
        return f"(SELECT s.spcname FROM pg_tablespace s WHERE s.oid = {number})"
    if of in SPELLED:
        return f"NULLIF({number}, 0)::{SPELLED[of]}"
    return f"(SELECT f.identity FROM pg_identify_object('{of}'::regclass, NULLIF({number}, 0), 0) f)"


async def queries_of(connection: Any) -> tuple[str, str]:
    """The queries for what an asyncpg connection's server has and lets its role read, each of one text column
    `line`: in the words of people, and every row. Run them with an empty search path."""
    columns = tuple(tuple(row) for row in await connection.fetch(COLUMNS))
    filled = frozenset(await connection.fetchval(_filled(columns)))
    return description(filled), query(columns, await _references(connection), filled)


async def _references(connection: Any) -> _Rows | None:
    """None where the server has no such function. A version's are always the same."""
    version = connection.get_settings().server_version
    if version not in _REFERENCES:
        known = await connection.fetchval(TELLS_REFERENCES)
        rows = await connection.fetch(REFERENCES) if known else None
        _REFERENCES[version] = None if rows is None else tuple(tuple(row) for row in rows)
    return _REFERENCES[version]


@lru_cache(maxsize=16)
def _filled(columns: _Rows) -> str:
    """The query for the catalogues that have rows of users, or that do not tell whose their rows are."""
    numbered = {catalogue for catalogue, name, _ in columns if name == "oid"} - {"pg_namespace"}
    whose = f" WHERE oid >= {FIRST_OF_USERS}"
    cases = (
        f"CASE WHEN EXISTS (SELECT FROM pg_catalog.{each}{whose if each in numbered else ''})"
        f" THEN '{each}' END"
        for each in sorted({catalogue for catalogue, _, _ in columns} - NOT_READ.keys())
    )
    return f"SELECT array_remove(ARRAY[{', '.join(cases)}], NULL)"


@lru_cache(maxsize=64)
def query(columns: _Rows, references: _Rows | None, filled: frozenset[str]) -> str:
    """One query of one text column `line`, from what `COLUMNS` and `REFERENCES` say."""
    found: dict[str, Catalogue] = {}
    known: dict[str, dict[str, str]] = defaultdict(dict)
    for catalogue, name, of in references or ():
        known[catalogue.removeprefix("pg_catalog.")][name] = of.removeprefix("pg_catalog.")
    for catalogue, name, type_ in columns:
        if catalogue not in filled:
            continue
        refers = known[catalogue] if references is not None else REFERENCES_13
        found.setdefault(catalogue, Catalogue(catalogue, references=refers)).types[name] = type_
    parts = [each.part() for each in found.values() if _may_be_read(each)]
    return BEGIN + "\nUNION ALL\n".join(parts)


def _may_be_read(catalogue: Catalogue) -> bool:
    """Whether the role sees enough of it to name its rows."""
    return "oid" in catalogue.types or catalogue.name in _SCOPES
