"""A Release brings SQL into every partner's database: it stays within the Project's own schemas.

Each test would catch a way out: a statement, a place in which a forbidden function is called, a spelling.
"""

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sql.concerns import Concern
from shared.sql.permitted import concerns_of, refused_in
from tests.conftest import PostgresServer
from tests.security.sql_permitted import LAWFUL, NAMED
from tests.security.sql_refused import REFUSED

_SYNTAX = "42601"


def refused(sql: str) -> list[Concern]:
    return [each for each in concerns_of(sql) if each.kind == "refused"]


@pytest.mark.parametrize("what", REFUSED)
def test_sql_that_reaches_beyond_the_project_is_refused(what: str) -> None:
    found = refused(REFUSED[what])
    assert found
    assert all(each.reason and each.cure and each.statement and each.line >= 1 for each in found)


@pytest.mark.parametrize("what", NAMED)
def test_a_risk_is_named_and_refuses_nothing(what: str) -> None:
    sql, words = NAMED[what]
    assert refused(sql) == []
    assert any(words in each.reason for each in concerns_of(sql) if each.kind == "risk")


@pytest.mark.parametrize("sql", LAWFUL)
def test_lawful_sql_passes_without_a_word(sql: str) -> None:
    assert concerns_of(sql) == ()


async def test_every_script_is_sql_to_a_real_server(postgres: PostgresServer) -> None:
    """A script that the server cannot read would be refused for nothing: it must say why it fails later."""
    connection = await asyncpg.connect(postgres.url(), statement_cache_size=0)
    try:
        for sql in (*REFUSED.values(), *(sql for sql, _ in NAMED.values()), *LAWFUL):
            # The whole text is read before its first statement runs, which fails.
            with pytest.raises(asyncpg.PostgresError) as failed:
                await connection.execute(f"SELECT 1 / 0; {sql}")
            assert failed.value.sqlstate == "22012", (sql, failed.value)
    finally:
        await connection.close()


def _quote(tag: int, sql: str) -> str:
    return f"$q{tag}${sql}$q{tag}$"


_WRAPPERS = (
    lambda tag, sql: f"DO {_quote(tag, f'BEGIN {sql}; END')}",
    lambda tag, sql: f"DO {_quote(tag, f'BEGIN EXECUTE {_quote(tag + 1000, sql)}; END')}",
    lambda tag, sql: f"DO {_quote(tag, f'BEGIN IF 1 = 1 THEN {sql}; ELSE NULL; END IF; END')}",
    lambda tag, sql: f"DO {_quote(tag, f'BEGIN FOR i IN 1..2 LOOP {sql}; END LOOP; END')}",
    lambda tag, sql: f"DO {_quote(tag, f'BEGIN NULL; EXCEPTION WHEN OTHERS THEN {sql}; END')}",
    lambda tag, sql: f"DO {_quote(tag, f'<<l>> BEGIN BEGIN {sql}; END; END l')}",
    lambda tag, sql: (
        f"CREATE FUNCTION f{tag}() RETURNS trigger LANGUAGE plpgsql AS"
        f" {_quote(tag, f'BEGIN NEW.a := 1; {sql}; RETURN NEW; END')}"
    ),
    lambda tag, sql: f"CREATE PROCEDURE f{tag}() LANGUAGE sql AS {_quote(tag, sql)}",
    lambda tag, sql: f"SELECT 1; {sql}; SELECT 2",
    lambda tag, sql: f"/* {tag} /* nested */ */ {sql} -- the end\n",
    lambda tag, sql: f"BEGIN; SET LOCAL lock_timeout = '1s';\n\n{sql};\nCOMMIT",
)
_ONE_STATEMENT = sorted(sql for sql in REFUSED.values() if ";" not in sql)


@given(st.sampled_from(_ONE_STATEMENT), st.lists(st.sampled_from(_WRAPPERS), max_size=5))
def test_no_wrapping_makes_it_pass(sql: str, wrappers: list[object]) -> None:
    """Would catch a place that the reader does not look into."""
    for tag, wrap in enumerate(wrappers):
        sql = wrap(tag, sql)  # type: ignore[operator]
    assert refused_in(sql)


@given(st.sampled_from(LAWFUL), st.sampled_from([each for each in LAWFUL if "CONCURRENTLY" not in each]))
def test_lawful_scripts_together_are_lawful(one: str, other: str) -> None:
    """Would catch a judge that carries something from one statement to the next."""
    assert concerns_of(f"{one};\n{other}") == ()


@given(st.sampled_from(["pg_read_file", "lo_import", "dblink_exec", "pg_reload_conf"]), st.data())
def test_names_compare_as_the_server_compares_them(name: str, data: st.DataObject) -> None:
    """Would catch another spelling of the same name."""
    letters = [data.draw(st.sampled_from([each, each.upper()])) for each in name]
    escaped = "".join(data.draw(st.sampled_from([each, f"\\{ord(each):04x}"])) for each in name)
    schema = data.draw(st.sampled_from(["", "pg_catalog.", "PG_CATALOG . ", '"pg_catalog"/* */.']))
    called = data.draw(st.sampled_from(["".join(letters), f'"{name}"', f'U&"{escaped}"']))
    assert refused(f"SELECT {schema}{called} ('x')")


@given(st.text(max_size=80))
def test_any_body_is_judged_or_refused(body: str) -> None:
    """Would catch a body at which the reader stops with an error of its own."""
    sql = "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS " + "'" + body.replace("'", "''") + "'"
    refused_in(sql)


_PIECES = """
    BEGIN END IF THEN ELSE ELSIF LOOP WHILE FOR IN .. := = ; ( ) [ ] EXECUTE USING INTO STRICT RETURN QUERY
    NEXT RAISE , DECLARE CURSOR IS CASE WHEN EXCEPTION OPEN FETCH FROM PERFORM GET << >> # a 1 'x' NULL SELECT
    INSERT CREATE FUNCTION ATOMIC ARRAY FOREACH EXIT UNION ALL WHERE
"""


@given(st.lists(st.sampled_from(_PIECES.split()), max_size=25))
def test_any_order_of_words_is_judged_or_refused(words: list[str]) -> None:
    """Would catch a place at which the reader runs past the end."""
    refused_in(f"DO $b$ {' '.join(words)} $b$")
