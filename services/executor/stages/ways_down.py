"""How each migration of an upgrade is undone: its author's way or one that we make, tried beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from services.executor.clients import migrations
from services.executor.clients.dressing import dress
from services.executor.clients.migration_files import FOLDER, Migration
from services.executor.clients.postgres import (
    create_database,
    drop_database,
    schema_is,
    session,
)
from services.executor.clients.reading import read_in_child
from services.executor.clients.rehearsal import Rehearsed, Step, rehearse
from services.executor.clients.scripts import path_of, statements_of
from services.executor.clients.triggers import reach_of
from services.executor.domain.dressing import Dressing
from services.executor.domain.marks import costs, mark
from services.executor.domain.reach import Reach
from services.executor.domain.whose import Whose
from services.executor.stages.data_impact import in_deploy_order
from services.executor.stages.same_schema import unlike
from services.executor.stages.staging import production_url, staging_database
from services.executor.stages.tools import Tools
from shared.contracts.facts import PlannedMigration
from shared.contracts.impact import Probe, WayDown, WayDownMark
from shared.errors import Failure, Retry
from shared.jobs.job import Job
from shared.reading.progress import now_reading
from shared.sql.scene import Known, Scene
from shared.sql.script import read_statements

_HEADER = "-- Made from the schemas before and after this migration, and tried in a database without rows.\n"


async def find_ways_down(
    job: Job,
    tools: Tools,
    history: Sequence[Migration],
    planned: Sequence[PlannedMigration],
    production_schema: str,
    known: Known | None,
    whose: Whose | None = None,
) -> tuple[PlannedMigration, ...]:
    """The migrations, each with how it is undone; `history` is what the Project has had before.

    They are gone through in a database of their own on staging's server, which is gone afterwards. Raises
    Retry when that server cannot be used now.
    """
    if not planned:
        return ()
    ordered = in_deploy_order(planned)
    reach = await reach_of(production_url(job, tools))
    # In children, because bodies of functions are read for it, too.
    inside = ordered[: await read_in_child(FOLDER, count_inside, ordered, reach)]
    rehearsed, why = await _rehearsed(job, tools, history, inside, (production_schema, whose), reach.worn)
    if len(inside) < len(ordered):
        why = "the database is not all that changes from here on"
    found = await read_in_child(FOLDER, with_ways, ordered, Rehearsals(rehearsed, why), known, reach)
    return tuple(found[each.folder] for each in planned)


@dataclass(frozen=True)
class Rehearsals:
    """What came of going through each migration, by folder, and why nothing did for the others."""

    found: Mapping[str, Rehearsed]
    why_not: str


def count_inside(ordered: Sequence[PlannedMigration], reach: Reach) -> int:
    """How many come before the first that reaches beyond the database: to try that one would be to do it."""
    for number, each in enumerate(ordered):
        now_reading(path_of(each.folder))
        for statement in read_statements(each.sql):
            if any(reach.outside(statement)):
                return number
            reach.keep_up(statement)
    return len(ordered)


def with_ways(
    ordered: Sequence[PlannedMigration], rehearsals: Rehearsals, known: Known | None, reach: Reach
) -> dict[str, PlannedMigration]:
    """Each migration, by folder, with how it is undone."""
    scene = Scene(known)
    found: dict[str, PlannedMigration] = {}
    for each in ordered:
        now_reading(path_of(each.folder))
        rehearsed = rehearsals.found.get(each.folder)
        found[each.folder] = _with_way(each, rehearsed, rehearsals.why_not, scene, reach)
    return found


async def _rehearsed(
    job: Job,
    tools: Tools,
    history: Sequence[Migration],
    ordered: Sequence[PlannedMigration],
    production: tuple[str, Whose | None],
    worn: Dressing,
) -> tuple[dict[str, Rehearsed], str]:
    """What came of going through them; why nothing did, if nothing did."""
    database, url = staging_database(job, tools), production_url(job, tools)
    digest, whose = production
    steps = [
        Step(each.folder, await statements_of(path_of(each.folder), each.sql), each.down_sql)
        for each in ordered
    ]
    await drop_database(database.server, database.proof)
    try:
        await create_database(database.server, database.proof)
        try:
            await migrations.apply(database.proof_url, history, job.fencing_token)
        except Failure as failure:
            return {}, f"the Project's own migrations do not run on an empty database: {failure}"
        if await unlike(database.proof_url, url, whose=whose):
            return {}, "production's schema is not what the Project's migrations make"
        if not await schema_is(url, digest, whose):
            return {}, "production's schema changed while the plan was made"
        async with session(database.proof_url) as connection:
            await dress(connection, worn)
        why = "a migration before it fails on an empty database"
        return await rehearse(database.proof_url, steps, worn), why
    except asyncpg.DuplicateDatabaseError as error:
        raise Retry(f"another worker proves in {database.proof}") from error
    finally:
        await drop_database(database.server, database.proof)


def _with_way(
    migration: PlannedMigration, rehearsed: Rehearsed | None, why: str, scene: Scene, reach: Reach
) -> PlannedMigration:
    statements = read_statements(migration.sql)
    assert migration.impact is not None, "what it does to rows is found out first"
    gone = rehearsed.gone if rehearsed else ()
    known, lost = mark(statements, migration.impact.statements, scene, reach, gone)
    package = migration.down_sql is not None
    if rehearsed is None or rehearsed.error is not None:
        failing = rehearsed.error if rehearsed else None
        because = (
            f"it fails on an empty database, {_at(failing)}" if failing else f"it could not be tried: {why}"
        )
        way = WayDown(mark=_at_best(known), source="none", because=(because, *lost))
        # Its author's word stands where nothing could be tried.
        if package and failing is None and known != "point of no return":
            way = WayDown(mark="reversible", source="package", because=(because,))
        return _marked(migration, way, failing=failing)
    if rehearsed.left:
        whose = "its down.sql" if package else "no way down could be made: what was tried"
        way = WayDown(
            mark=_at_best(known),
            source="none",
            because=(f"{whose} does not lead back", *rehearsed.left, *lost),
        )
        return _marked(migration, way)
    if known == "point of no return" or (lost and not package):
        return _marked(migration, WayDown(mark=known, source="none", because=lost))
    asked = (*lost, *costs(statements))
    way = WayDown(mark="reversible", source="package" if package else "generated", because=asked)
    return _marked(migration, way, generated=None if package else _HEADER + rehearsed.down_sql + "\n")


def _at_best(known: WayDownMark) -> WayDownMark:
    return known if known == "point of no return" else "restore only"


def _at(failing: tuple[int, str]) -> str:
    line, words = failing
    return f"line {line}: {words}"


def _marked(
    migration: PlannedMigration,
    way: WayDown,
    *,
    generated: str | None = None,
    failing: tuple[int, str] | None = None,
) -> PlannedMigration:
    changes: dict[str, object] = {"way_down": way, "reversible": way.mark == "reversible"}
    if way.source == "none":
        changes["down_sql"] = None
    if generated is not None:
        changes |= {"down_sql": generated, "generated_down": generated}
    if failing is not None and migration.impact is not None:
        line, words = failing
        probe = Probe(question="does it run on an empty database?", verdict="would fail", detail=words)
        changes["impact"] = migration.impact.model_copy(
            update={
                "statements": tuple(
                    each.model_copy(update={"probes": (*each.probes, probe)}) if each.line == line else each
                    for each in migration.impact.statements
                )
            }
        )
    return migration.model_copy(update=changes)
