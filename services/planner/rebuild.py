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
from shared.replay.bulk import Newest, copy_rows, drop_indexes, upsert
from shared.replay.restorer import AUDIT_LOG, CannotRebuild, Part, Restorer
from shared.replay.told import Told
from shared.storage.database import Database

# In the text of a RunChanged nothing before it can look like this: in a string the quotes are escaped.
_REVISION = b'"revision":'
_NUMBER = re.compile(rb"\d+")
_RUN = b'{"run":'
_ORIGIN = b',"origin":{"registration":{'
_PLAN, _DIGEST = b'{"plan":', re.compile(rb',"digest":"([0-9a-f]{64})"}\Z')
_ENDED = frozenset({"succeeded", "rolled-back", "cancelled"})

_RUN_COLUMNS = (
    *("id", "revision", "project", "status", "started", "ended", "plan", "look_at", "awaits_thaw"),
    *("requested_at", "told", "origin", "plan_document"),
)
_TABLES = "create temporary table told_plans (digest text, plan text) on commit drop"
# What was not read together was not written together: a later row of a Run lacks what an earlier one has.
_SCATTERED = """
create temporary table scattered on commit drop as
    select id, origin, plan, plan_document from runs
    where id in (select id from runs group by id having count(*) > 1);
insert into told_plans select plan, plan_document from scattered where plan_document is not null;
analyze scattered, told_plans;
"""
_COMPLETE = """
update runs r set origin = s.origin from scattered s
where s.id = r.id and r.origin = '' and s.origin <> '';
update runs r set plan_document = p.plan from told_plans p
where p.digest = r.plan and r.plan_document is null;
"""
_FENCES = """
insert into projects as t (id, revision, map_revision, fence)
select project, 0, 0, fence from unnest($1::text[], $2::bigint[]) as told (project, fence)
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
        AUDIT_LOG,
    )

    def __init__(self) -> None:
        self._runs = Newest[str, bytes]("runs", _RUN_COLUMNS, "id", "revision desc", self._row)
        self._origins: dict[str, str] = {}
        """Of each Run whose first event has been read and whose row has not been written since."""
        self._plans: dict[str, str] = {}
        """By their digests, as long."""
        self._fences: dict[str, int] = {}
        self._indexes: list[str] = []
        self._fleet: tuple[int, str] | None = None

    async def prepare(self, connection: Any) -> None:
        await connection.execute(_TABLES)
        self._indexes = await drop_indexes(connection, "runs")

    async def restore(self, events: Sequence[Told], connection: Any) -> None:
        for event in events:
            match event.name:
                case "RunChanged":
                    run, revision = _run_and_revision(event)
                    self._runs.hold(run, revision, event.body, len(event.body))
                    if revision == 1:
                        self._origins[run] = _origin(event.body)
                case "PlanReady":
                    digest, plan = _plan(event.body)
                    self._plans[digest] = plan
                case "DeploysFrozen" | "DeploysThawed":
                    self._fleet = max(self._fleet or (0, ""), _fleet(event))
        if self._runs.is_full:
            await self._write(connection)

    async def _write(self, connection: Any) -> None:
        await self._runs.write(connection)
        # Those of Runs of which the next event tells.
        await copy_rows(connection, "told_plans", ("digest", "plan"), list(self._plans.items()))
        self._plans.clear()

    def _row(self, name: str, revision: int, body: bytes) -> tuple[Any, ...]:
        """A row of `_RUN_COLUMNS`; of an event that does not tell everything nothing is told."""
        event = from_json(body)
        run, work = event["run"], event.get("work")
        begun = any(record["stage"] == "prepare" for record in run["stages"])
        wake_at = None if work is None else work.get("wake_at")
        self._fences[run["project"]] = max(run["fence"], self._fences.get(run["project"], 0))
        return (
            *(name, revision, run["project"], run["status"], begun, run["status"] in _ENDED, run["plan"]),
            None if wake_at is None else datetime.fromisoformat(wake_at),
            work is not None and work.get("awaits_thaw", False),
            datetime.fromisoformat(run["requested_at"]),
            "" if work is None else body.decode(),
            self._origins.pop(name, ""),
            self._plans.pop(run["plan"], None),
        )

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
        await self._write(connection)
        await connection.execute(_SCATTERED)
        await self._runs.settle(connection, self._indexes)
        await connection.execute(_COMPLETE)
        lost = await connection.fetchval("select min(id) from runs where origin = '' or told = ''")
        if lost is not None:
            raise CannotRebuild(
                f"{RUN_EVENTS.name} does not hold the whole of {lost}: its first event is gone, or a"
                " version sent it that did not tell everything"
            )
        await connection.execute(_FENCES, list(self._fences), list(self._fences.values()))
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


def _origin(body: bytes) -> str:
    """The Run's origin as it stands in its first event, where it comes last; empty if it is not there."""
    if body.count(_ORIGIN) != 1:
        origin = from_json(body).get("origin")
        return "" if origin is None else to_json(origin).decode()
    return body[body.index(_ORIGIN) + len(b',"origin":') : -1].decode()


def _plan(body: bytes) -> tuple[str, str]:
    """The digest and the plan as they stand in a PlanReady."""
    found = _DIGEST.search(body, len(body) - 96)
    if found is None or not body.startswith(_PLAN):
        document = from_json(body)
        return document["digest"], to_json(document["plan"]).decode()
    return found[1].decode(), body[len(_PLAN) : found.start()].decode()


def _fleet(event: Told) -> tuple[int, str]:
    document = from_json(event.body)
    state = {"freeze": document.get("freeze"), "revision": document["revision"]}
    return document["revision"], json.dumps(state)


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
