"""The notifier's database from its own events, and from what it had read of releases and pins."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic_core import from_json, to_json

from shared.contracts.topics import (
    NOTIFICATION_EVENTS,
    PROJECT_EVENTS,
    RELEASE_EVENTS,
    VERSION_MAP_EVENTS,
)
from shared.replay.bulk import Newest, drop_indexes, upsert
from shared.replay.restorer import AUDIT_LOG, Part, Restorer
from shared.replay.told import Told

_TABLES = """
create temporary table told_maps (project text primary key, revision bigint, pins jsonb) on commit drop;
"""
_BEFORE, _REVISION = b'{"notification":', b',"revision":'
_NOTIFICATION = ("project", "system", "version", "state", "revision", "notification")

_FANOUTS = """
insert into fanouts (system, versions, cause, after_version, after_project)
select n.system, json_agg(p.version), n.cause::json, '', ''
from unnest($1::text[], $2::text[]) as n (system, cause)
join (select distinct system, version from pins) p using (system)
group by n.system, n.cause
"""


class NotifierRestorer(Restorer):
    """Every notification in its last state; known releases and pins as far as they had been weighed."""

    service = "notifier"
    writes = (NOTIFICATION_EVENTS,)
    copies = (RELEASE_EVENTS, PROJECT_EVENTS, VERSION_MAP_EVENTS)
    parts = (
        Part(
            "notifications",
            "select concat_ws(' ', project, system, version),"
            " concat_ws('|', state, revision, notification::jsonb) from notifications",
        ),
        Part("revisions", "select project, revision::text from inboxes where revision > 0"),
        Part(
            "releases",
            "select system || ' ' || version, release::jsonb::text from known_releases",
            own=False,
        ),
        Part("pins", "select project || ' ' || system, version from pins", own=False),
        Part("inboxes", "select project, map_revision::text from inboxes", own=False),
        AUDIT_LOG,
    )

    def __init__(self) -> None:
        self._told: Newest[tuple[str, str, str], tuple[str, bytes]] = Newest(
            "notifications",
            _NOTIFICATION,
            "project, system, version",
            "revision desc",
            lambda key, revision, told: (*key, told[0], revision, _notification(told[1])),
        )
        self._indexes: list[str] = []
        self._last: dict[str, tuple[int, Told]] = {}
        """Of each System the last release event."""

    async def prepare(self, connection: Any) -> None:
        await connection.execute(_TABLES)
        # One of a Project and a System is open in the end; on the way there may be two.
        self._indexes = await drop_indexes(connection, "notifications")

    async def restore(self, events: Sequence[Told], connection: Any) -> None:
        for event in events:
            document = from_json(event.body)
            told = document["notification"]
            key = (told["project"], told["system"], told["version"])
            self._told.hold(key, document["revision"], (told["state"], event.body), len(event.body))
        if self._told.is_full:
            await self._told.write(connection)

    async def copy(self, events: Sequence[Told], connection: Any) -> None:
        releases: dict[tuple[str, str], str] = {}
        projects: dict[str, None] = {}
        maps: dict[str, tuple[int, str]] = {}
        for event in events:
            document = from_json(event.body)
            match event.name:
                case "ReleasePublished" | "ReleaseWithdrawn":
                    release = document["release"]
                    key = (release["system"], release["version"])
                    revision, _ = self._last.get(key[0], (0, None))
                    if document["revision"] >= revision:
                        self._last[key[0]] = (document["revision"], event)
                    if key not in releases or event.name == "ReleaseWithdrawn":
                        releases[key] = to_json(release).decode()
                case "ProjectRegistered":
                    projects[event.subject] = None
                case "VersionMapRecorded":
                    told = document["version_map"]
                    if event.subject not in maps or maps[event.subject][0] < told["revision"]:
                        maps[event.subject] = (told["revision"], to_json(told["pins"]).decode())
        await upsert(
            connection,
            "known_releases",
            {"system": "text", "version": "text", "release": "json"},
            [(*key, release) for key, release in releases.items()],
            "system, version",
            # Withdrawn stays withdrawn, whatever arrives later.
            "t.release->>'withdrawn' is null",
        )
        await connection.execute(
            "insert into inboxes (project, revision, map_revision)"
            " select project, 0, 0 from unnest($1::text[]) as p (project) on conflict do nothing",
            list(projects),
        )
        await upsert(
            connection,
            "told_maps",
            {"project": "text", "revision": "bigint", "pins": "jsonb"},
            [(project, *told) for project, told in maps.items()],
            "project",
            "t.revision < excluded.revision",
        )

    async def finish(self, connection: Any) -> None:
        await self._told.settle(connection, self._indexes)
        await connection.execute(
            "insert into pins (project, system, version)"
            " select project, key, value from told_maps, jsonb_each_text(pins)"
        )
        await connection.execute(
            "insert into inboxes as t (project, revision, map_revision)"
            " select project, coalesce(n.revision, 0), coalesce(m.revision, 0) from told_maps m"
            " full join (select project, max(revision) as revision from notifications group by project) n"
            " using (project)"
            " on conflict (project) do update set"
            " revision = excluded.revision, map_revision = excluded.map_revision"
        )
        # No event says that everybody has been told of a Release: the service looks at them once more, and
        # whoever has been told already is told nothing.
        await connection.execute(
            _FANOUTS,
            list(self._last),
            [to_json(asdict(event.envelope)).decode() for _, event in self._last.values()],
        )


def _notification(body: bytes) -> str:
    """The notification as it stands in its event."""
    end = body.rfind(_REVISION)
    if end < 0 or not body.startswith(_BEFORE):
        return to_json(from_json(body)["notification"]).decode()
    return body[len(_BEFORE) : end].decode()
