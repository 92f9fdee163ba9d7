"""The planner's hot statements: each does a whole batch by key."""

from collections.abc import Sequence

from services.planner.recovery import FleetState
from services.planner.run import Run
from services.planner.store.memory import KeptRun, KnownProject, KnownReleases
from shared.contracts.freezes import FLEET
from shared.contracts.run_state import RunOrigin
from shared.contracts.values import Contract
from shared.storage.statement import HOLDS, Part

_RUN = "r.id, r.revision, r.told, r.origin, r.plan_document"
"""What `Run.whole` makes a Run of."""

PROJECTS = (
    "select p.id, p.version, p.project::text, p.revision, p.version_map::text, p.map_revision, p.fence,"
    f" {_RUN}"
    " from unnest($1::text[]) as asked (id) join projects p on p.id = asked.id"
    " left join runs r on r.project = p.id and r.started and not r.ended"
)
"""Projects, each with its started Run that has not ended."""

RUNS = f"select r.project, {_RUN} from unnest($1::text[]) as asked (id) join runs r on r.id = asked.id"
OPEN_RUNS = f"select {_RUN} from runs r where not r.ended order by r.requested_at"

RELEASES = (
    "select b.revision, r.system, r.version, r.revision, r.release::text"
    " from release_book b left join releases r on true"
)


LOOK_LATER = (
    "update runs set look_at = (told::json->'work'->>'wake_at')::timestamptz"
    " where look_at <= $1 and coalesce((told::json->'work'->>'wake_at')::timestamptz > $1, true)"
)
"""Timers that have been moved since they were written down are looked at when they come."""

DUE = (
    "select id, project from runs where look_at <= $1"
    " union all select id, project from runs where awaits_thaw and $2 and (look_at is null or look_at > $1)"
    " limit 100"
)
"""Runs whose timer has come, and those that wait for the thaw if it has."""

ACCEPTED_MASKS = (
    "select told::json #>> '{work,masks}' from runs where project = $1 and started"
    " and told <> '' and told::json #>> '{work,masks}' is not null"
    " order by (told::json #>> '{work,masks_at}')::timestamptz desc nulls last limit 1"
)
"""The rules that a Project's last start accepted: they follow from the Runs, also after a rebuild."""

FLEET_STATE = f"select state::text from fleet where id = '{FLEET}'"
_FLEET_REVISION = f"coalesce((select (state->>'revision')::bigint from fleet where id = '{FLEET}'), 0)"


def guard(projects: Sequence[KnownProject], book_revision: int | None, fleet_revision: int | None) -> Part:
    """Whether these Projects, and releases and fleet if a revision is given, are as they were read."""
    locked = (
        "select 1 from projects p join unnest($1::text[], $2::bigint[]) as seen (id, version)"
        " on p.id = seen.id and p.version = seen.version order by p.id for update of p"
    )
    sql = (
        f"select (select count(*) from ({locked}) as locked) = $3"
        " and ($4::bigint is null or (select revision from release_book where id = 1) = $4)"
        f" and ($5::bigint is null or {_FLEET_REVISION} = $5) as holds"
    )
    there = [known for known in projects if known.version > 0]
    ids, versions = [known.id for known in there], [known.version for known in there]
    return Part(sql, (ids, versions, len(there), book_revision, fleet_revision))


def write_fleet(state: FleetState) -> Part:
    sql = (
        f"insert into fleet (id, state) select '{FLEET}', $1::text::json where {HOLDS}"
        " on conflict (id) do update set state = excluded.state"
        f" where (fleet.state->>'revision')::bigint < {state.revision}"
    )
    return Part(sql, (state.model_dump_json(),))


def write_projects(changed: Sequence[KnownProject]) -> list[Part]:
    """New Projects are added, those that are there are overwritten and their version raised."""
    columns = (
        "unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[])"
        " as n (id, project, revision, version_map, map_revision, fence)"
    )
    add = (
        "insert into projects (id, project, revision, version_map, map_revision, fence, version)"
        " select id, project::json, revision, version_map::json, map_revision, fence, 1"
        f" from {columns} where {HOLDS}"
    )
    change = (
        "update projects p set project = coalesce(n.project::json, p.project), revision = n.revision,"
        " version_map = coalesce(n.version_map::json, p.version_map), map_revision = n.map_revision,"
        f" fence = n.fence, version = p.version + 1 from {columns} where p.id = n.id and {HOLDS}"
    )
    parts = []
    for sql, some in (
        (add, [known for known in changed if known.version == 0]),
        (change, [known for known in changed if known.version > 0]),
    ):
        if some:
            parts.append(Part(sql, _project_columns(some)))
    return parts


