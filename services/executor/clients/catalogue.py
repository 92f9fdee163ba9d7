"""What PostgreSQL's catalogues say of a schema, as lines that depend on neither oids nor order of making."""

from collections.abc import Collection, Sequence

from shared.sql.names import literal

# Not ours to compare: PostgreSQL's own schemas, our fence, and what belongs to an extension.
NOT_OURS = """
    n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'upgradepath')
"""


PEOPLES_TRIGGER = """
    (NOT {0}.tgisinternal OR {0}.tgparentid <> 0 AND NOT EXISTS (SELECT FROM pg_constraint made
        WHERE made.oid = {0}.tgconstraint AND made.contype = 'f'))
"""
"""A trigger that somebody wrote, or one that a partition has from it: before PostgreSQL 15 those count as
internal."""


def without(query: str, schemas: Sequence[str]) -> str:
    """The query of ours, which asks nothing of these schemas either."""
    if not schemas:
        return query
    return query.replace(NOT_OURS, f"{NOT_OURS} AND n.nspname NOT IN ({', '.join(map(literal, schemas))})")


def not_extension(catalogue: str, alias: str) -> str:
    return (
        f"NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{catalogue}'::regclass"
        f" AND d.objid = {alias}.oid AND d.deptype = 'e')"
    )


_RELATION = f"{NOT_OURS} AND c.relname <> '_prisma_migrations' AND {not_extension('pg_class', 'c')}"

_PARTS: tuple[tuple[str, str], ...] = (
    (
        "pg_namespace",
        f"""
    SELECT format('schema %I', n.nspname) AS line FROM pg_namespace n
    WHERE {NOT_OURS} AND {not_extension("pg_namespace", "n")}
    """,
    ),
    (
        "pg_extension",
        """
    SELECT format('extension %I in %I', e.extname, n.nspname)
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql'
    """,
    ),
    (
        "pg_class",
        f"""
    SELECT format('%s %I.%I %s rls=%s/%s', CASE c.relkind WHEN 'p' THEN 'partitioned table' WHEN 'f' THEN
        'foreign table' ELSE 'table' END, n.nspname, c.relname, concat_ws(' ', c.relpersistence,
        pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
        (SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.inhseqno)
         FROM pg_inherits i WHERE i.inhrelid = c.oid)), c.relrowsecurity, c.relforcerowsecurity)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f') AND {_RELATION}
    """,
    ),
    (
        "pg_class",
        f"""
    SELECT format('column %I.%I.%I %s null=%s default=%s identity=%s generated=%s collation=%s',
        n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
        pg_get_expr(f.adbin, f.adrelid), a.attidentity, a.attgenerated,
        CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef f ON f.adrelid = c.oid AND f.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f', 'c') AND {_RELATION}
    """,
    ),
    # From PostgreSQL 18 on NOT NULL has rows of its own ('n'); of most the column's line says it already.
    (
        "pg_constraint",
        f"""
    SELECT format('constraint %I.%I.%I %s validated=%s', n.nspname, c.relname, k.conname,
        pg_get_constraintdef(k.oid), k.convalidated)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype <> 't' AND (k.contype <> 'n' OR NOT k.convalidated OR k.connoinherit) AND {_RELATION}
    """,
    ),
    (
        "pg_class",
        f"""
    SELECT format('index %s valid=%s', pg_get_indexdef(i.indexrelid), i.indisvalid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {_RELATION}
    """,
    ),
    (
        "pg_trigger",
        f"""
    SELECT format('trigger %s enabled=%s', pg_get_triggerdef(g.oid), g.tgenabled)
    FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT g.tgisinternal AND {_RELATION}
    """,
    ),
    (
        "pg_rewrite",
        f"""
    SELECT format('rule %s', pg_get_ruledef(r.oid))
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE r.rulename <> '_RETURN' AND {_RELATION}
    """,
    ),
    (
        "pg_policy",
        f"""
    SELECT format('policy %I.%I.%I %s %s roles=%s using=%s check=%s', n.nspname, c.relname, p.polname,
        p.polcmd, p.polpermissive,
        (SELECT string_agg(r::regrole::text, ',' ORDER BY r::regrole::text) FROM unnest(p.polroles) r),
        pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {_RELATION}
    """,
    ),
    (
        "pg_statistic_ext",
        f"""
    SELECT format('statistics %s', pg_get_statisticsobjdef(s.oid))
    FROM pg_statistic_ext s JOIN pg_class c ON c.oid = s.stxrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {_RELATION}
    """,
    ),
    (
        "pg_class",
        f"""
    SELECT format('%s %I.%I%s %s', CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END,
        n.nspname, c.relname,
        ' with (' || (SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(c.reloptions) o) || ')',
        pg_get_viewdef(c.oid))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm') AND {_RELATION}
    """,
    ),
    (
        "pg_sequence",
        f"""
    SELECT format('sequence %I.%I %s start=%s by=%s min=%s max=%s cache=%s cycle=%s owner=%s', n.nspname,
        c.relname, format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
        s.seqcycle, (SELECT o.refobjid::regclass::text || '.' || a.attname FROM pg_depend o
            JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
            WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.deptype IN ('a', 'i')
            AND o.refobjsubid > 0))
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {_RELATION}
    """,
    ),
    (
        "pg_proc",
        f"""
    SELECT 'function ' || CASE WHEN p.prokind = 'a'
        THEN format('aggregate %s -> %s', p.oid::regprocedure, format_type(p.prorettype, NULL))
        ELSE pg_get_functiondef(p.oid) END
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE {NOT_OURS} AND {not_extension("pg_proc", "p")}
    """,
    ),
    (
        "pg_type",
        f"""
    SELECT format('enum %I.%I %s', n.nspname, t.typname,
        (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder)
         FROM pg_enum e WHERE e.enumtypid = t.oid))
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype = 'e' AND {NOT_OURS} AND {not_extension("pg_type", "t")}
    """,
    ),
    (
        "pg_type",
        f"""
    SELECT format('domain %I.%I %s null=%s default=%s %s', n.nspname, t.typname,
        format_type(t.typbasetype, t.typtypmod), NOT t.typnotnull, t.typdefault,
        (SELECT string_agg(k.conname || ' ' || pg_get_constraintdef(k.oid), ',' ORDER BY k.conname)
         FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'))
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype = 'd' AND {NOT_OURS} AND {not_extension("pg_type", "t")}
    """,
    ),
    (
        "pg_range",
        f"""
    SELECT format('range %I.%I %s', n.nspname, t.typname, format_type(r.rngsubtype, NULL))
    FROM pg_range r JOIN pg_type t ON t.oid = r.rngtypid JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE {NOT_OURS} AND {not_extension("pg_type", "t")}
    """,
    ),
)


def description(filled: Collection[str]) -> str:
    """One query, one text column `line`; run it with an empty search path.

    `filled` are the catalogues that have rows of users: nothing is asked of others, as most of the time goes
    into planning.
    """
    return "\nUNION ALL\n".join(part for catalogue, part in _PARTS if catalogue in filled)
