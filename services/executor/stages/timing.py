"""How long each migration took in staging, and how long it may take in production."""

from collections.abc import Mapping, Sequence

from services.executor.clients import probes
from services.executor.clients.migration_files import Migration
from services.executor.clients.scripts import classes_of, statements_of
from shared.contracts.facts import AppliedMigration, Step
from shared.sql.classing import worst
from shared.sql.columns import Table, shown
from shared.sql.scene import Scene


async def timed(
    staging: str, production: str, ours: Sequence[Migration], done: Sequence[AppliedMigration]
) -> tuple[Step, ...]:
    """A step for each migration, with what its time means for production's rows.

    The assumption is said with the figure: what reads or writes rows takes as much longer as there are more
    rows in that of its tables which differs most.
    """
    scene = Scene()
    durations = {each.folder: each.duration_ms for each in done}
    steps: list[Step] = []
    for migration in ours:
        statements = await statements_of(f"{migration.path}/migration.sql", migration.sql)
        classes, scene = await classes_of(f"{migration.path}/migration.sql", migration.sql, scene)
        kind = worst(each.kind for each in classes)
        tables = {getattr(action, "table", None) for each in statements for action in each.actions} - {None}
        touched: list[Table] = sorted(table for table in tables if table is not None)
        took, expected = durations[migration.folder], "its time does not grow with rows"
        if kind != "additive":
            here = await probes.count_rows(staging, touched)
            expected = _expected(took, here, await probes.count_rows(production, touched))
        detail = f"{kind}; {expected}"
        steps.append(Step(name=f"migration {migration.folder}", detail=detail, duration_ms=took))
    return tuple(steps)


def _expected(took_ms: int, here: Mapping[Table, int], there: Mapping[Table, int]) -> str:
    grown = {table: there[table] / max(here.get(table, 0), 1) for table in there if there[table]}
    if not grown:
        return "production has no rows in its tables"
    table = max(grown, key=lambda each: grown[each])
    counted = f"{shown(table)} has {here.get(table, 0):,} rows in staging and {there[table]:,} in production"
    if not here.get(table):
        return f"{counted}, so its time there is not known"
    expected_s = took_ms * max(grown[table], 1) / 1000
    return f"{counted}: about {expected_s:.1f} s there, if its time grows with them"
