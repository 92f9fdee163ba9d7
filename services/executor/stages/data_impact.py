"""What an upgrade's migrations will do to production's rows and to the code that runs there."""

from collections.abc import Sequence
from pathlib import Path

from services.executor.clients import probes, squawk
from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import server_version
from services.executor.clients.reading import read_in_child
from services.executor.clients.scripts import classes_of, path_of, statements_of
from services.executor.clients.surroundings import room_in, surroundings
from shared.contracts.facts import PlannedMigration
from shared.contracts.impact import MigrationImpact, SqlRisk, StatementImpact
from shared.contracts.stages import Finding
from shared.errors import Failure
from shared.sql.classing import broken, worst
from shared.sql.columns import shown
from shared.sql.parsing import Unreadable
from shared.sql.permitted import concerns_of
from shared.sql.scene import Known, Scene
from shared.sql.script import Statement

_CONTRACT_CURE = (
    "ask who publishes the System for a release that lists the migration under [migrations] contract in"
    " system.toml, so that it runs after the activation, or that leaves it until no code uses it"
)


async def foresee(
    url: str, migrations: Sequence[PlannedMigration], known: Known | None, scratch: Path
) -> tuple[PlannedMigration, ...]:
    """The migrations with their impact on the database at `url`; only reads.

    `known` is what the old code uses, none if nobody can say; `scratch` is where a dump would lie.

    Raises Failure for a script that PostgreSQL cannot read and for a destructive statement that the old code
    would not survive, Retry when the database cannot be asked.
    """
    if not migrations:
        return ()
    ordered = in_deploy_order(migrations)
    scripts = {each.folder: await _read(each) for each in ordered}
    scene = Scene(known)
    classed: dict[str, tuple[StatementImpact, ...]] = {}
    for each in ordered:
        classed[each.folder], scene = await classes_of(path_of(each.folder), each.sql, scene)
    _refuse_broken(ordered, classed)
    version = await server_version(url)
    lints = await squawk.lint({each.folder: each.sql for each in ordered}, server_version=version)
    around = await surroundings(url, scripts, classed, room_bytes=room_in(scratch))
    answers = await probes.ask(url, [each for statements in scripts.values() for each in statements])
    found = iter(answers.probes)
    risks = {each.folder: await read_in_child(path_of(each.folder), risks_of, each) for each in ordered}
    impacts: dict[str, MigrationImpact] = {}
    for folder, statements in classed.items():
        told = tuple(each.model_copy(update={"probes": next(found)}) for each in statements)
        touched = _touched(scripts[folder])
        impacts[folder] = MigrationImpact(
            kind=worst(each.kind for each in told),
            statements=told,
            lints=(*lints[folder], *around[folder]),
            risks=risks[folder],
            rows={name: rows for name, rows in answers.rows.items() if name in touched},
        )
    return tuple(each.model_copy(update={"impact": impacts[each.folder]}) for each in migrations)


async def would_fail(url: str, migrations: Sequence[Migration]) -> dict[str, Finding]:
    """A finding for each statement that the rows of now would make fail; `migrations` as they will run.

    Its key says the same of other rows, too: the statement and the question.
    """
    placed = [
        (each, statement)
        for each in migrations
        for statement in await statements_of(f"{each.path}/migration.sql", each.sql)
    ]
    answers = await probes.ask(url, [statement for _, statement in placed])
    return {
        f"{migration.folder} line {statement.line}: {probe.question}": Finding(
            kind="migration",
            subject=f"{migration.folder} line {statement.line}",
            detail=f"It would fail: {probe.question}: {probe.detail if probe.rows is None else probe.rows}",
            cure="correct these rows in production, then retry the stage",
        )
        for (migration, statement), found in zip(placed, answers.probes, strict=True)
        for probe in found
        if probe.verdict == "would fail"
    }


def in_deploy_order(migrations: Sequence[PlannedMigration]) -> list[PlannedMigration]:
    """As they run: those that old code can live with first, those that need the new code last."""
    return sorted(migrations, key=lambda each: each.contracting)


async def _read(migration: PlannedMigration) -> tuple[Statement, ...]:
    path = path_of(migration.folder)
    try:
        return await statements_of(path, migration.sql)
    except Unreadable as error:
        finding = Finding(
            kind="migration",
            subject=f"{migration.system}: prisma/migrations/{migration.name}/migration.sql",
            detail=str(error),
            cure=f"ask who publishes {migration.system} for a release in which PostgreSQL can read it",
        )
        raise Failure(f"PostgreSQL cannot read {migration.folder}", finding) from None


def _touched(statements: Sequence[Statement]) -> set[str]:
    tables = {getattr(action, "table", None) for each in statements for action in each.actions}
    return {shown(table) for table in tables if table is not None}


def risks_of(migration: PlannedMigration) -> tuple[SqlRisk, ...]:
    """What its scripts bring that a person should know of. Raises `Unreadable`."""
    found: list[SqlRisk] = []
    for script, sql in (("migration.sql", migration.sql), ("down.sql", migration.down_sql or "")):
        for each in concerns_of(sql):
            if each.kind == "risk":
                known = {"line": each.line, "statement": each.statement, "risk": each.reason}
                found.append(SqlRisk.model_validate({"script": script, "grave": each.grave, **known}))
    return tuple(found)


def _refuse_broken(
    migrations: Sequence[PlannedMigration], classed: dict[str, tuple[StatementImpact, ...]]
) -> None:
    findings = [
        Finding(
            kind="migration",
            subject=f"{migration.system}: prisma/migrations/{migration.name}/migration.sql line {each.line}",
            detail=f"{each.statement}\n{'; '.join(each.because)}, while the code that runs uses it",
            cure=_CONTRACT_CURE,
        )
        for migration in migrations
        if not migration.contracting
        for each in broken(classed[migration.folder])
    ]
    if findings:
        raise Failure(
            "a destructive step before the activation, which the old code would not survive",
            *findings,
        )
