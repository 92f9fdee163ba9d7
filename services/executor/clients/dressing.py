"""What a database's things wear: owners, rights, comments, options, and how statistics are kept."""

from collections.abc import Iterator, Sequence

import asyncpg

from services.executor.clients.catalogue_rows import BEGIN, OF_USERS
from services.executor.clients.postgres import Connection, names_qualified, words
from services.executor.domain.dressing import OWNER, PUBLIC, Aspect, Dressing, Worn, fixes, roles_of

_KIND = (
    "CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'f'"
    " THEN 'FOREIGN TABLE' WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END"
    " || ' ' || c.oid::regclass"
)
_RELATIONS = "FROM pg_class c JOIN relations r ON r.oid = c.oid"
_COLUMNS = f"""{_RELATIONS} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"""
_NAMES = {
    "pg_collation": ("COLLATION", "coll"), "pg_conversion": ("CONVERSION", "con"),
    "pg_operator": ("OPERATOR", "opr"), "pg_opclass": ("OPERATOR CLASS", "opc"),
    "pg_opfamily": ("OPERATOR FAMILY", "opf"), "pg_statistic_ext": ("STATISTICS", "stx"),
    "pg_ts_config": ("TEXT SEARCH CONFIGURATION", "cfg"), "pg_ts_dict": ("TEXT SEARCH DICTIONARY", "dict"),
}  # fmt: skip


def _rights(acl: str, usual: str) -> str:
    """A text for each role and whether it may grant; privileges that somebody else granted name him."""
    return f"""ARRAY(SELECT concat_ws('|', CASE e.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(e.grantee)
        END, string_agg(e.privilege_type, ',' ORDER BY e.privilege_type),
        CASE WHEN e.is_grantable THEN 'grants' ELSE '' END)
        FROM aclexplode(COALESCE({acl}, {usual})) e GROUP BY e.grantee, e.is_grantable ORDER BY 1)"""


def _owned(catalogue: str, phrase: str, prefix: str) -> str:
    return f"""
        SELECT '{phrase} ' || (pg_identify_object('{catalogue}'::regclass, x.oid, 0)).identity, 'owner', '',
            x.oid::text, ARRAY[pg_get_userbyid(x.{prefix}owner)]::text[]
        FROM {catalogue} x WHERE x.{prefix}namespace IN (SELECT oid FROM schemas)
            AND NOT EXISTS (SELECT FROM members e
                WHERE e.class = '{catalogue}'::regclass AND e.oid = x.oid)"""


