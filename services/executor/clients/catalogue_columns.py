"""What the rows of PostgreSQL's catalogues are read as: what is left out, and how the rest is written."""

COLUMNS = """
    SELECT c.relname AS catalogue, a.attname AS name, format_type(a.atttypid, NULL) AS type
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND NOT c.relisshared
        AND a.attnum > 0 AND NOT a.attisdropped
        AND has_column_privilege(c.oid, a.attnum, 'SELECT')
    ORDER BY c.relname, a.attnum
"""
"""The catalogues of one database that the role may read, with their columns."""
REFERENCES = """
    SELECT k.fktable::regclass::text AS catalogue, k.fkcols[1] AS name, k.pktable::regclass::text AS of
    FROM pg_catalog.pg_get_catalog_foreign_keys() k WHERE cardinality(k.fkcols) = 1
"""
"""Which column refers to which catalogue."""
TELLS_REFERENCES = "SELECT to_regproc('pg_catalog.pg_get_catalog_foreign_keys') IS NOT NULL"
"""From PostgreSQL 14 on."""


def role(number: str) -> str:
    """SQL for the name of the role with that number; databases with owners of other names are alike."""
    return (
        f"CASE {number} WHEN 0 THEN 'public' WHEN (SELECT b.owner FROM base b) THEN '(database owner)'"
        f" ELSE quote_ident(pg_get_userbyid({number})) END"
    )


