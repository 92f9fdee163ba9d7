"""The planner's database from its own events: every Run is in its last one, its first one and its plan.

Of most events nothing is read but which Run they are of: the newest of each is held in memory, and written
when there are many, or at the end.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json

from services.planner.store import PlannerTransaction
from shared.contracts.freezes import FLEET
from shared.contracts.topics import PROJECT_EVENTS, RELEASE_EVENTS, RUN_EVENTS, VERSION_MAP_EVENTS
from shared.messaging.reminder import Reminder
from shared.replay.bulk import Newest, drop_indexes, upsert
from shared.replay.restorer import CannotRebuild, Part, Restorer
from shared.replay.told import Told
from shared.storage.database import Database

# In the text of a RunChanged nothing before it can look like this: in a string the quotes are escaped.
_REVISION = b'"revision":'
_NUMBER = re.compile(rb"\d+")
_RUN = b'{"run":'
_ORIGIN = b',"origin":{"registration":{'
_PLAN, _DIGEST = b'{"plan":', re.compile(rb',"digest":"([0-9a-f]{64})"}\Z')
_ENDED = frozenset({"succeeded", "rolled-back", "cancelled"})

_TOLD_RUNS = {
    "id": "text",
    "revision": "bigint",
    "project": "text",
    "status": "text",
    "started": "bool",
    "ended": "bool",
    "plan": "text",
    "look_at": "timestamptz",
    "awaits_thaw": "bool",
    "requested_at": "timestamptz",
    "fence": "bigint",
    "told": "text",
}
_TABLES = f"""
create temporary table told_runs ({", ".join(f"{name} {kind}" for name, kind in _TOLD_RUNS.items())})
    on commit drop;
create temporary table told_origins (id text, origin text) on commit drop;
create temporary table told_plans (id text, plan text) on commit drop;
alter table told_runs alter told set storage external;
alter table told_origins alter origin set storage external;
alter table told_plans alter plan set storage external;
"""
_RUNS = """
insert into runs
    (id, project, status, started, ended, revision, plan, look_at, awaits_thaw, requested_at,
     told, origin, plan_document)
select t.id, t.project, t.status, t.started, t.ended, t.revision, t.plan, t.look_at, t.awaits_thaw,
       t.requested_at, t.told, o.origin, p.plan
from told_runs t
join told_origins o on o.id = t.id
left join told_plans p on p.id = t.plan
"""
_FENCES = """
insert into projects as t (id, revision, map_revision, fence)
select project, 0, 0, max(fence) from told_runs group by project
on conflict (id) do update set fence = excluded.fence
"""


class PlannerRestorer(Restorer):
    """Runs and the freeze; and what the registry told of releases, Projects and version maps."""

    service = "planner"
    writes = (RUN_EVENTS,)
    copies = (RELEASE_EVENTS, PROJECT_EVENTS, VERSION_MAP_EVENTS)
    parts = (
        Part(
            "runs",
            "select id, concat_ws("
            "'|', id, project, revision, told::jsonb, origin::jsonb, plan_document::jsonb) from runs",
        ),
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
        self._runs = Newest[str, bytes]("told_runs", list(_TOLD_RUNS), "id", "revision desc", _row)
        # Of each there is one; what comes twice is the same.
        self._origins = Newest[str, bytes](
            *("told_origins", ["id", "origin"], "id", "ctid"), lambda run, _, body: (run, _origin(body))
        )
        self._plans = Newest[str, str](
            *("told_plans", ["id", "plan"], "id", "ctid"), lambda digest, _, plan: (digest, plan)
        )
        self._all: dict[str, Newest[str, Any]] = {
            "told_runs": self._runs,
            "told_origins": self._origins,
            "told_plans": self._plans,
        }
        self._fleet: tuple[int, str] | None = None

    async def prepare(self, connection: Any) -> None:
        await connection.execute(_TABLES)

    async def restore(self, events: Sequence[Told], connection: Any) -> None:
        for event in events:
            match event.name:
                case "RunChanged":
                    run, revision = _run_and_revision(event)
                    self._runs.hold(run, revision, event.body, len(event.body))
                    if revision == 1:
                        self._origins.hold(run, revision, event.body, len(event.body))
                case "PlanReady":
                    digest, plan = _plan(event.body)
                    self._plans.hold(digest, 0, plan, len(plan))
                case "DeploysFrozen" | "DeploysThawed":
                    self._fleet = max(self._fleet or (0, ""), _fleet(event))
        if any(held.is_full for held in self._all.values()):
            for held in self._all.values():
                await held.write(connection)

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
        for table, held in self._all.items():
            await held.settle(connection, [f"alter table {table} add primary key (id)"])
        await connection.execute(f"analyze {', '.join(self._all)}")
        lost = await connection.fetchval(
            "select min(t.id) from told_runs t left join told_origins o using (id)"
            " where o.origin is null or t.told is null"
        )
        if lost is not None:
            raise CannotRebuild(
                f"{RUN_EVENTS.name} does not hold the whole of {lost}: its first event is gone, or a"
                " version sent it that did not tell everything"
            )
        indexes = await drop_indexes(connection, "runs")
        await connection.execute(_RUNS)
        for index in indexes:
            await connection.execute(index)
        await connection.execute(_FENCES)
        if self._fleet is not None:
            await connection.execute(
                "insert into fleet (id, state) values ($1, $2::json)", FLEET, self._fleet[1]
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
                return _run_text(event.body)
            case "DeploysFrozen" | "DeploysThawed":
                return _fleet(event)[1]
            case _:
                return None


def _run_and_revision(event: Told) -> tuple[str, int]:
    run, at = event.run, event.body.find(_REVISION)
    found = _NUMBER.match(event.body, at + len(_REVISION)) if at >= 0 else None
    if run is None or found is None:
        raise CannotRebuild(f"a RunChanged of {event.subject} at {event.offset} names no Run or no revision")
    return run, int(found[0])


def _run_text(body: bytes) -> str:
    """The Run as it stands in its RunChanged."""
    end = body.find(_REVISION)
    if end < 0 or not body.startswith(_RUN):
        return to_json(from_json(body)["run"]).decode()
    return body[len(_RUN) : end - 1].decode()


def _origin(body: bytes) -> str | None:
    """The Run's origin as it stands in its first event, where it comes last; none if it is not there."""
    if body.count(_ORIGIN) != 1:
        return _text(from_json(body).get("origin"))
    return body[body.index(_ORIGIN) + len(b',"origin":') : -1].decode()


def _plan(body: bytes) -> tuple[str, str]:
    """The digest and the plan as they stand in a PlanReady."""
    found = _DIGEST.search(body, len(body) - 96)
    if found is None or not body.startswith(_PLAN):
        document = from_json(body)
        return document["digest"], to_json(document["plan"]).decode()
    return found[1].decode(), body[len(_PLAN) : found.start()].decode()


def _row(name: str, revision: int, body: bytes) -> tuple[Any, ...]:
    """A row of `_TOLD_RUNS`; one that does not tell everything tells nothing."""
    event = from_json(body)
    run, work = event["run"], event.get("work")
    begun = any(record["stage"] == "prepare" for record in run["stages"])
    wake_at = None if work is None else work.get("wake_at")
    return (
        *(name, revision, run["project"], run["status"], begun, run["status"] in _ENDED, run["plan"]),
        None if wake_at is None else datetime.fromisoformat(wake_at),
        work is not None and work.get("awaits_thaw", False),
        datetime.fromisoformat(run["requested_at"]),
        *(run["fence"], None if work is None else body.decode()),
    )


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