# Columns: object, kind, part, made, values.
_PARTS = (
    f"""
    SELECT f.type || '|' || f.identity, 'comment', '', x.objoid || '.' || x.objsubid, ARRAY[x.description]
    FROM pg_description x, pg_identify_object(x.classoid, x.objoid, x.objsubid) f WHERE {OF_USERS}""",
    f"""
    SELECT f.type || '|' || f.identity, 'label', quote_ident(x.provider), x.objoid || '.' || x.objsubid,
        ARRAY[x.label]
    FROM pg_seclabel x, pg_identify_object(x.classoid, x.objoid, x.objsubid) f WHERE {OF_USERS}""",
    # An entry without a schema stands for PostgreSQL's own rule; one of a schema comes on top.
    f"""
    SELECT 'NEW ' || k.kind, 'given', COALESCE(quote_ident(n.nspname), ''), '', {
        _rights("x.defaclacl", "NULL::aclitem[]")
    }
    FROM pg_default_acl x LEFT JOIN pg_namespace n ON n.oid = x.defaclnamespace, LATERAL (SELECT CASE
        x.defaclobjtype WHEN 'r' THEN 'TABLE' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FUNCTION' WHEN 'T'
        THEN 'TYPE' WHEN 'n' THEN 'SCHEMA' END AS kind) k
    WHERE x.defaclrole = current_user::regrole AND k.kind IS NOT NULL""",
    f"""
    SELECT {_KIND}, 'owner', '', c.oid::text, ARRAY[pg_get_userbyid(c.relowner)]::text[] {_RELATIONS}
    WHERE c.relkind NOT IN ('i', 'I') AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
        AND d.refobjsubid > 0))""",
    f"""
    SELECT {_KIND}, 'rights', '', c.oid::text, {
        _rights(
            "c.relacl", "acldefault((CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::" + '"char", c.relowner)'
        )
    } {_RELATIONS}
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')""",
    f"""
    SELECT {_KIND}, 'rights', quote_ident(a.attname), c.oid || '.' || a.attnum,
        {_rights("a.attacl", "NULL::aclitem[]")} {_COLUMNS} WHERE a.attacl IS NOT NULL""",
    f"""
    SELECT CASE p.prokind WHEN 'a' THEN 'AGGREGATE ' WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END ||
        (pg_identify_object('pg_proc'::regclass, p.oid, 0)).identity, w.kind, '', p.oid::text, w.values
    FROM pg_proc p, LATERAL (VALUES ('owner', ARRAY[pg_get_userbyid(p.proowner)]::text[]),
        ('rights', {_rights("p.proacl", "acldefault('f', p.proowner)")})) w (kind, values)
    WHERE p.pronamespace IN (SELECT oid FROM schemas) AND NOT EXISTS (SELECT FROM pg_depend e
        WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype IN ('e', 'i'))""",
    f"""
    SELECT CASE t.typtype WHEN 'd' THEN 'DOMAIN ' ELSE 'TYPE ' END || format_type(t.oid, NULL), w.kind, '',
        t.oid::text, w.values
    FROM pg_type t, LATERAL (VALUES ('owner', ARRAY[pg_get_userbyid(t.typowner)]::text[]),
        ('rights', {_rights("t.typacl", "acldefault('T', t.typowner)")})) w (kind, values)
    WHERE t.typnamespace IN (SELECT oid FROM schemas) AND t.typtype IN ('e', 'd', 'r', 'c', 'b')
        AND (t.typrelid = 0 OR t.typrelid IN (SELECT oid FROM relations WHERE relkind = 'c'))
        AND NOT EXISTS (SELECT FROM pg_type y WHERE y.typarray = t.oid) AND NOT EXISTS (SELECT FROM members e
            WHERE e.class = 'pg_type'::regclass AND e.oid = t.oid)""",
    f"""
    SELECT 'SCHEMA ' || quote_ident(n.nspname), w.kind, '', n.oid::text, w.values
    FROM pg_namespace n, LATERAL (VALUES ('owner', ARRAY[pg_get_userbyid(n.nspowner)]::text[]),
        ('rights', {_rights("n.nspacl", "acldefault('n', n.nspowner)")})) w (kind, values)
    WHERE n.oid IN (SELECT oid FROM schemas) AND NOT EXISTS (SELECT FROM members e
        WHERE e.class = 'pg_namespace'::regclass AND e.oid = n.oid)""",
    *(_owned(name, phrase, prefix) for name, (phrase, prefix) in _NAMES.items()),
    f"""
    SELECT {_KIND}, 'option', o.part, c.oid::text, ARRAY[o.value] {_RELATIONS} LEFT JOIN pg_class t
        ON t.oid = c.reltoastrelid, LATERAL (
        SELECT split_part(u, '=', 1) AS part, substring(u FROM '=(.*)') AS value FROM unnest(c.reloptions) u
        UNION ALL SELECT 'toast.' || split_part(u, '=', 1), substring(u FROM '=(.*)')
        FROM unnest(t.reloptions) u) o""",
    f"""
    SELECT {_KIND}, 'column option', quote_ident(a.attname) || '|' || split_part(u, '=', 1),
        c.oid || '.' || a.attnum, ARRAY[substring(u FROM '=(.*)')]
    {_COLUMNS}, unnest(a.attoptions) u WHERE u !~ '^pg_'""",
    f"""
    SELECT {_KIND}, 'column statistics', CASE WHEN c.relkind IN ('i', 'I') THEN a.attnum::text
        ELSE quote_ident(a.attname) END, c.oid || '.' || a.attnum, ARRAY[a.attstattarget::text]
    {_RELATIONS} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.attstattarget >= 0 AND c.relkind <> 'S'
        AND (c.relkind NOT IN ('i', 'I') OR a.attstattarget > 0)""",
    f"""
    SELECT {_KIND}, 'column default', quote_ident(a.attname), c.oid || '.' || a.attnum,
        ARRAY[pg_get_expr(d.adbin, d.adrelid)]
    {_COLUMNS} JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE c.relkind = 'v'""",
    f"""
    SELECT {_KIND}, 'storage', quote_ident(a.attname), c.oid || '.' || a.attnum, ARRAY[CASE a.attstorage
        WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END]
    {_COLUMNS} JOIN pg_type t ON t.oid = a.atttypid WHERE c.relkind IN ('r', 'p', 'm', 'f')
        AND t.typstorage <> 'p'""",
    f"""
    SELECT {_KIND}, 'compression', quote_ident(a.attname), c.oid || '.' || a.attnum,
        ARRAY[CASE to_jsonb(a) ->> 'attcompression' WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END]
    {_COLUMNS} WHERE to_jsonb(a) ->> 'attcompression' IN ('p', 'l')""",
    f"""
    SELECT {_KIND}, 'replica', '', c.oid::text, ARRAY[CASE c.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN
        'NOTHING' WHEN 'd' THEN 'DEFAULT' ELSE COALESCE((SELECT 'USING INDEX ' || quote_ident(i.relname)
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid
        AND x.indisreplident), 'NOTHING') END]
    {_RELATIONS} WHERE c.relkind IN ('r', 'p', 'm')""",
    f"""
    SELECT {_KIND}, 'cluster', '', c.oid::text, ARRAY[quote_ident(i.relname)]
    {_RELATIONS} JOIN pg_index x ON x.indrelid = c.oid AND x.indisclustered
    JOIN pg_class i ON i.oid = x.indexrelid""",
    f"""
    SELECT {_KIND}, 'stored', '', c.oid::text, ARRAY['UNLOGGED']
    {_RELATIONS} WHERE c.relkind = 'r' AND c.relpersistence = 'u'""",
    f"""
    SELECT {_KIND}, 'rule', quote_ident(x.rulename), c.oid || '.' || x.oid,
        ARRAY[CASE x.ev_enabled WHEN 'D' THEN
        'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END]
    {_RELATIONS} JOIN pg_rewrite x ON x.ev_class = c.oid AND x.ev_enabled <> 'O'""",
    """
    SELECT 'STATISTICS ' || (pg_identify_object('pg_statistic_ext'::regclass, x.oid, 0)).identity,
        'statistics', '', x.oid::text, ARRAY[x.stxstattarget::text]
    FROM pg_statistic_ext x WHERE x.stxstattarget >= 0 AND x.stxnamespace IN (SELECT oid FROM schemas)""",
    f"""
    SELECT {_KIND}, 'not null', quote_ident(a.attname), c.oid::text, ARRAY[k.conname]::text[]
    {_COLUMNS} JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'n'
        AND k.conkey = ARRAY[a.attnum]""",
    """
    SELECT CASE WHEN f.type IN ('function', 'procedure', 'trigger', 'materialized view', 'index')
        THEN f.type || '|' || f.identity END, 'extension', quote_ident(e.extname), d.objid::text,
        ARRAY['yes']
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid,
        pg_identify_object(d.classid, d.objid, d.objsubid) f
    WHERE d.deptype = 'x' AND d.refclassid = 'pg_extension'::regclass
        AND f.type IN ('function', 'procedure', 'trigger', 'materialized view', 'index')""",
)
_DRESSING = BEGIN + "\nUNION ALL\n".join(_PARTS)
_OWNER = "SELECT pg_get_userbyid(b.datdba) FROM pg_catalog.pg_database b WHERE b.datname = current_database()"
_OF_DATABASE = "pg_database_owner"
_PHRASES = {
    "domain constraint": "CONSTRAINT",
    "table constraint": "CONSTRAINT",
    "statistics object": "STATISTICS",
    "composite type": "TYPE",
    "foreign-data wrapper": "FOREIGN DATA WRAPPER",
}


