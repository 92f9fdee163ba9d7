"""SQL that ends its reader: too long, too deep or too long-winded is refused before it is parsed.

Without the bounds 300 KB of `1+1+…` end the process in C, 80 KB of nested comments take 14 s, and 140 KB
of COPY take 39 s.
"""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.sql.blocks import statements_of_block
from shared.sql.bounds import SCRIPT_BYTES_MAX, TooMuch, bound_sql
from shared.sql.parsing import Unreadable, parse
from shared.sql.permitted import refused_in

CPU_S_MAX = 5.0
LARGE = 150_000


def verdict(sql: str) -> str:
    """`read`, or why not; never slow, and no other error."""
    began = time.thread_time()
    said = "read"
    try:
        parse(sql)
    except Unreadable as error:
        said = error.fault.reason
    assert time.thread_time() - began < CPU_S_MAX
    return said


CHAINS = {
    "operators": "SELECT 1" + " + 1" * LARGE,
    "casts": "SELECT 1" + "::int" * LARGE,
    "tests": "SELECT 1" + " IS NULL" * (LARGE // 2),
    "collations": "SELECT 1" + " COLLATE x" * (LARGE // 2),
    "zones": "SELECT 1" + " AT TIME ZONE 'x'" * (LARGE // 3),
    "minus": "SELECT " + "- " * LARGE + "1",
    "concatenation": "SELECT ''" + "||''" * LARGE,
    "operators of brackets": "SELECT (1)" + "+(1)" * LARGE,
    "operators of calls": "SELECT f(1, 2)" + "+f(1, 2)" * (LARGE // 2),
    "behind a comma": "SELECT 1, 2" + " + 1" * LARGE,
    "cases": "SELECT " + "CASE WHEN true THEN " * 20_000 + "1" + " END" * 20_000,
    "explanations": "EXPLAIN " * (LARGE // 2) + "SELECT 1",
    "in a body": "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1" + " + 1" * LARGE + "; END",
}
JOINS = {
    "joins": "SELECT * FROM a" + " JOIN b ON true" * (LARGE // 3),
    "joins by columns": "SELECT * FROM a" + " JOIN b USING (x, y)" * (LARGE // 4),
    "unions": "SELECT 1" + " UNION SELECT 1" * (LARGE // 3),
    "unions of columns": "SELECT 1, 2" + " UNION ALL SELECT 1, 2" * (LARGE // 4),
    "differences": "SELECT 1" + " EXCEPT SELECT 1" * (LARGE // 3),
}
DEPTHS = {
    "brackets": "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
    "open brackets": "SELECT " + "(" * LARGE,
    "arrays": "SELECT " + "ARRAY[" * 5_000 + "1" + "]" * 5_000,
    "calls": "SELECT " + "f(" * 5_000 + "1" + ")" * 5_000,
    "queries": "SELECT * FROM " + "(SELECT * FROM " * 3_000 + "t" + ") a" * 3_000,
    "membership": "SELECT 1" + " IN (1" * 3_000 + ")" * 3_000,
    "comments": "/*" * 20_000 + "*/" * 20_000 + "SELECT 1",
    "open comments": "/* " * LARGE,
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_that_recurses_is_refused(name: str) -> None:
    assert "words and signs" in verdict(CHAINS[name])


@pytest.mark.parametrize("name", JOINS)
def test_a_statement_of_many_queries_is_refused(name: str) -> None:
    assert "joins or unites more than 500" in verdict(JOINS[name])


@pytest.mark.parametrize("name", DEPTHS)
def test_what_is_nested_deeply_is_refused(name: str) -> None:
    assert "more than 50 deep" in verdict(DEPTHS[name])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1" + " + 1" * 80,
        "SELECT ''" + "||''" * 80,
        "SELECT 1" + " UNION ALL SELECT 1" * 400,
        "SELECT 1" + " + 1" * 2_000,
    ],
)
def test_what_the_parsers_message_cannot_hold_is_said(sql: str) -> None:
    """A DecodeError of the message's library came out, which nobody took for a refusal."""
    assert "nested too deeply" in verdict(sql)


def test_what_slowed_the_search_for_a_cause_is_quick() -> None:
    assert verdict("COPY a " * 20_000) != "read"
    assert verdict("COPY a, " * 20_000) != "read"
    assert "has nobody who sends the rows" in verdict("COPY t FROM STDIN;\n1\t2\n\\.\n" * 10_000)
    assert verdict("SELECT $a$ $b$ $c$ " * 10_000) != "read"
    assert verdict("SELECT '" + "''" * 100_000) != "read"


def test_a_script_has_a_size() -> None:
    assert "KiB" in verdict("-" * (SCRIPT_BYTES_MAX + 1))
    assert "KiB" in verdict("-- " + "\u4e2d" * (SCRIPT_BYTES_MAX // 3))


READ = {
    "rows": "INSERT INTO t VALUES "
    + ",".join(f"({n}, 'x', now() + '1 day'::interval)" for n in range(9_000)),
    "conditions": "SELECT * FROM t WHERE " + " OR ".join(f"x = {number}" for number in range(8_000)),
    "statements": "UPDATE t SET x = 1;\n" * 9_000,
    "a body": "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $a$ BEGIN\n"
    + "PERFORM ((1));\n" * 9_000
    + "END $a$",
    "a document": f"INSERT INTO t VALUES ('{'[' * 10_000}')",
    "remarks": "-- ((((\n" * 10_000 + "/* [[[ */" * 10_000 + "SELECT 1",
    "cases": "SELECT CASE x " + " ".join(f"WHEN {n} THEN 'a'" for n in range(5_000)) + " END FROM t",
}


@pytest.mark.parametrize("name", READ)
def test_what_real_migrations_have_is_read(name: str) -> None:
    assert verdict(READ[name]) == "read"


@pytest.mark.parametrize("word", ["BEGIN {} END;", "IF true THEN {} END IF;", "LOOP {} END LOOP;"])
@pytest.mark.parametrize("depth", [100, 250, 300, 330, 1_000, 20_000])
def test_blocks_inside_blocks_are_read_or_count_as_unknown(word: str, depth: int) -> None:
    before, after = word.split("{}")
    statements, dynamic = statements_of_block(f"BEGIN {before * depth} DELETE FROM t; {after * depth} END")
    assert dynamic or statements == ("DELETE FROM t",)


_PARTS = " || n || ".join(["'DROP TABLE t '", *["' x'"] * 4])
JUDGED = {
    "texts in texts": f"EXECUTE format('{'%1$s' * 5_000}', format('{'%1$s' * 5_000}', '{'x' * 20}'))",
    "many long texts": "EXECUTE concat("
    + ", ".join([f"format('{'%1$s' * 300}', '{'y' * 300}')"] * 300)
    + ")",
    "long separators": f"EXECUTE concat_ws(format('{'%1$s' * 900}', '{'x' * 100}'){', 1' * 20_000})",
    "a long text of many parts": "EXECUTE " + _PARTS + " || '" + "a, " * 2_000 + "'",
    "many such texts": f"EXECUTE {_PARTS} || '{'a, ' * 300}';" * 40,
    "no separator": "EXECUTE concat_ws()",
    "nothing": "EXECUTE",
    "nothing of a table": "EXECUTE FROM t",
    "one of two": "EXECUTE 'SELECT 1' UNION SELECT 'SELECT 2'",
    "all of nothing": "FOR r IN EXECUTE ALL LOOP END LOOP",
    "two values": "EXECUTE 'SELECT 1', 'SELECT 2'",
    "rows": "OPEN c FOR EXECUTE 'x' WHERE true",
}


@pytest.mark.parametrize("name", JUDGED)
def test_what_makes_its_sql_is_judged_in_time(name: str) -> None:
    """A few KB took seconds, or gigabytes, or ended the judge with an error of its own."""
    began = time.thread_time()
    refused_in(f"DO $body$ BEGIN {JUDGED[name]}; END $body$")
    assert time.thread_time() - began < CPU_S_MAX


PIECES = st.sampled_from(
    [
        "SELECT",
        "1",
        "+",
        "(",
        ")",
        "[",
        "]",
        ",",
        ";",
        "'",
        '"',
        "$$",
        "$a$",
        "--",
        "/*",
        "*/",
        "\n",
        "E'",
        "\\",
        "a",
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=100).map(" ".join))
def test_no_text_is_anything_but_read_or_refused(text: str) -> None:
    verdict(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=40).map(" ".join), st.sampled_from(["(" * 60, "- " * 6_000]))
def test_nothing_that_is_written_before_hides_what_is_too_deep(before: str, after: str) -> None:
    """The scan and PostgreSQL's scanner agree on where texts and comments end."""
    try:
        parse(before)
    except Unreadable:
        return
    with pytest.raises(TooMuch):
        bound_sql(f"{before}\n;SELECT {after}")
