"""Each statement has the class that its effect on rows, writers and the old code gives it."""

import pytest

from shared.contracts.impact import MigrationClass, OldCode, StatementImpact
from shared.sql.classing import broken, classify, worst
from shared.sql.scene import Known, Scene
from shared.sql.script import read_statements

KNOWN: Known = {("public", "t"): frozenset({"id", "a", "b"}), ("public", "u"): frozenset({"id"})}


def classed(sql: str, known: Known | None = KNOWN) -> tuple[StatementImpact, ...]:
    return classify(read_statements(sql), Scene(known))


@pytest.mark.parametrize(
    ("sql", "kind", "old_code"),
    [
        ("CREATE TABLE n (id serial PRIMARY KEY, t int REFERENCES t)", "additive", "survives"),
        ("ALTER TABLE t ADD c text", "additive", "survives"),
        ("ALTER TABLE t ADD c text NOT NULL DEFAULT 'x'", "additive", "survives"),
        ("ALTER TABLE t ADD c timestamptz DEFAULT now()", "additive", "survives"),
        ("ALTER TABLE t ADD c uuid DEFAULT gen_random_uuid()", "rewriting", "survives"),
        ("ALTER TABLE t ADD c serial", "rewriting", "survives"),
        ("ALTER TABLE t ADD c int GENERATED ALWAYS AS (a + 1) STORED", "rewriting", "survives"),
        ("ALTER TABLE t ADD c int NOT NULL", "blocking", "may fail"),
        ("ALTER TABLE t ADD c int UNIQUE", "blocking", "survives"),
        ("ALTER TABLE t ADD c int REFERENCES u", "additive", "survives"),
        ("ALTER TABLE t DROP a", "destructive", "fails"),
        ("ALTER TABLE t DROP forgotten", "destructive", "survives"),
        ("DROP TABLE t", "destructive", "fails"),
        ("DROP TABLE forgotten", "destructive", "survives"),
        ("ALTER TABLE t RENAME a TO c", "destructive", "fails"),
        ("ALTER TABLE t RENAME TO c", "destructive", "fails"),
        ("ALTER TABLE t ALTER a SET NOT NULL", "blocking", "may fail"),
        ("ALTER TABLE t ALTER a DROP NOT NULL", "additive", "may fail"),
        ("ALTER TABLE t ALTER a SET DEFAULT 1", "additive", "survives"),
        ("ALTER TABLE t ALTER a TYPE int USING a::int", "rewriting", "may fail"),
        ("ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES u (id)", "blocking", "may fail"),
        ("ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT VALID", "additive", "may fail"),
        ("ALTER TABLE t VALIDATE CONSTRAINT k", "additive", "survives"),
        ("ALTER TABLE t ADD CONSTRAINT k UNIQUE USING INDEX i", "additive", "may fail"),
        ("CREATE INDEX i ON t (a)", "blocking", "survives"),
        ("CREATE UNIQUE INDEX i ON t (a)", "blocking", "may fail"),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "additive", "survives"),
        ("DROP INDEX i", "additive", "survives"),
        ("UPDATE t SET a = 1", "backfill", "survives"),
        ("INSERT INTO t SELECT * FROM u", "backfill", "survives"),
        ("DELETE FROM t WHERE a = 1", "destructive", "survives"),
        ("TRUNCATE t", "destructive", "survives"),
        ("ALTER TYPE e ADD VALUE 'x'", "additive", "may fail"),
        ("ALTER TYPE e RENAME VALUE 'x' TO 'y'", "destructive", "fails"),
        ("DROP FUNCTION f()", "destructive", "may fail"),
        ("DROP TRIGGER g ON t", "additive", "survives"),
        ("VACUUM FULL t", "rewriting", "may fail"),
        ("REINDEX TABLE t", "blocking", "may fail"),
        ("SELECT repair_everything()", "backfill", "may fail"),
        ("ALTER TABLE t ADD c int, DROP a", "destructive", "fails"),
    ],
)
def test_the_class_of_a_statement(sql: str, kind: MigrationClass, old_code: OldCode) -> None:
    (impact,) = classed(sql)
    assert (impact.kind, impact.old_code) == (kind, old_code)
    assert all(impact.because)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE n (id int); CREATE INDEX i ON n (id); ALTER TABLE n ALTER id SET NOT NULL",
        "CREATE TABLE n (id int); ALTER TABLE n RENAME TO m; ALTER TABLE m ADD CHECK (id > 0); DROP TABLE m",
        "ALTER TABLE t ADD c int; ALTER TABLE t RENAME c TO d; ALTER TABLE t DROP d",
        "CREATE VIEW v AS SELECT 1; DROP VIEW v",
    ],
)
def test_what_the_upgrade_made_itself_nobody_depends_on(sql: str) -> None:
    assert {impact.kind for impact in classed(sql)} == {"additive"}


def test_without_the_old_codes_schema_everything_counts_as_used() -> None:
    (impact,) = classed("ALTER TABLE t DROP forgotten", None)
    assert broken((impact,)) == (impact,)


def test_the_worst_statement_gives_a_migration_its_class() -> None:
    assert worst([]) == "additive"
    assert worst(["backfill", "rewriting", "blocking"]) == "rewriting"