async def dressing(connection: Connection) -> Dressing:
    """Everything that the user's things wear, inside the caller's transaction if there is one."""
    async with names_qualified(connection):
        rows = await connection.fetch(_DRESSING)
        owner = await connection.fetchval(_OWNER)
    return {
        Aspect(_phrase(name), kind, part): Worn(made, tuple(_owners(kind, values, owner)))
        for name, kind, part, made, values in rows
    }


def _owners(kind: str, values: Sequence[str], owner: str) -> Iterator[str]:
    """The values, with the database's owner, who has another name in another database, as such."""
    for value in values:
        role, bar, rest = value.partition("|")
        yield OWNER + bar + rest if kind in ("owner", "rights", "given") and role == owner else value


async def dress(connection: Connection, wanted: Dressing) -> tuple[str, ...]:
    """Dress the database as another one is, with the roles that its server has; what could not be put on.

    Things that only one of them has stay as they are.
    """
    now, wanted = _of_owner(await dressing(connection)), _of_owner(wanted)
    there = await roles(connection)
    made = {aspect.object for aspect in now} & {aspect.object for aspect in wanted}
    left: list[str] = []
    for statement in fixes(with_roles(now, there), with_roles(wanted, there), made):
        try:
            async with connection.transaction():
                await connection.execute(statement)
        except asyncpg.PostgresError as error:
            left.append(f"{statement}: {words(error, statement)}")
    return tuple(left)


async def roles(connection: Connection) -> frozenset[str]:
    """The names of the server's roles."""
    found = await connection.fetch("SELECT rolname FROM pg_catalog.pg_roles")
    return frozenset(row["rolname"] for row in found)


def _of_owner(worn: Dressing) -> Dressing:
    """With the database's owner under one name, also where he has what is his as `pg_database_owner`.

    Else staging's would lose the schema that production's got by ALTER SCHEMA … OWNER TO.
    """
    return {
        aspect: Worn(each.made, tuple(_owners(aspect.kind, each.values, _OF_DATABASE)))
        for aspect, each in worn.items()
    }


def with_roles(worn: Dressing, there: frozenset[str]) -> Dressing:
    """The part that needs no other roles than these."""
    known = there | {PUBLIC, OWNER}
    found: dict[Aspect, Worn] = {}
    for aspect, each in worn.items():
        if aspect.kind in ("rights", "given"):
            found[aspect] = Worn(each.made, tuple(v for v in each.values if v.split("|")[0] in known))
        elif roles_of(aspect, each) <= there:
            found[aspect] = each
    return found


def _phrase(name: str) -> str:
    """How SQL names a thing of which PostgreSQL says kind and name."""
    kind, bar, identity = name.partition("|")
    if not bar:
        return name
    if kind.endswith(" column"):
        return f"COLUMN {identity}"
    if kind == "domain constraint":
        constraint, _, domain = identity.rpartition(" on ")
        return f"CONSTRAINT {constraint} ON DOMAIN {domain}"
    return f"{_PHRASES.get(kind, kind.upper())} {identity}"