def _project_columns(some: Sequence[KnownProject]) -> tuple[list[object], ...]:
    return (
        [known.id for known in some],
        [
            known.project.model_dump_json(by_alias=True) if known.project and known.project_is_new else None
            for known in some
        ],
        [known.revision for known in some],
        [
            known.version_map.model_dump_json() if known.version_map and known.map_is_new else None
            for known in some
        ],
        [known.map_revision for known in some],
        [known.fence for known in some],
    )


def write_runs(changed: Sequence[KeptRun]) -> list[Part]:
    """New Runs are added, the others overwritten; what never changes of them is not written again."""
    names = (
        "id, project, status, started, ended, revision, plan, look_at, requested_at, awaits_thaw,"
        " told, origin, plan_document"
    )
    columns = (
        "unnest($1::text[], $2::text[], $3::text[], $4::bool[], $5::bool[], $6::bigint[], $7::text[],"
        " $8::timestamptz[], $9::timestamptz[], $10::bool[], $11::text[], $12::text[], $13::text[])"
    )
    add = f"insert into runs ({names}) select {names} from {columns} as n ({names}) where {HOLDS}"
    # A timer that comes later than it is looked for costs a look; one that is moved costs every index.
    change = (
        "update runs r set status = n.status, started = n.started, ended = n.ended, revision = n.revision,"
        " plan = n.plan, look_at = case when n.ended then null else least(r.look_at, n.look_at) end,"
        " awaits_thaw = n.awaits_thaw, told = n.told,"
        " plan_document = coalesce(n.plan_document, r.plan_document)"
        f" from {columns} as n ({names}) where r.id = n.id and {HOLDS}"
    )
    parts = []
    for sql, some in (
        (add, [kept for kept in changed if kept.is_new]),
        (change, [kept for kept in changed if not kept.is_new]),
    ):
        if some:
            parts.append(Part(sql, _run_columns(some)))
    return parts


def _run_columns(some: Sequence[KeptRun]) -> tuple[list[object], ...]:
    # What ends comes first: the next started Run of a Project must find its place free.
    some = sorted(some, key=lambda kept: not kept.run.ended)
    runs = [kept.run for kept in some]
    return (
        [run.id for run in runs],
        [run.project for run in runs],
        [run.status for run in runs],
        [is_started(run) for run in runs],
        [run.ended for run in runs],
        [kept.revision for kept in some],
        [run.plan for run in runs],
        [run.wake_at for run in runs],
        [run.requested_at for run in runs],
        [run.awaits_thaw for run in runs],
        [(kept.told or b"").decode() for kept in some],
        [_json(kept.run.part(RunOrigin)) if kept.is_new else None for kept in some],
        [_json(kept.run.plan_document) if kept.plan_is_new else None for kept in some],
    )


def _json(document: Contract | None) -> str | None:
    return None if document is None else document.model_dump_json(by_alias=True)


def is_started(run: Run) -> bool:
    """Somebody has opted in."""
    return run.record_of("prepare") is not None


def write_releases(changed: KnownReleases) -> list[Part]:
    """Older news than what is there is dropped; the book's revision grows."""
    add = (
        "insert into releases (system, version, revision, release)"
        " select system, version, revision, release::json"
        " from unnest($1::text[], $2::text[], $3::bigint[], $4::text[])"
        " as n (system, version, revision, release)"
        f" where {HOLDS} on conflict (system, version) do update"
        " set revision = excluded.revision, release = excluded.release"
        " where releases.revision < excluded.revision"
    )
    args = (
        [system for system, _ in changed],
        [version for _, version in changed],
        [revision for _, revision in changed.values()],
        [release.model_dump_json() for release, _ in changed.values()],
    )
    count = f"update release_book set revision = revision + 1 where id = 1 and {HOLDS}"
    return [Part(add, args), Part(count)]
