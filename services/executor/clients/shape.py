"""A schema as single things with their definitions, so that one can be led back to another."""

from services.executor.clients.catalogue import NOT_OURS, not_extension
from services.executor.clients.postgres import Connection, names_qualified
from services.executor.clients.standing_on import AGGREGATE, STANDING_ON
from services.executor.domain.things import Definition, Shape, Thing

_RELATION = f"{NOT_OURS} AND c.relname <> '_prisma_migrations' AND {not_extension('pg_class', 'c')}"
_NUMBERED = """format('START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s %s', s.seqstart, s.seqincrement,
        s.seqmin, s.seqmax, s.seqcache, CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END)"""
# Columns: kind, schema, table, name, arguments, sql, type, not_null, default, labels, inherited.
_THINGS = f"""
    SELECT 'schema' AS kind, '' AS schema, '' AS "table", n.nspname AS name, '' AS arguments,
        format('CREATE SCHEMA %I', n.nspname) AS sql, '' AS type, false AS not_null, NULL AS "default",
        '{{}}'::text[] AS labels, false AS inherited
    FROM pg_namespace n WHERE {NOT_OURS} AND n.nspname <> 'public' AND {not_extension("pg_namespace", "n")}
    UNION ALL
    SELECT 'extension', '', '', e.extname, '', format('CREATE EXTENSION %I SCHEMA %I', e.extname,
        n.nspname),
        '', false, NULL, '{{}}',
        false
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql'
    UNION ALL
    SELECT 'table', n.nspname, '', c.relname, '', concat_ws(' ', CASE WHEN NOT c.relispartition THEN
        (SELECT format('INHERITS (%s)', string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno))
            FROM pg_inherits i WHERE i.inhrelid = c.oid HAVING count(*) > 0) END,
        'PARTITION BY ' || pg_get_partkeydef(c.oid)),
        CASE WHEN c.relispartition THEN (SELECT i.inhparent::regclass::text FROM pg_inherits i
            WHERE i.inhrelid = c.oid) ELSE '' END, false, pg_get_expr(c.relpartbound, c.oid), ARRAY[
        format('ALTER TABLE %I.%I %s ROW LEVEL SECURITY', n.nspname, c.relname,
            CASE WHEN c.relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END),
        format('ALTER TABLE %I.%I %s ROW LEVEL SECURITY', n.nspname, c.relname,
            CASE WHEN c.relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END)],
        false
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f') AND {_RELATION}
    UNION ALL
    SELECT 'column', n.nspname, c.relname, a.attname, '', concat_ws(' ', format('%I', a.attname),
        format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END,
        CASE WHEN a.attgenerated <> '' THEN format('GENERATED ALWAYS AS (%s) %s',
            pg_get_expr(d.adbin, d.adrelid), CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
        WHEN a.attidentity <> '' THEN format('GENERATED %s AS IDENTITY (SEQUENCE NAME %s %s)',
            CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, s.name, s.options)
        WHEN d.adbin IS NOT NULL THEN 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END,
        CASE WHEN a.attnotnull THEN 'NOT NULL' END), format_type(a.atttypid, a.atttypmod), a.attnotnull,
        CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
        CASE WHEN a.attidentity <> '' THEN ARRAY[CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT'
            END, format('SEQUENCE NAME %s %s', s.name, s.options),
            regexp_replace(s.options, '(START|INCREMENT|MINVALUE|MAXVALUE|CACHE|NO CYCLE|CYCLE)', 'SET \\1',
            'g')]
        ELSE '{{}}' END,
        a.attinhcount > 0 AND NOT a.attislocal
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    LEFT JOIN LATERAL (SELECT q.oid::regclass AS name, {_NUMBERED} AS options FROM pg_depend o
        JOIN pg_class q ON q.oid = o.objid JOIN pg_sequence s ON s.seqrelid = q.oid
        WHERE o.classid = 'pg_class'::regclass AND o.refobjid = c.oid AND o.refobjsubid = a.attnum
        AND o.deptype = 'i' LIMIT 1) s ON true
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f') AND {_RELATION}
    UNION ALL
    SELECT CASE k.contype WHEN 'f' THEN 'foreign key' ELSE 'constraint' END, n.nspname, c.relname,
        k.conname, '',
        format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname,
            pg_get_constraintdef(k.oid)), '', false, NULL, '{{}}',
        k.coninhcount > 0 AND NOT k.conislocal
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype NOT IN ('n', 't') AND k.conparentid = 0 AND {_RELATION}
    UNION ALL
    SELECT CASE c.relkind WHEN 'm' THEN 'view index' ELSE 'index' END, n.nspname, c.relname, i.relname, '',
        replace(pg_get_indexdef(x.indexrelid), ' ON ONLY ', ' ON '), '', false, NULL,
        '{{}}',
        false
    FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class i ON i.oid = x.indexrelid
    WHERE {_RELATION} AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.indexrelid
        AND k.contype IN ('p', 'u', 'x')) AND NOT i.relispartition
    UNION ALL
    SELECT 'trigger', n.nspname, c.relname, g.tgname, '', concat_ws('; ', pg_get_triggerdef(g.oid),
        CASE WHEN g.tgenabled <> 'O' THEN format('ALTER TABLE %I.%I %s TRIGGER %I', n.nspname, c.relname,
            CASE g.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END,
            g.tgname) END), '', false, NULL, '{{}}',
        false
    FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND {_RELATION}
    UNION ALL
    SELECT 'rule', n.nspname, c.relname, r.rulename, '', rtrim(pg_get_ruledef(r.oid), ';'), '', false, NULL,
        '{{}}',
        false
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE r.rulename <> '_RETURN' AND {_RELATION}
    UNION ALL
    SELECT 'statistics', n.nspname, c.relname, s.stxname, '', pg_get_statisticsobjdef(s.oid), '', false, NULL,
        '{{}}',
        false
    FROM pg_statistic_ext s JOIN pg_class c ON c.oid = s.stxrelid
    JOIN pg_namespace n ON n.oid = s.stxnamespace
    WHERE {_RELATION}
    UNION ALL
    SELECT 'policy', n.nspname, c.relname, p.polname, '', format('CREATE POLICY %I
        ON %I.%I AS %s FOR %s%s%s%s',
        p.polname, n.nspname, c.relname, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
        CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
            WHEN 'd' THEN 'DELETE'
        ELSE 'ALL' END, (SELECT ' TO ' || string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE
            quote_ident(pg_get_userbyid(r)) END, ', ' ORDER BY pg_get_userbyid(r)) FROM unnest(p.polroles) r),
        ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
        ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'), '', false, NULL, '{{}}',
        false
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {_RELATION}
    UNION ALL
    SELECT CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, n.nspname, '', c.relname, '',
        format('CREATE %s %I.%I AS %s', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END,
            n.nspname, c.relname, rtrim(pg_get_viewdef(c.oid), ';')), '', false, NULL, '{{}}',
        false
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm')
        AND {_RELATION}
    UNION ALL
    SELECT 'sequence', n.nspname, '', c.relname, '', format('CREATE SEQUENCE %I.%I %s', n.nspname, c.relname,
        o.options), '', false, NULL, ARRAY[o.options] || CASE WHEN s.seqincrement > 0
            THEN ARRAY['max', 'GREATEST', s.seqmin::text] ELSE ARRAY['min', 'LEAST', s.seqmax::text] END
        || COALESCE((SELECT ARRAY[tn.nspname, t.relname, a.attname]::text[] FROM pg_depend w
            JOIN pg_class t ON t.oid = w.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
            JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = w.refobjsubid
            WHERE w.classid = 'pg_class'::regclass AND w.objid = c.oid AND w.deptype = 'a'
            AND w.refobjsubid > 0), '{{}}'),
        false
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
    LATERAL (SELECT format('AS %s %s', format_type(s.seqtypid, NULL), {_NUMBERED}) AS options) o
    WHERE {_RELATION} AND NOT EXISTS (SELECT FROM pg_depend w WHERE w.classid = 'pg_class'::regclass
        AND w.objid = c.oid AND w.deptype = 'i' AND w.refobjsubid > 0)
    UNION ALL
    SELECT CASE p.prokind WHEN 'a' THEN 'aggregate' ELSE 'function' END, n.nspname, '', p.proname,
        pg_get_function_identity_arguments(p.oid),
        CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE {AGGREGATE} END, '', false, NULL,
        '{{}}',
        false
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    LEFT JOIN pg_aggregate g ON g.aggfnoid = p.oid WHERE {NOT_OURS}
        AND {not_extension("pg_proc", "p")}
    UNION ALL
    SELECT 'enum', n.nspname, '', t.typname, '', format('CREATE TYPE %I.%I AS ENUM (%s)', n.nspname,
        t.typname,
        (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
         FROM pg_enum e WHERE e.enumtypid = t.oid)), '', false, NULL,
        ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
        false
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype = 'e' AND {NOT_OURS} AND {not_extension("pg_type", "t")}
    UNION ALL
    SELECT 'domain', n.nspname, '', t.typname, '', concat_ws(' ', format('CREATE DOMAIN %I.%I AS %s',
        n.nspname,
        t.typname, format_type(t.typbasetype, t.typtypmod)), 'DEFAULT ' || t.typdefault,
        CASE WHEN t.typnotnull THEN 'NOT NULL' END, (SELECT string_agg(format('CONSTRAINT %I %s', k.conname,
        pg_get_constraintdef(k.oid)), ' ' ORDER BY k.conname) FROM pg_constraint k
        WHERE k.contypid = t.oid AND k.contype = 'c')), '', false, NULL, '{{}}',
        false
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype = 'd' AND {NOT_OURS} AND {not_extension("pg_type", "t")}
    UNION ALL
    SELECT 'composite', n.nspname, '', c.relname, '', format('CREATE TYPE %I.%I AS (%s)', n.nspname,
        c.relname,
        (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ',
            ' ORDER BY a.attnum)
         FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)), '',
             false, NULL,
        '{{}}',
        false
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'c' AND {_RELATION}
"""


async def shape(connection: Connection) -> Shape:
    """Everything in the user's schemas, with every name qualified."""
    async with names_qualified(connection):
        rows = await connection.fetch(_THINGS)
        standing = await connection.fetch(STANDING_ON)
    below: dict[Thing, set[Thing]] = {}
    for row in standing:
        below.setdefault(Thing(*row["thing"]), set()).add(Thing(*row["below"]))
    found: dict[Thing, Definition] = {}
    for row in rows:
        thing = Thing(row["kind"], row["schema"], row["table"], row["name"], row["arguments"])
        found[thing] = Definition(
            row["sql"],
            row["type"],
            row["not_null"],
            row["default"],
            tuple(row["labels"]),
            row["inherited"],
            frozenset(below.get(thing, ())),
        )
    return found
