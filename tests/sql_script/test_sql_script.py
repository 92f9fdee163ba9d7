"""A script is cut where PostgreSQL cuts it, and what cannot run is told before anybody tries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sql_script import IndexBuild, read_script

PIECES = (
    "SELECT 1",
    "INSERT INTO t VALUES ('a;b', E'it\\'s;', U&'x;')",
    'ALTER TABLE "a;b" ADD COLUMN "c ""d;""" int',
    "DO $$ BEGIN PERFORM 1; PERFORM 2; END $$",
    "CREATE FUNCTION f() RETURNS int AS $body$ SELECT $$;$$; $body$ LANGUAGE sql",
    "CREATE FUNCTION g(a int) RETURNS int BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; SELECT 3; END",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)",
    "SELECT a$1$2, $1, arr[1:2], x::text",
    "/* ; /* nested ; */ ; */ SELECT 2",
)
GAPS = st.sampled_from([";", ";\n", " ;\r\n-- a; comment\n", ";\n/* a; /* b; */ */\n"])


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=6), gaps=st.lists(GAPS, min_size=6, max_size=6))
def test_a_script_is_cut_at_its_own_semicolons(pieces: list[str], gaps: list[str]) -> None:
    sql = "".join(piece + gap for piece, gap in zip(pieces, gaps, strict=False))
    script = read_script(sql)
    assert script.unfinished is None
    assert [statement.text.strip() for statement in script.statements] == [
        piece.removeprefix("/* ; /* nested ; */ ; */ ") for piece in pieces
    ]
    assert all(sql[each.start :].startswith(each.text) for each in script.statements)
    assert not list(script.faults())
    (part,) = script.parts()
    assert part.sql == sql


@given(st.text(alphabet="'\"$/*-;()\\ abE\n", max_size=40))
def test_anything_can_be_read(sql: str) -> None:
    script = read_script(sql)
    assert "".join(part.sql for part in script.parts()) == sql or any(
        statement.commits for statement in script.statements
    )


@pytest.mark.parametrize(
    ("sql", "build"),
    [
        ('CREATE INDEX CONCURRENTLY "a b" ON "T" (x)', IndexBuild(True, '"a b"', '"T"')),
        (
            "create unique index concurrently if not exists i on only s.t (x) where x is not null;",
            IndexBuild(True, "I", "S.T"),
        ),
        ("DROP INDEX CONCURRENTLY IF EXISTS s.i", IndexBuild(False, "S.I", None)),
        ("CREATE INDEX CONCURRENTLY ON t (x)", IndexBuild(True, None, "T")),
    ],
)
def test_an_index_build_says_what_it_builds(sql: str, build: IndexBuild) -> None:
    script = read_script(f"-- why\n{sql}")
    assert script.alone is not None
    assert script.alone.index_build == build
    assert script.parts()[0].alone


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX i ON t (x)",
        "SELECT 'CREATE INDEX CONCURRENTLY i ON t (x)'",
        "DO $$ BEGIN EXECUTE 'REINDEX TABLE t'; END $$",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "COMMENT ON INDEX i IS 'made CONCURRENTLY'",
    ],
)
def test_what_may_run_in_a_transaction_does(sql: str) -> None:
    assert read_script(sql).alone is None


def test_transactions_of_the_scripts_own_are_told_apart() -> None:
    script = read_script("CREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();\nCOMMIT;\nSELECT 1;END; -- so\n")
    assert [(part.sql.strip(), part.committed) for part in script.parts()] == [
        ("CREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();", True),
        ("SELECT 1;", True),
    ]
    assert not list(script.faults())


@pytest.mark.parametrize(
    ("sql", "line", "reason"),
    [
        ("SELECT 1;\nSELECT 'open", 2, "a quote is never closed"),
        ("SELECT $a$ open", 1, "quoted by $a$"),
        ("SELECT 1 /* open", 1, "a comment"),
        ("SELECT 1;\n\nCREATE TABLE t (a int;", 3, "a parenthesis"),
        ("\ufeffSELECT 1", 1, "byte order mark"),
        ("SELECT 1;\nSELECT '\0'", 2, "NUL"),
        ("\\set x 1\nSELECT 1", 1, "psql's"),
        ("\nCOPY t (a, b) FROM stdin;\n1\t2\n\\.\n", 2, "STDIN"),
        ("SELECT 1;\nBEGIN;\nSELECT 2;", 2, "no COMMIT"),
        ("BEGIN; SELECT 1; ROLLBACK;", 1, "ROLLBACK takes back"),
        ("BEGIN; SELECT 1; PREPARE TRANSACTION 'x'; COMMIT", 1, "outlives"),
        ("SELECT 1;\nCREATE INDEX CONCURRENTLY i ON t (x);", 2, "cannot run in a transaction"),
        ("CREATE INDEX CONCURRENTLY ON t (x)", 1, "without a name"),
    ],
)
def test_what_cannot_run_is_told_with_its_line(sql: str, line: int, reason: str) -> None:
    fault = next(iter(read_script(sql).faults()))
    assert fault.line == line
    assert reason in fault.reason
    assert fault.cure
