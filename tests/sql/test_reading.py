"""A script is read as PostgreSQL reads it, and nothing that it does is overlooked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sql.actions import (
    AddColumn,
    AddConstraint,
    AddLabel,
    ChangeType,
    Code,
    Create,
    CreateIndex,
    CreateTable,
    CreateType,
    Drop,
    DropColumn,
    DropIndex,
    DropTable,
    Outside,
    Read,
    RenameColumn,
    RenameLabel,
    RenameTable,
    Renumber,
    Rewrite,
    Rights,
    SetDefault,
    SetNotNull,
    Setting,
    Write,
)
from shared.sql.parsing import Unreadable
from shared.sql.script import read_statements

T = ("public", "t")
NOISE = ["", "-- a; comment\n", "/* one /* in */ another; */", "\n\n", "\t", "-- é\n"]
STATEMENTS = [
    "SELECT 1",
    "ALTER TABLE t ADD COLUMN c text DEFAULT 'a;b'",
    "DO $x$ BEGIN UPDATE t SET a = 1; END $x$",
    "UPDATE t SET a = 'ü' WHERE b = $$;$$",
]


@given(st.lists(st.tuples(st.sampled_from(NOISE), st.sampled_from(STATEMENTS)), max_size=6))
def test_every_statement_is_found_at_its_line(parts: list[tuple[str, str]]) -> None:
    sql, lines = "", []
    for noise, statement in parts:
        sql += noise
        lines.append(sql.count("\n") + 1)
        sql += statement + ";"
    found = read_statements(sql)
    assert [(each.line, each.text) for each in found] == list(
        zip(lines, [statement for _, statement in parts], strict=True)
    )


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        ("ALTER TABLE t ALTER a SET NOT NULL, ADD b int, DROP c", [SetNotNull, AddColumn, DropColumn]),
        ("ALTER TABLE t ALTER a TYPE text USING a::text, ALTER a SET DEFAULT 1", [ChangeType, SetDefault]),
        ("ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT VALID", [AddConstraint]),
        ("ALTER TABLE t ADD NOT NULL a", [SetNotNull]),
        ("ALTER TABLE t RENAME a TO b", [RenameColumn]),
        ("ALTER TABLE t RENAME TO u", [RenameTable]),
        ("ALTER TABLE t SET SCHEMA other", [RenameTable]),
        ("DROP TABLE a, b; DROP INDEX CONCURRENTLY i; DROP VIEW v", [DropTable] * 2 + [DropIndex, DropTable]),
        ("ALTER TYPE e ADD VALUE 'x'; ALTER TYPE e RENAME VALUE 'x' TO 'y'", [AddLabel, RenameLabel]),
        ("CREATE TYPE e AS ENUM ('a'); CREATE DOMAIN d AS int; DROP TYPE e", [CreateType, CreateType, Drop]),
        ("CREATE TYPE p AS (a int)", [CreateType]),
        ("WITH d AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM d", [Write, Write]),
        ("TRUNCATE a, b", [Write, Write]),
        ("SELECT a INTO b FROM c; CREATE TABLE d AS SELECT 1; SELECT 1", [CreateTable, CreateTable, Read]),
        ("SELECT repair_everything()", [Code]),
        ("SELECT setval('s', 1); SET lock_timeout = 1", [Renumber, Read, Setting]),
        ("ALTER SEQUENCE s RESTART; ALTER SEQUENCE s OWNED BY t.a", [Renumber, Setting]),
        ("ALTER TABLE t ALTER a RESTART WITH 5; TRUNCATE t RESTART IDENTITY", [Renumber, Write, Renumber]),
        ("NOTIFY n; ALTER ROLE r LOGIN; GRANT r TO q; ALTER SYSTEM SET a = 1", [Outside] * 4),
        ("COPY t TO PROGRAM 'x'; COPY t FROM PROGRAM 'x'", [Outside, Setting, Outside, Write]),
        ("SELECT pg_notify('a', 'b')", [Outside, Code]),
        ("CREATE FUNCTION f() RETURNS void LANGUAGE sql RETURN pg_notify('a', '')", [Create]),
        ("CREATE PUBLICATION p; DROP CAST (int AS text); CREATE COLLATION c FROM d", [Create, Drop, Create]),
        ("VACUUM FULL t; CLUSTER t; VACUUM t", [Rewrite, Rewrite, Setting]),
        ("REFRESH MATERIALIZED VIEW m; LOCK TABLE t; REINDEX TABLE t", [Rewrite] * 3),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; DROP FUNCTION f()", [Create, Drop]),
        ("CREATE EXTENSION pg_trgm; CREATE SCHEMA s; CREATE SEQUENCE q", [Create] * 3),
        ("COPY t FROM STDIN", [Write]),
        ("DO $$ BEGIN CREATE TYPE e AS ENUM ('a'); EXCEPTION WHEN others THEN null; END $$", [CreateType]),
        ("DO $$ BEGIN EXECUTE 'DROP TABLE t'; END $$", [DropTable]),
        ("DO $$ BEGIN EXECUTE 'DROP TABLE ' || x; END $$", [Code]),
        ("DO $$ BEGIN PERFORM fix(); END $$", [Code]),
        ("DO LANGUAGE plpython3u 'pass'", [Code]),
        ("CALL p(); IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c", [Code, Code]),
        ("BEGIN; COMMIT; COMMENT ON TABLE t IS 'x'", [Setting] * 3),
        ("GRANT SELECT ON t TO u; ALTER TABLE t OWNER TO u; GRANT CREATE ON SCHEMA s TO u", [Rights] * 3),
    ],
)  # fmt: skip
def test_each_statement_is_known_by_what_it_does(sql: str, kinds: list[type]) -> None:
    assert [type(action) for each in read_statements(sql) for action in each.actions] == kinds


def test_columns_keep_what_matters_to_rows() -> None:
    sql = """ALTER TABLE "T".t ADD a bigserial, ADD b uuid NOT NULL DEFAULT gen_random_uuid(),
        ADD c int DEFAULT 1 + 2, ADD d timestamptz(3) DEFAULT now(),
        ADD e int GENERATED ALWAYS AS IDENTITY, ADD f text[] UNIQUE,
        ADD g int GENERATED ALWAYS AS (c + 1) STORED, ADD h int REFERENCES u (id)"""
    (statement,) = read_statements(sql)
    columns = {each.column.name: each.column for each in statement.actions if isinstance(each, AddColumn)}
    assert {name for name, column in columns.items() if column.fills} == {"a", "e"}
    assert {name for name, column in columns.items() if column.volatile} == {"b"}
    assert (columns["a"].type, columns["d"].type, columns["f"].type) == ("bigint", "timestamptz(3)", "text[]")
    assert (columns["b"].not_null, columns["c"].default, columns["g"].generated) == (True, "1 + 2", "c + 1")
    assert [(each.kind, each.columns) for each in columns["f"].constraints] == [("unique", ("f",))]
    (foreign,) = columns["h"].constraints
    assert (foreign.references, foreign.referenced_columns) == (("public", "u"), ("id",))
    assert statement.actions[0].table == ("T", "t")  # type: ignore[union-attr]


def test_an_index_keeps_its_keys() -> None:
    ((statement),) = read_statements(
        'CREATE UNIQUE INDEX CONCURRENTLY i ON t (lower("A"), b DESC) WHERE c IS NOT NULL'
    )
    (index,) = statement.actions
    assert index == CreateIndex(T, "i", True, True, (), ('(lower("A"))', '"b"'), "c IS NOT NULL")


def test_other_schemas_than_public_can_be_meant() -> None:
    ((statement),) = read_statements("DROP TABLE t", schema="shop")
    assert statement.actions == (DropTable(("shop", "t")),)


@pytest.mark.parametrize(
    ("sql", "line"), [("SELECT 1;\n\nALTER TABEL t", 3), ("\\connect x", 1), ("SELECT 'é' FROM FROM", 1)]
)
def test_what_postgresql_cannot_read_is_named_with_its_line(sql: str, line: int) -> None:
    with pytest.raises(Unreadable) as caught:
        read_statements(sql)
    assert caught.value.fault.line == line
