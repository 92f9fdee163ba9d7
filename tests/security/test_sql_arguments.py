"""The argument tells what a function reads, however the call spells it: by place, by name, by number.

Each test would catch a spelling of the call, or of what is given to it, that the judge does not follow.
"""

from itertools import permutations

import pytest

from shared.sql.outward import NAMING_FUNCTIONS
from shared.sql.permitted import concerns_of, refused_in

TABLE = sorted(each for each in NAMING_FUNCTIONS if each.startswith("table"))
SCHEMA = sorted(each for each in NAMING_FUNCTIONS if each.startswith("schema"))
QUERY = ["query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema"]
PARAMETER = {
    **dict.fromkeys(TABLE, "tbl"),
    **dict.fromkeys(SCHEMA, "schema"),
    **dict.fromkeys(QUERY, "query"),
}

FORBIDDEN = {
    **dict.fromkeys(
        TABLE,
        (
            "'pg_authid'",
            "'1260'",
            "' 1260 '",
            "1260",
            "1260::oid",
            "1260::regclass",
            "regclass '1260'",
            "CAST('1260' AS pg_catalog.regclass)",
            "('1' || '260')::regclass",
            "(1000 + 260)::oid::regclass",
            "(SELECT oid FROM pg_class WHERE relname = 'pg_authid')",
            "(SELECT 'pg_authid'::regclass)",
            "(ARRAY['pg_authid'])[1]::regclass",
            "coalesce(NULL, 'pg_authid')::regclass",
            "to_regclass('pg_authid')",
            "current_setting('a.b')::regclass",
            "'PG_CATALOG.\"pg_authid\"'",
            "U&'\\0070g_authid'",
            "E'pg\\x5fauthid'",
            "$$pg_authid$$",
            "'upgradepath.fence'",
            "'upgradepath' '\n' '.fence'",
            "'_prisma_migrations'",
        ),
    ),
    **dict.fromkeys(
        SCHEMA,
        (
            "'pg_catalog'",
            "'information_schema'",
            "'pg_toast'",
            "'upgradepath'",
            "'pg_' || 'catalog'",
            "name 'pg_catalog'",
            "(SELECT nspname FROM pg_namespace LIMIT 1)",
            "current_setting('a.b')::name",
            "current_schema",
            "U&'\\0070g_catalog'",
        ),
    ),
    **dict.fromkeys(
        QUERY,
        (
            "'SELECT * FROM pg_authid'",
            "'TABLE pg_authid'",
            "'TABLE ' || 'upgradepath.fence'",
            "format('SELECT pg_read_file(%L)', 'x')",
            "concat('SELECT lo_import(', quote_literal(a), ')')",
        ),
    ),
}
OTHERS = {"nulls": "true", "tableforest": "false", "targetns": "''"}


def _calls(function: str, argument: str) -> list[str]:
    """Every order of the named arguments, each spelling of the name of the function."""
    named = {PARAMETER[function]: argument, **OTHERS}
    found = [
        f"SELECT {function}({', '.join(f'{name} {sign} {named[name]}' for name in order)})"
        for order in permutations(named)
        for sign in ("=>", ":=")
    ]
    rest = ", ".join(f"{name} => {value}" for name, value in OTHERS.items())
    found.append(f"SELECT {function}({argument}, {rest})")
    for name in (
        function,
        f'"{function}"',
        f"pg_catalog.{function.upper()}",
        f'U&"\\{ord(function[0]):04x}{function[1:]}"',
    ):
        found.append(f"SELECT {name}({argument}, true, true, '')")
    found.append(f"SELECT * FROM {function}({argument}, true, true, '') AS x")
    found.append(f"SELECT xpath('/x', {function}({argument}, true, true, ''))")
    return found


@pytest.mark.parametrize("function", sorted(PARAMETER))
def test_no_spelling_of_a_call_hides_what_it_reads(function: str) -> None:
    passed = [
        sql for argument in FORBIDDEN[function] for sql in _calls(function, argument) if not refused_in(sql)
    ]
    assert passed == []


@pytest.mark.parametrize("function", [*TABLE, *SCHEMA])
def test_the_projects_own_is_read_in_every_spelling(function: str) -> None:
    """Would catch a judge that refuses by the function alone."""
    own = (
        ["'t'", "'public.t'", "'\"T\"'", "'t'::regclass"]
        if function in TABLE
        else ["'public'", "'app'::name"]
    )
    assert [sql for argument in own for sql in _calls(function, argument) if concerns_of(sql)] == []


@pytest.mark.parametrize("function", QUERY)
def test_a_lawful_query_is_lawful_by_name_too(function: str) -> None:
    assert [sql for sql in _calls(function, "'SELECT a FROM t'") if concerns_of(sql)] == []


@pytest.mark.parametrize("function", [*TABLE, *SCHEMA])
@pytest.mark.parametrize(
    "script",
    [
        "CREATE OPERATOR === (FUNCTION = {}, LEFTARG = regclass, RIGHTARG = boolean)",
        "CREATE AGGREGATE a (bool, bool, text) (SFUNC = {}, STYPE = regclass)",
        "ALTER FUNCTION {}(regclass, boolean, boolean, text) RENAME TO f",
        "CREATE FUNCTION f(a regclass) RETURNS xml LANGUAGE sql AS 'SELECT {}(a, true, true, '''')'",
        "CREATE FUNCTION f(a regclass) RETURNS xml LANGUAGE sql RETURN {}($1, true, true, '')",
        "DO $$ DECLARE r regclass := '1260'; BEGIN PERFORM {}(r, true, true, ''); END $$",
        "SELECT {}(VARIADIC ARRAY['t'])",
        "SELECT {}(a, true, true, '') FROM t",
        "PREPARE p AS SELECT {}($1, true, true, ''); EXECUTE p('pg_authid')",
    ],
)
def test_nobody_else_gives_it_what_is_read(function: str, script: str) -> None:
    """Would catch a place in which others give the function what it reads."""
    assert refused_in(script.format(function))


