"""A plan says of every migration what it will do, and refuses what the running code would not survive."""

import hashlib
from pathlib import Path

import pytest

from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import session
from services.executor.stages.data_impact import foresee, would_fail
from shared.contracts.facts import PlannedMigration
from shared.contracts.impact import MigrationImpact
from shared.errors import Failure
from tests.executor.conftest import NewDatabase

KNOWN = {("public", "users"): frozenset({"id", "email"})}


def migration(name: str, sql: str, *, contracting: bool = False) -> PlannedMigration:
    return PlannedMigration(
        system="auth-system",
        name=f"20260201000000_{name}",
        folder=f"20260301000000_auth-system_{name}",
        checksum=hashlib.sha256(sql.encode()).hexdigest(),
        reversible=False,
        contracting=contracting,
        sql=sql,
    )


async def people(new_database: NewDatabase) -> str:
    url = await new_database()
    async with session(url) as connection:
        await connection.execute(
            "CREATE TABLE users (id int PRIMARY KEY, email text, forgotten text);"
            "INSERT INTO users SELECT n, CASE WHEN n > 3 THEN 'x' END, 'y' FROM generate_series(1, 10) n"
        )
    return url


def of(migration: PlannedMigration) -> MigrationImpact:
    assert migration.impact is not None
    return migration.impact


async def test_each_migration_is_classed_linted_and_asked_of_the_rows(new_database: NewDatabase) -> None:
    url = await people(new_database)
    # In the plan's order the contracting one stands first; in the deploy it runs last.
    contract = migration(
        "contract", "-- at last\nALTER TABLE users ALTER status SET NOT NULL", contracting=True
    )
    expand = migration(
        "expand", "ALTER TABLE users ADD status text;\nUPDATE users SET status = 'x' WHERE email IS NOT NULL;"
    )
    first, second = await foresee(url, (contract, expand), KNOWN, Path())
    assert (of(first).kind, of(second).kind) == ("blocking", "backfill")
    assert of(first).rows == of(second).rows == {"users": 10}
    (statement,) = of(first).statements
    assert (statement.line, statement.old_code) == (2, "survives")
    (probe,) = statement.probes
    assert (probe.verdict, probe.rows) == ("would fail", 3), "three rows had no e-mail, so they get no status"
    assert [(lint.rule, lint.line) for lint in of(first).lints] == [("adding-not-nullable-field", 2)]
    assert [probe.rows for each in of(second).statements for probe in each.probes] == [7]


@pytest.mark.parametrize(
    "sql", ["ALTER TABLE users DROP email", "DROP TABLE users", "ALTER TABLE users RENAME email TO e"]
)
async def test_what_the_running_code_would_not_survive_is_refused(
    new_database: NewDatabase, sql: str
) -> None:
    url = await people(new_database)
    with pytest.raises(Failure, match="would not survive") as caught:
        await foresee(url, (migration("gone", f"SELECT 1;\n{sql}"),), KNOWN, Path())
    (finding,) = caught.value.outcome.findings
    assert finding.subject == "auth-system: prisma/migrations/20260201000000_gone/migration.sql line 2"
    assert sql in finding.detail
    assert "[migrations] contract" in finding.cure
    (told,) = await foresee(url, (migration("gone", sql, contracting=True),), KNOWN, Path())
    assert of(told).kind == "destructive"


async def test_what_no_code_uses_may_go_at_once(new_database: NewDatabase) -> None:
    url = await people(new_database)
    (told,) = await foresee(url, (migration("gone", "ALTER TABLE users DROP forgotten"),), KNOWN, Path())
    (statement,) = of(told).statements
    assert (of(told).kind, statement.old_code) == ("destructive", "survives")
    assert [(probe.verdict, probe.rows) for probe in statement.probes] == [("loses", 10)]


async def test_what_postgresql_cannot_read_is_refused_with_its_line(new_database: NewDatabase) -> None:
    with pytest.raises(Failure, match="cannot read") as caught:
        await foresee(
            await new_database(), (migration("bad", "SELECT 1;\nALTER TABEL users"),), KNOWN, Path()
        )
    assert "line 2" in caught.value.outcome.findings[0].detail


async def test_before_a_deploy_the_rows_are_asked_once_more(new_database: NewDatabase) -> None:
    url = await people(new_database)
    sql = "ALTER TABLE users ADD x int;\nALTER TABLE users ALTER email SET NOT NULL"
    found = await would_fail(url, [Migration("20260301_x", sql, "a" * 64)])
    ((key, finding),) = found.items()
    assert key == "20260301_x line 2: rows whose users.email is null"
    assert (finding.subject, finding.kind) == ("20260301_x line 2", "migration")
    assert finding.detail == "It would fail: rows whose users.email is null: 3"
    async with session(url) as connection:
        await connection.execute("UPDATE users SET email = 'y' WHERE email IS NULL")
    assert await would_fail(url, [Migration("20260301_x", sql, "a" * 64)]) == {}


async def test_a_column_that_counts_by_itself_is_a_key(new_database: NewDatabase) -> None:
    """Each row gets another number, so a serial column can be the primary key of rows that are there."""
    url = await people(new_database)
    sql = (
        "ALTER TABLE users DROP CONSTRAINT users_pkey, ADD COLUMN no BIGSERIAL NOT NULL,"
        " ADD CONSTRAINT users_pkey PRIMARY KEY (no)"
    )
    (told,) = await foresee(url, (migration("keyed", sql),), KNOWN, Path())
    (statement,) = of(told).statements
    assert {probe.verdict for probe in statement.probes} == {"fits"}
