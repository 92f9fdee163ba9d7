"""A script is cut where PostgreSQL cuts it, and what cannot run is told before anybody tries."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.sql.bounds import is_empty
from shared.sql.parsing import Unreadable
from shared.sql.script import IndexBuild, alone_in, faults_of, parts_of, read_script

PIECES = (
    "SELECT 1",
    "INSERT INTO t VALUES ('a;b', E'it\\'s;', U&'x;')",
    "SELECT 'no escape \\', ';'",
    'ALTER TABLE "a;b" ADD COLUMN "c ""d;""" int',
    "DO $$ BEGIN PERFORM 1; PERFORM 2; END $$",
    "CREATE FUNCTION f() RETURNS int AS $body$ SELECT $$;$$; $body$ LANGUAGE sql",
    "CREATE FUNCTION g(a int) RETURNS int BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; SELECT 3; END",
    "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); END",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)",
    "SELECT a$1, arr[1:2], x::text",
    "UPDATE \"Café\" SET naïve = 'ü;ñ 😀' WHERE größe = $é$;$é$",
    "SELECT 'a'\n'b;'",
)
GAPS = st.sampled_from([";", ";\n", " ;\r\n-- a; comment é\n", ";\n/* a; /* b; */ 😀 */\n", ";;\n"])
BORDERS = st.sampled_from(["BEGIN", "COMMIT", "END", "COMMIT /* so; */", "START TRANSACTION"])


@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=6),
    gaps=st.lists(GAPS, min_size=6, max_size=6),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_a_script_is_cut_at_its_own_semicolons(pieces: list[str], gaps: list[str], mark: str) -> None:
    sql = mark + "".join(piece + gap for piece, gap in zip(pieces, gaps, strict=False))
    script = read_script(sql)
    assert [statement.text for statement in script.statements] == pieces
    assert all(sql[each.start :].startswith(each.text) for each in script.statements)
    assert [each.line for each in script.statements] == [
        sql.count("\n", 0, each.start) + 1 for each in script.statements
    ]
    assert [fault.reason for fault in script.faults()] == ["it begins with a byte order mark"] * bool(mark)
    (part,) = script.parts()
    assert part.sql == sql


@given(
    st.lists(st.tuples(st.one_of(st.sampled_from(PIECES), BORDERS), GAPS), max_size=8),
    st.sampled_from(["", "-- end", "/* ; é */"]),
)
def test_the_parts_together_are_the_script(pieces: list[tuple[str, str]], tail: str) -> None:
    sql = "".join(piece + gap for piece, gap in pieces) + tail
    parts = parts_of(sql)
    assert "".join(part.sql + part.end for part in parts) == sql
    assert all(sql[part.start :].startswith(part.sql) for part in parts)
    assert sum(part.committed for part in parts) == sum(each.commits for each in read_script(sql).statements)


@given(st.text(alphabet="'\"$/*-;()\\ abEé\n\0", max_size=40))
@example("/* /* a */")
@example("-- \0")
@example("\0")
def test_anything_is_read_or_told_with_its_line(sql: str) -> None:
    assert "".join(part.sql + part.end for part in parts_of(sql)) == sql
    try:
        statements = read_script(sql).statements
    except Unreadable:
        (fault,) = faults_of(sql)
        assert 1 <= fault.line <= sql.count("\n") + 1
        assert fault.cure
        assert (is_empty(sql), alone_in(sql)) == (False, None)
    else:
        assert is_empty(sql) == (not statements)


@pytest.mark.parametrize(
    ("sql", "build"),
    [
        ('CREATE INDEX CONCURRENTLY "a b" ON "T" (x)', IndexBuild(True, "a b", '"T"')),
        (
            "create unique index concurrently if not exists I on only s.t (x) where x is not null;",
            IndexBuild(True, "i", '"s"."t"'),
        ),
        ("DROP INDEX CONCURRENTLY IF EXISTS s.I", IndexBuild(False, '"s"."i"', None)),
        ("CREATE INDEX CONCURRENTLY ON t (x)", IndexBuild(True, None, '"t"')),
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
        "VACUUM t",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "REINDEX TABLE CONCURRENTLY t",
        "REINDEX SCHEMA public",
        "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
        "CALL p()",
        "DO $$ BEGIN UPDATE t SET a = 1; COMMIT; END $$",
    ],
)
def test_what_wants_to_be_alone_is(sql: str) -> None:
    assert read_script(sql).alone is not None


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX i ON t (x)",
        "SELECT 'CREATE INDEX CONCURRENTLY i ON t (x)'",
        "DO $$ BEGIN EXECUTE 'REINDEX TABLE t'; END $$",
        "DO $$ BEGIN CREATE TEMP TABLE a () ON COMMIT DROP; END $$",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "COMMENT ON INDEX i IS 'made CONCURRENTLY'",
        "ANALYZE t",
    ],
)
def test_what_may_run_in_a_transaction_does(sql: str) -> None:
    assert read_script(sql).alone is None


@pytest.mark.parametrize("sql", ["CALL p(); SELECT 1", "DO $$ BEGIN COMMIT; END $$; SELECT 1"])
def test_what_may_end_transactions_is_no_fault_among_others(sql: str) -> None:
    """PostgreSQL says no when it tries; whether it tries nobody can read from here."""
    assert faults_of(sql) == ()


def test_transactions_of_the_scripts_own_are_told_apart() -> None:
    sql = "CREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();\nCOMMIT;\nSELECT 1;END; -- so\n"
    assert [(part.sql.strip(), part.end) for part in read_script(sql).parts()] == [
        ("CREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();", "COMMIT;"),
        ("SELECT 1;", "END; -- so\n"),
    ]
    assert faults_of(sql) == ()


@pytest.mark.parametrize(
    ("sql", "line", "reason"),
    [
        ("SELECT 1;\nSELECT 'open", 2, "unterminated quoted string"),
        ("SELECT $a$ open", 1, "unterminated dollar-quoted string"),
        ("SELECT 'é\né';\nSELECT 1 /* open", 3, "unterminated /* comment"),
        ("SELECT 1;\n\nCREATE TABLE t (a int;", 3, "syntax error"),
        ("SELECT 'éé\n\néé';\nSELEC 1", 4, "syntax error"),
        ("\ufeffSELECT 1", 1, "byte order mark"),
        ("SELECT 1;\nSELECT '\0'", 2, "NUL"),
        ("\\set x 1\nSELECT 1", 1, "psql's"),
        ("SELECT 1;\n\\restrict abc\n", 2, "psql's"),
        ("\nCOPY t (a, b) FROM stdin;\n1\t2\n\\.\n", 2, "STDIN"),
        ("COPY t FROM STDIN", 1, "STDIN"),
        ("SELECT 1;\nBEGIN;\nSELECT 2;", 2, "no COMMIT"),
        ("BEGIN; SELECT 1; ROLLBACK;", 1, "ROLLBACK takes back"),
        ("BEGIN; SELECT 1; COMMIT AND CHAIN; SELECT 2", 1, "AND CHAIN"),
        ("BEGIN; SELECT 1; PREPARE TRANSACTION 'x'; COMMIT", 1, "outlives"),
        ("SELECT 1;\nCREATE INDEX CONCURRENTLY i ON t (x);", 2, "cannot run in a transaction"),
        ("CREATE INDEX CONCURRENTLY ON t (x)", 1, "without a name"),
    ],
)
def test_what_cannot_run_is_told_with_its_line(sql: str, line: int, reason: str) -> None:
    fault = faults_of(sql)[0]
    assert fault.line == line
    assert reason in fault.reason
    assert fault.cure