SETTING = ("setting_name => 'role'", "new_value => 'postgres'", "is_local => true")
SAFE = ("setting_name => 'work_mem'", "new_value => '64MB'", "is_local => true")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_setting_is_judged_in_every_order(order: tuple[int, ...]) -> None:
    """Would catch a judge for which the first argument is the setting's name."""
    assert refused_in(f"SELECT set_config({', '.join(SETTING[at] for at in order)})")
    assert concerns_of(f"SELECT set_config({', '.join(SAFE[at] for at in order)})") == ()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT set_config(VARIADIC ARRAY['role', 'postgres', 'true'])",
        "SELECT set_config('search_path', new_value => 'upgradepath', is_local => true)",
        "SELECT set_config(new_value => 'off', is_local => true,"
        " setting_name => 'standard_conforming_strings')",
        "SELECT ts_stat(weights => 'ab', sqlquery => 'SELECT lo_import(''/x'')')",
        "SELECT ts_stat(sqlquery => 'SELECT to_tsvector(rolpassword) FROM pg_authid')",
        "SELECT pg_advisory_unlock(key => 72707369)",
        "SELECT setval(regclass => 'upgradepath.s', value => 1)",
        "SELECT connectby(relname => 'a) x', keyid_fld => 'a', parent_keyid_fld => 'b')",
    ],
)
def test_named_arguments_of_others_are_judged(sql: str) -> None:
    assert refused_in(sql)


PLACES = """
MERGE INTO t USING (SELECT {} a) s ON true WHEN MATCHED THEN DELETE
INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = {}
INSERT INTO t VALUES (1) RETURNING {}
UPDATE t SET (a, b) = (SELECT {}, 1) WHERE a = 1
SELECT count(*) FILTER (WHERE {} = '') FROM t
SELECT sum(a) OVER (PARTITION BY {}) FROM t
SELECT 1 FROM t GROUP BY GROUPING SETS (({}))
SELECT 1 LIMIT (SELECT {}::int)
SELECT xmlelement(name x, {})
SELECT xmlforest({} AS a)
SELECT json_object('a': {})
SELECT JSON_ARRAYAGG({})
SELECT * FROM JSON_TABLE({}::jsonb, '$' COLUMNS (a int PATH '$'))
SELECT * FROM XMLTABLE('/x' PASSING {}::xml COLUMNS a text PATH 'y')
SELECT * FROM ROWS FROM (unnest(ARRAY[{}]), generate_series(1, 2)) AS x
SELECT * FROM t TABLESAMPLE bernoulli ({}::int)
SELECT * FROM t, LATERAL (SELECT {}) x
EXPLAIN (ANALYZE) CREATE TABLE x AS SELECT {}
DECLARE c CURSOR FOR SELECT {}
PREPARE p AS SELECT {}
EXECUTE p({})
CALL f({})
ALTER TABLE t ADD COLUMN a text GENERATED ALWAYS AS ({}) STORED
ALTER TABLE t ALTER COLUMN a TYPE text USING {}
CREATE INDEX i ON t (a) WHERE {} = ''
CREATE DOMAIN d AS text DEFAULT {}
ALTER DOMAIN d ADD CHECK ({} = '')
CREATE STATISTICS s ON ({}), b FROM t
CREATE FUNCTION f(a text DEFAULT {}) RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE FUNCTION f() RETURNS text LANGUAGE sql RETURN {}
CREATE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC SELECT {}; END
DO $$ DECLARE a text := {}; BEGIN NULL; END $$
DO $$ BEGIN ASSERT {} = ''; END $$
DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = {}; END $$
DO $$ BEGIN CASE {} WHEN '' THEN NULL; END CASE; END $$
DO $$ DECLARE c CURSOR (a text) FOR SELECT a; BEGIN OPEN c({}); END $$
DO $$ DECLARE a int[]; BEGIN a[{}::int] := 1; END $$
DO $$ BEGIN FOR i IN {}::int .. 3 LOOP NULL; END LOOP; END $$
DO $$ DECLARE x text; BEGIN FOREACH x IN ARRAY ARRAY[{}] LOOP NULL; END LOOP; END $$
DO $$ BEGIN EXIT WHEN {} = ''; END $$
DO $$ BEGIN EXECUTE 'SELECT $1' USING {}; END $$
"""
HIDDEN = (
    "pg_read_file('x')",
    "table_to_xml(tbl => '1260', nulls => true, tableforest => true, targetns => '')::text",
)


@pytest.mark.parametrize("place", PLACES.strip().splitlines())
def test_a_call_is_found_in_every_place(place: str) -> None:
    """Would catch a place in a statement that nobody looks into."""
    for call in HIDDEN:
        assert refused_in(place.replace("{}", call)), call


@pytest.mark.parametrize("name", ["user_mapping_options", "_pg_user_mappings"])
def test_the_standards_own_views_of_passwords_are_refused(name: str) -> None:
    """Each shows the options of a mapping, its password among them, to its owner."""
    assert refused_in(f"SELECT * FROM information_schema.{name}")
