"""The planner's database from its own events: every Run is in its last one, its first one and its plan."""

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json, to_json

from services.planner.store import PlannerTransaction
from shared.contracts.freezes import FLEET
from shared.contracts.topics import PROJECT_EVENTS, RELEASE_EVENTS, RUN_EVENTS, VERSION_MAP_EVENTS
from shared.messaging.reminder import Reminder
from shared.replay.restorer import CannotRebuild, Part, Restorer, upsert
from shared.replay.told import Told
from shared.storage.database import Database

# In the text of a RunChanged nothing before it can look like this: in a string the quotes are escaped.
_REVISION = re.compile(rb'"revision":(\d+)')
_RUN = b'{"run":'

_TABLES = """
create temporary table told_runs (id text primary key, revision bigint, run text, work text) on commit drop;
create temporary table told_origins (id text primary key, origin text) on commit drop;
create temporary table told_plans (digest text primary key, plan text) on commit drop;
create temporary table told_fleet (revision bigint, state text) on commit drop;
"""
# Objects are put together as text: read and written anew, their keys would come in another order, and what is
# sent again would have other bytes.
_STATE = (
    "left(o.origin, -1) || ',' || substr(left(t.work, -1), 2) || ',' || substr(left(t.run, -1), 2)"
    """ || ',"plan_document":' || coalesce(p.plan, 'null') || '}'"""
)
_RUNS = f"""
insert into runs
    (id, project, status, started, ended, revision, plan, wake_at, awaits_thaw, requested_at, state)
select t.id, r.run->>'project', r.run->>'status',
       jsonb_path_exists(r.run, '$.stages[*] ? (@.stage == "prepare")'),
       r.run->>'status' in ('succeeded', 'rolled-back', 'cancelled'), t.revision, r.run->>'plan',
       (w.work->>'wake_at')::timestamptz, coalesce((w.work->>'awaits_thaw')::bool, false),
       (r.run->>'requested_at')::timestamptz, ({_STATE})::json
from told_runs t
join told_origins o on o.id = t.id
cross join lateral (select t.run::jsonb) as r (run)
cross join lateral (select t.work::jsonb) as w (work)
left join told_plans p on p.digest = r.run->>'plan'
"""
_FENCES = """
insert into projects as t (id, revision, map_revision, fence)
select project, 0, 0, max((state->>'fence')::bigint) from runs group by project
on conflict (id) do update set fence = excluded.fence
"""


