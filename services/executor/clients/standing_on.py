"""Queries of PostgreSQL's catalogues: on which things views and functions stand, how an aggregate is made."""

_KIND = "CASE {0}.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END"
_ROUTINE = "CASE {0}.prokind WHEN 'a' THEN 'aggregate' ELSE 'function' END"
STANDING_ON = f"""
    WITH standing AS MATERIALIZED (
        SELECT ARRAY[{_KIND.format("c")}, n.nspname, '', c.relname, ''] AS thing, d.refclassid, d.refobjid,
            d.refobjsubid, c.oid AS self
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN'
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        UNION ALL
        SELECT ARRAY['table', n.nspname, '', c.relname, ''], 'pg_class'::regclass, i.inhparent, 0, c.oid
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind IN ('r', 'p', 'f')
        JOIN pg_namespace n ON n.oid = c.relnamespace
        UNION ALL
        SELECT ARRAY[{_ROUTINE.format("p")}, n.nspname, '', p.proname,
            pg_get_function_identity_arguments(p.oid)], d.refclassid, d.refobjid, d.refobjsubid, p.oid
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    )
    SELECT DISTINCT s.thing, b.below FROM standing s, LATERAL (
        SELECT CASE WHEN a.attnum IS NULL THEN ARRAY[{_KIND.format("t")}, m.nspname, '', t.relname, '']
            ELSE ARRAY['column', m.nspname, t.relname, a.attname, ''] END AS below
        FROM pg_class t JOIN pg_namespace m ON m.oid = t.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = s.refobjsubid AND a.attnum > 0
            AND t.relkind NOT IN ('v', 'm')
        WHERE s.refclassid = 'pg_class'::regclass AND t.oid = s.refobjid AND t.oid <> s.self
        UNION ALL
        SELECT ARRAY[{_KIND.format("t")}, m.nspname, '', t.relname, '']
        FROM pg_type y JOIN pg_type e ON e.oid = COALESCE(NULLIF(y.typelem, 0), y.oid)
        JOIN pg_class t ON t.oid = e.typrelid AND t.relkind <> 'c'
        JOIN pg_namespace m ON m.oid = t.relnamespace
        WHERE s.refclassid = 'pg_type'::regclass AND y.oid = s.refobjid AND t.oid <> s.self
        UNION ALL
        SELECT ARRAY['enum', m.nspname, '', e.typname, '']
        FROM pg_type y JOIN pg_type e ON e.oid = COALESCE(NULLIF(y.typelem, 0), y.oid) AND e.typtype = 'e'
        JOIN pg_namespace m ON m.oid = e.typnamespace
        WHERE s.refclassid = 'pg_type'::regclass AND y.oid = s.refobjid
        UNION ALL
        SELECT ARRAY[{_ROUTINE.format("p")}, m.nspname, '', p.proname,
            pg_get_function_identity_arguments(p.oid)]
        FROM pg_proc p JOIN pg_namespace m ON m.oid = p.pronamespace
        WHERE s.refclassid = 'pg_proc'::regclass AND p.oid = s.refobjid AND p.oid <> s.self
    ) b
"""
"""Columns `thing` and `below`, both as the fields of a `Thing`; run it with an empty search path."""


def _said(word: str, column: str) -> str:
    return f"'{word} = ' || NULLIF(g.{column}, 0)::regproc"


_MODIFYING = "CASE {0} WHEN 'r' THEN 'READ_ONLY' WHEN 's' THEN 'SHAREABLE' ELSE 'READ_WRITE' END"
AGGREGATE = f"""format('CREATE AGGREGATE %I.%I(%s) (%s)', n.nspname, p.proname,
    COALESCE(NULLIF(pg_get_function_identity_arguments(p.oid), ''), '*'), concat_ws(', ',
    'SFUNC = ' || g.aggtransfn::regproc, 'STYPE = ' || format_type(g.aggtranstype, NULL),
    'SSPACE = ' || NULLIF(g.aggtransspace, 0), {_said("FINALFUNC", "aggfinalfn")},
    CASE WHEN g.aggfinalextra THEN 'FINALFUNC_EXTRA' END,
    CASE WHEN g.aggfinalfn <> 0 THEN 'FINALFUNC_MODIFY = ' || {_MODIFYING.format("g.aggfinalmodify")} END,
    {_said("COMBINEFUNC", "aggcombinefn")}, {_said("SERIALFUNC", "aggserialfn")},
    {_said("DESERIALFUNC", "aggdeserialfn")}, 'INITCOND = ' || quote_literal(g.agginitval),
    {_said("MSFUNC", "aggmtransfn")}, {_said("MINVFUNC", "aggminvtransfn")},
    'MSTYPE = ' || format_type(NULLIF(g.aggmtranstype, 0), NULL), 'MSSPACE = ' || NULLIF(g.aggmtransspace, 0),
    {_said("MFINALFUNC", "aggmfinalfn")}, CASE WHEN g.aggmfinalextra THEN 'MFINALFUNC_EXTRA' END,
    CASE WHEN g.aggmfinalfn <> 0 THEN 'MFINALFUNC_MODIFY = ' || {_MODIFYING.format("g.aggmfinalmodify")} END,
    'MINITCOND = ' || quote_literal(g.aggminitval), (SELECT format('SORTOP = OPERATOR(%I.%s)', m.nspname,
        o.oprname) FROM pg_operator o JOIN pg_namespace m ON m.oid = o.oprnamespace
        WHERE o.oid = g.aggsortop),
    CASE WHEN g.aggkind = 'h' THEN 'HYPOTHETICAL' END,
    CASE p.proparallel WHEN 's' THEN 'PARALLEL = SAFE' WHEN 'r' THEN 'PARALLEL = RESTRICTED' END))"""
"""How the aggregate `p`, `g` of the schema `n` is made: an expression."""