NOT_READ = {
    "pg_largeobject": "rows",
    "pg_largeobject_metadata": "rows: an app makes large objects as it makes rows",
    "pg_statistic": "what ANALYZE has counted",
    "pg_statistic_ext_data": "what ANALYZE has counted",
    "pg_init_privs": "what extensions began with",
    "pg_subscription_rel": "how far a subscription has come",
    "pg_enum": "an enum's line has its labels in their order",
    "pg_depend": "follows from everything else",
}
"""Catalogues of which no row is a migration's, and why."""
# Numbers that change by themselves, places in tables, what another column or the definition says, and which
# encodings a collation is for: a copy of "C" is for all of them, and for the database's after a restore.
_LEFT_OUT = """
    relname relnamespace reltype relfilenode relpages reltuples relallvisible relallfrozen reltoastrelid
    relhasindex relisshared relnatts relchecks relhasrules relhastriggers relhassubclass relrewrite
    relfrozenxid relminmxid
    attrelid attname attlen attnum attndims attbyval attalign attcacheoff atthasdef atthasmissing
    attmissingval attisdropped atttypmod adrelid adnum
    conname connamespace conrelid contypid conindid conkey confkey conbin confdelsetcols conpfeqop
    conppeqop conffeqop conexclop
    indexrelid indrelid indnatts indnkeyatts indkey indcollation indclass indoption indexprs indpred
    indcheckxmin indislive
    tgrelid tgname tgtype tgisinternal tgconstraint tgconstrindid tgattr tgargs tgqual tgnargs
    rulename ev_class ev_type is_instead ev_qual ev_action polname polrelid
    proname pronamespace pronargs proargtypes proargdefaults prosqlbody prosrc
    typname typnamespace typrelid typarray typdefaultbin
    stxname stxnamespace stxrelid stxkeys stxkind stxexprs
    partrelid partnatts partattrs partclass partcollation partexprs
    seqrelid inhrelid ftrelid rngtypid aggfnoid mapcfg extconfig extcondition collversion collencoding
    objoid classoid objsubid classid objid refclassid refobjid refobjsubid deptype oid
"""
OMITTED = frozenset(_LEFT_OUT.split())
WRITTEN = {
    "atttypid": "format_type(x.atttypid, x.atttypmod)",
    # A server may keep numbers of its own there (pg_attver in Debian's 15.20).
    "attoptions": "(SELECT array_agg(o ORDER BY o) FROM unnest(x.attoptions) o WHERE o !~ '^pg_')",
    "attstattarget": "NULLIF(x.attstattarget, -1)",
    "stxstattarget": "NULLIF(x.stxstattarget, -1)",
    # No key says NO INHERIT: a restore attaches a partition's key afterwards, and leaves another flag there.
    "connoinherit": "NULLIF(x.connoinherit AND x.contype IN ('c', 'n'), false)",
    "adbin": "pg_get_expr(x.adbin, x.adrelid)",
    "relpartbound": "pg_get_expr(x.relpartbound, x.oid)",
    "polqual": "pg_get_expr(x.polqual, x.polrelid)",
    "polwithcheck": "pg_get_expr(x.polwithcheck, x.polrelid)",
    "prqual": "pg_get_expr(x.prqual, x.prrelid)",
    "prattrs": "(SELECT array_agg(a.attname ORDER BY a.attname) FROM pg_attribute a"
    " WHERE a.attrelid = x.prrelid AND a.attnum = ANY (x.prattrs))",
    # The owner of an index is its table's.
    "relowner": "CASE WHEN x.relkind NOT IN ('i', 'I') THEN " + role("x.relowner") + " END",
    "polroles": f"(SELECT array_agg({role('r')} ORDER BY {role('r')}) FROM unnest(x.polroles) r)",
    # Values may be secrets.
    "umoptions": "(SELECT array_agg(split_part(o, '=', 1) ORDER BY o) FROM unnest(x.umoptions) o)",
}
MORE = {
    "pg_class": {
        "toast": "(SELECT array_to_string(t.reloptions, ',') FROM pg_class t WHERE t.oid = x.reltoastrelid)"
    },
    "pg_attribute": {
        "place": "CASE WHEN r.relkind = 'c' THEN x.attnum - (SELECT count(*) FROM pg_attribute b WHERE"
        " b.attrelid = x.attrelid AND b.attisdropped AND b.attnum < x.attnum) END"
    },
    "pg_constraint": {"definition": "pg_get_constraintdef(x.oid)"},
    "pg_trigger": {"definition": "CASE WHEN NOT x.tgisinternal THEN pg_get_triggerdef(x.oid) END"},
    "pg_rewrite": {"definition": "pg_get_ruledef(x.oid)"},
    "pg_proc": {"definition": "CASE WHEN x.prokind <> 'a' THEN md5(pg_get_functiondef(x.oid)) END"},
    "pg_index": {"definition": "pg_get_indexdef(x.indexrelid)"},
    "pg_statistic_ext": {"definition": "pg_get_statisticsobjdef(x.oid)"},
}
SPELLED = {
    "pg_class": "regclass", "pg_proc": "regprocedure", "pg_namespace": "regnamespace",
    "pg_operator": "regoperator", "pg_collation": "regcollation", "pg_ts_config": "regconfig",
    "pg_ts_dict": "regdictionary",
}  # fmt: skip
# For whom there is no function to ask; the rest of 13's columns are of types that print themselves.
_OF_13 = """
    relnamespace:pg_namespace relowner:pg_authid relam:pg_am reltablespace:pg_tablespace reloftype:pg_type
    atttypid:pg_type attcollation:pg_collation confrelid:pg_class conparentid:pg_constraint
    tgfoid:pg_proc tgparentid:pg_trigger tgconstrrelid:pg_class polroles:pg_authid inhparent:pg_class
    proowner:pg_authid prolang:pg_language provariadic:pg_type prorettype:pg_type proallargtypes:pg_type
    protrftypes:pg_type typowner:pg_authid typelem:pg_type typbasetype:pg_type typcollation:pg_collation
    stxowner:pg_authid partdefid:pg_class ftserver:pg_foreign_server seqtypid:pg_type rngsubtype:pg_type
    rngcollation:pg_collation rngsubopc:pg_opclass aggsortop:pg_operator aggtranstype:pg_type
    aggmtranstype:pg_type mapdict:pg_ts_dict amopfamily:pg_opfamily amoplefttype:pg_type
    amoprighttype:pg_type amopopr:pg_operator amopmethod:pg_am amopsortfamily:pg_opfamily
    amprocfamily:pg_opfamily amproclefttype:pg_type amprocrighttype:pg_type castsource:pg_type
    casttarget:pg_type castfunc:pg_proc collnamespace:pg_namespace collowner:pg_authid
    conowner:pg_authid defaclrole:pg_authid defaclnamespace:pg_namespace evtowner:pg_authid
    evtfoid:pg_proc extowner:pg_authid extnamespace:pg_namespace fdwowner:pg_authid fdwhandler:pg_proc
    fdwvalidator:pg_proc srvowner:pg_authid srvfdw:pg_foreign_data_wrapper lanowner:pg_authid
    lanplcallfoid:pg_proc laninline:pg_proc lanvalidator:pg_proc nspowner:pg_authid opcmethod:pg_am
    opcowner:pg_authid opcfamily:pg_opfamily opcintype:pg_type opckeytype:pg_type opfmethod:pg_am
    opfowner:pg_authid oprowner:pg_authid oprleft:pg_type oprright:pg_type oprresult:pg_type
    oprcom:pg_operator oprnegate:pg_operator pubowner:pg_authid prpubid:pg_publication prrelid:pg_class
    cfgowner:pg_authid cfgparser:pg_ts_parser dictowner:pg_authid dicttemplate:pg_ts_template
    trftype:pg_type trflang:pg_language umuser:pg_authid umserver:pg_foreign_server
    opcnamespace:pg_namespace opfnamespace:pg_namespace oprnamespace:pg_namespace
    pronamespace:pg_namespace typnamespace:pg_namespace stxnamespace:pg_namespace
    cfgnamespace:pg_namespace dictnamespace:pg_namespace prsnamespace:pg_namespace
    tmplnamespace:pg_namespace connamespace:pg_namespace
"""
REFERENCES_13 = dict(each.split(":") for each in _OF_13.split())
RIGHTS_OF = {
    "relacl": "(CASE x.relkind WHEN 'S' THEN 's' ELSE 'r' END)::\"char\", x.relowner",
    "attacl": "",
    "proacl": "'f', x.proowner",
    "nspacl": "'n', x.nspowner",
    "typacl": "'T', x.typowner",
    "lanacl": "'l', x.lanowner",
    "fdwacl": "'F', x.fdwowner",
    "srvacl": "'S', x.srvowner",
}