class PlannerRestorer(Restorer):
    """Runs and the freeze; and what the registry told of releases, Projects and version maps."""

    service = "planner"
    writes = (RUN_EVENTS,)
    copies = (RELEASE_EVENTS, PROJECT_EVENTS, VERSION_MAP_EVENTS)
    parts = (
        Part("runs", "select id, concat_ws('|', id, project, revision, state::jsonb) from runs"),
        Part("fences", "select id, concat_ws('|', id, fence) from projects where fence > 0"),
        Part("fleet", "select id, state::jsonb::text from fleet"),
        Part(
            "releases",
            "select system || ' ' || version, concat_ws('|', revision, release::jsonb) from releases",
            own=False,
        ),
        Part(
            "projects",
            "select id, concat_ws('|', revision, project::jsonb, map_revision, version_map::jsonb)"
            " from projects where project is not null",
            own=False,
        ),
    )

    def __init__(self) -> None:
        self._opened: set[str] = set()

    async def prepare(self, connection: Any) -> None:
        await connection.execute(_TABLES)

    async def restore(self, events: Sequence[Told], connection: Any) -> None:
        newest: dict[str, tuple[int, Told]] = {}
        origins, plans, fleet = {}, {}, []
        for event in events:
            match event.name:
                case "RunChanged":
                    run, revision = _run_and_revision(event)
                    if revision == 1 and run not in self._opened:
                        self._opened.add(run)
                        origins[run] = _text(from_json(event.body).get("origin"))
                    if run not in newest or newest[run][0] <= revision:
                        newest[run] = (revision, event)
                case "PlanReady":
                    document = from_json(event.body)
                    plans[document["digest"]] = _text(document["plan"])
                case "DeploysFrozen" | "DeploysThawed":
                    fleet.append(_fleet(event))
        await connection.copy_records_to_table("told_fleet", records=fleet)
        await _keep_new(connection, "told_origins (id, origin)", origins)
        await _keep_new(connection, "told_plans (digest, plan)", plans)
        columns = {"id": "text", "revision": "bigint", "run": "text", "work": "text"}
        rows = [(run, revision, *_bodies(event)) for run, (revision, event) in newest.items()]
        await upsert(connection, "told_runs", columns, rows, "id", "t.revision <= excluded.revision")

    async def copy(self, events: Sequence[Told], connection: Any) -> None:
        releases: dict[tuple[str, str], tuple[int, str]] = {}
        projects: dict[str, tuple[int, str]] = {}
        maps: dict[str, tuple[int, str]] = {}
        for event in events:
            document = from_json(event.body)
            match event.name:
                case "ReleasePublished" | "ReleaseWithdrawn":
                    release = document["release"]
                    _newest(releases, (release["system"], release["version"]), document["revision"], release)
                case "ProjectRegistered":
                    _newest(projects, event.subject, document["revision"], document["project"])
                case "VersionMapRecorded" | "VersionMapHeld" | "VersionMapReleased":
                    version_map = document["version_map"]
                    _newest(maps, event.subject, version_map["revision"], version_map)
        await _keep_releases(connection, releases)
        await _keep_projects(connection, projects, maps)

    async def finish(self, connection: Any) -> None:
        lost = await connection.fetchval(
            "select min(t.id) from told_runs t left join told_origins o using (id)"
            " where o.origin is null or t.work is null"
        )
        if lost is not None:
            raise CannotRebuild(
                f"{RUN_EVENTS.name} does not hold the whole of {lost}: its first event is gone, or a"
                " version sent it that did not tell everything"
            )
        await connection.execute(_RUNS)
        await connection.execute(_FENCES)
        await connection.execute(
            "insert into fleet (id, state)"
            " select $1, state::json from told_fleet order by revision desc limit 1",
            FLEET,
        )

    async def remind(self, url: str) -> None:
        """Whoever has something to do is told again under the same id: a lost answer comes again."""
        database = Database("planner", url, PlannerTransaction, pool_size=1)
        try:
            await Reminder(database, PlannerTransaction.open_messages).start()
        finally:
            await database.close()

    def answer(self, event: Told) -> str | None:
        match event.name:
            case "RunChanged":
                end = _REVISION.search(event.body)
                if end is None or not event.body.startswith(_RUN):
                    return _text(from_json(event.body)["run"])
                return event.body[len(_RUN) : end.start() - 1].decode()
            case "DeploysFrozen" | "DeploysThawed":
                return _fleet(event)[1]
            case _:
                return None


def _run_and_revision(event: Told) -> tuple[str, int]:
    found = _REVISION.search(event.body)
    if event.run is None or found is None:
        raise CannotRebuild(f"a RunChanged of {event.subject} at {event.offset} names no Run or no revision")
    return event.run, int(found[1])


def _bodies(event: Told) -> tuple[str, str | None]:
    document = from_json(event.body)
    work = document.get("work")
    return to_json(document["run"]).decode(), _text(work)


def _fleet(event: Told) -> tuple[int, str]:
    document = from_json(event.body)
    state = {"freeze": document.get("freeze"), "revision": document["revision"]}
    return document["revision"], json.dumps(state)


def _text(value: Any) -> str | None:
    return None if value is None else to_json(value).decode()


def _newest(found: dict[Any, tuple[int, str]], key: Any, revision: int, document: Any) -> None:
    if key not in found or found[key][0] < revision:
        found[key] = (revision, to_json(document).decode())


async def _keep_new(connection: Any, table: str, values: dict[str, Any]) -> None:
    await connection.execute(
        f"insert into {table} select * from unnest($1::text[], $2::text[]) on conflict do nothing",
        list(values),
        list(values.values()),
    )


async def _keep_releases(connection: Any, releases: dict[tuple[str, str], tuple[int, str]]) -> None:
    await upsert(
        connection,
        "releases",
        {"system": "text", "version": "text", "revision": "bigint", "release": "json"},
        [(*key, *value) for key, value in releases.items()],
        "system, version",
        "t.revision < excluded.revision",
    )


async def _keep_projects(
    connection: Any, projects: dict[str, tuple[int, str]], maps: dict[str, tuple[int, str]]
) -> None:
    await connection.execute(
        "insert into projects (id, revision, map_revision, fence)"
        " select id, 0, 0, 0 from unnest($1::text[]) as p (id) on conflict do nothing",
        [*projects, *maps],
    )
    for found, revision, document in (
        (projects, "revision", "project"),
        (maps, "map_revision", "version_map"),
    ):
        await connection.execute(
            f"update projects p set {revision} = n.revision, {document} = n.document::json"
            " from unnest($1::text[], $2::bigint[], $3::text[]) as n (id, revision, document)"
            f" where p.id = n.id and p.{revision} < n.revision",
            list(found),
            [number for number, _ in found.values()],
            [said for _, said in found.values()],
        )
