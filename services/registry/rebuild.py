"""The registry's database from its own events; what a release's package says is read from the package."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from services.registry.domain.declared import defined_names, types_of
from shared.clients.content import ContentStore
from shared.contracts.moments import read_moment
from shared.contracts.topics import (
    PROJECT_EVENTS,
    RELEASE_COMMANDS,
    RELEASE_EVENTS,
    VERSION_MAP_COMMANDS,
    VERSION_MAP_EVENTS,
)
from shared.errors import Reject, Retry
from shared.packages.package import Package, read_package
from shared.replay.bulk import Newest, copy_rows, drop_indexes, make_indexes
from shared.replay.restorer import AUDIT_LOG, CannotRebuild, Part, Restorer
from shared.replay.told import Told
from shared.repository_urls import repository_identity

_TABLES = """
create temporary table told_releases (system text, version text, name text, revision bigint, event text)
    on commit drop;
create temporary table told_maps (project text, revision bigint, holder text, fence bigint) on commit drop;
create temporary table told_fences (project text, fence bigint) on commit drop;
"""
_MAPS = """
insert into version_maps (project, event_type, event, fence, holder)
select m.project, h.event_type, h.event, greatest(f.fence, m.fence), m.holder
from told_maps m
join version_map_history h using (project, revision)
left join (select project, max(fence) as fence from told_fences group by project) f on f.project = m.project
"""
_NEWEST_PROJECT = "(registered->>'revision')::bigint desc"
_REVISION = re.compile(rb',"revision":(\d+)}\Z')
_HISTORY = ("project", "revision", "event_type", "event", "happened_at")
_MAP_EVENTS = frozenset({"VersionMapRecorded", "VersionMapHeld", "VersionMapReleased"})


@dataclass
class _Map:
    """Where a Project's version map stands after what was read of it."""

    revision: int = 0
    holder: str | None = None
    """The Run that holds it, recorded it, or let it go."""
    fence: int = 0
    held_by: str | None = None
    """The Run that held it last."""

    def hear(self, name: str, revision: int, version_map: dict[str, Any], fence: int) -> None:
        self.fence = max(self.fence, fence)
        if revision <= self.revision:
            return  # a repeat
        self.revision = revision
        match name:
            case "VersionMapHeld":
                self.holder = self.held_by = version_map.get("held_by")
            case "VersionMapRecorded":
                self.holder = version_map.get("run_id")
            case "VersionMapReleased":
                self.holder = self.held_by


class RegistryRestorer(Restorer):
    """Releases, Projects, version maps and their history."""

    service = "registry"
    writes = (RELEASE_EVENTS, PROJECT_EVENTS, VERSION_MAP_EVENTS)
    copies = (RELEASE_COMMANDS, VERSION_MAP_COMMANDS)
    parts = (
        Part("systems", "select name, revision::text from systems"),
        Part(
            "releases",
            "select system || ' ' || version, concat_ws('|', published::jsonb, withdrawal::jsonb,"
            " defaults::jsonb, defines::jsonb, changelog, migration_notes) from releases",
        ),
        Part("projects", "select id, registered::jsonb::text from projects"),
        Part("proposals", "select project, proposal::jsonb::text from proposals"),
        Part(
            "version_maps",
            "select project, concat_ws('|', event_type, event::jsonb, fence, holder) from version_maps",
        ),
        Part(
            "history",
            "select concat_ws(' ', project, lpad(revision::text, 12, '0')),"
            " concat_ws('|', event_type, event::jsonb, extract(epoch from happened_at))"
            " from version_map_history",
        ),
        AUDIT_LOG,
    )

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._maps: dict[str, _Map] = {}
        self._projects: Newest[str, bytes] = Newest(
            *("projects", ("id", "registered"), "id", _NEWEST_PROJECT),
            lambda key, _, event: (key, event.decode()),
        )
        self._proposals: dict[str, Any] = {}
        """The last of each Project."""
        self._indexes: dict[str, list[str]] = {}

    async def prepare(self, connection: Any) -> None:
        await connection.execute(_TABLES)
        # What refers to a Project comes before it.
        for table in ("version_map_history", "version_maps", "projects"):
            self._indexes[table] = await drop_indexes(connection, table)

    async def restore(self, events: Sequence[Told], connection: Any) -> None:
        releases = []
        history: dict[tuple[str, int], tuple[str, str, datetime]] = {}
        for event in events:
            if event.name == "CommandRefused":
                continue
            if event.name == "ProjectRegistered":
                self._projects.hold(event.subject, _revision(event.body), event.body, len(event.body))
                continue
            document = from_json(event.body)
            if event.name == "RegistrationProposed":
                self._proposals[event.subject] = document["proposal"]
            elif event.name in _MAP_EVENTS:
                told = document["version_map"]
                project, revision = told["project"], told["revision"]
                history[project, revision] = (
                    event.name,
                    event.body.decode(),
                    read_moment(event.time),
                )
                known = self._maps.get(project)
                if known is None:
                    known = self._maps[project] = _Map()
                known.hear(event.name, revision, told, document.get("fence") or 0)
            else:
                release = document["release"]
                key = (release["system"], release["version"])
                releases.append((*key, event.name, document["revision"], event.body.decode()))
        await connection.copy_records_to_table("told_releases", records=releases)
        await copy_rows(
            connection, "version_map_history", _HISTORY, [(*key, *row) for key, row in history.items()]
        )
        if self._projects.is_full:
            await self._projects.write(connection)

    async def copy(self, events: Sequence[Told], connection: Any) -> None:
        """The fences of version-map commands: a repeat makes no event, and still forbids older ones."""
        fences = [
            (event.subject, from_json(event.body)["fence"])
            for event in events
            if event.name.endswith("VersionMap")
        ]
        await connection.copy_records_to_table("told_fences", records=fences)

    async def unanswered(self, commands: Sequence[Told], connection: Any) -> None:
        """Packages that were being checked are checked again."""
        rows = [
            (event.source, event.id, event.subject, event.body.decode(), json.dumps(_cause(event)))
            for event in commands
            if event.name == "PublishRelease"
        ]
        if rows:
            await connection.execute(
                "insert into package_checks"
                " (source, message_id, system, command, cause, state, attempts, due_at)"
                " select source, id, system, command::json, cause::json, 'queued', 0, now()"
                " from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])"
                " as c (source, id, system, command, cause) on conflict do nothing",
                *(list(column) for column in zip(*rows, strict=True)),
            )

    async def finish(self, connection: Any) -> None:
        await connection.execute(
            "insert into systems (name, revision)"
            " select system, max(revision) from told_releases group by system"
        )
        for row in await connection.fetch(
            "select distinct on (p.system, p.version) p.system, p.version, p.event as published,"
            " w.event as gone"
            " from told_releases p left join told_releases w on (w.system, w.version) = (p.system, p.version)"
            " and w.name = 'ReleaseWithdrawn' where p.name = 'ReleasePublished' order by p.system, p.version"
        ):
            await self._release(row, connection)
        await self._projects.settle(connection, self._indexes["projects"])
        await _claim_repositories(connection)
        await connection.execute(
            "insert into proposals (project, proposal) select * from unnest($1::text[], $2::json[])",
            list(self._proposals),
            [json.dumps(proposal) for proposal in self._proposals.values()],
        )
        history = "version_map_history"
        await make_indexes(connection, history, self._indexes[history], "project, revision", "happened_at")
        await connection.copy_records_to_table(
            "told_maps",
            records=[(project, one.revision, one.holder, one.fence) for project, one in self._maps.items()],
        )
        await connection.execute(_MAPS)
        for index in self._indexes["version_maps"]:
            await connection.execute(index)

    async def _release(self, row: Any, connection: Any) -> None:
        digest = from_json(row["published"])["release"]["package"]
        package = await self._package(digest, f"{row['system']} {row['version']}")
        await connection.execute(
            "insert into releases (system, version, published, withdrawal, defaults, defines, changelog,"
            " migration_notes) values ($1, $2, $3, $4, $5, $6, $7, $8)",
            row["system"],
            row["version"],
            row["published"],
            row["gone"],
            json.dumps(types_of(package.manifest.config)),
            json.dumps(defined_names(package.schema)),
            package.changelog[row["version"]],
            package.migration_notes[row["version"]],
        )

    async def _package(self, digest: str, name: str) -> Package:
        try:
            return read_package(await self._content.get(digest))
        except (Reject, Retry, OSError) as error:
            raise CannotRebuild(f"the package of {name}, {digest}, cannot be read: {error}") from error

    def answer(self, event: Told) -> str | None:
        """A new Project is answered by its registration, not by the map that came with it."""
        return None if event.name in _MAP_EVENTS else event.body.decode()


async def _claim_repositories(connection: Any) -> None:
    """Each Project has its repository; of two that had the same one before that was forbidden, the first."""
    owners: dict[str, str] = {}
    for project, repository in await connection.fetch(
        "select id, registered->'project'->>'repository' from projects order by id"
    ):
        if (identity := repository_identity(repository)) is not None:
            owners.setdefault(identity, project)
    await connection.execute(
        "update projects set repository = c.repository"
        " from unnest($1::text[], $2::text[]) as c (id, repository) where projects.id = c.id",
        list(owners.values()),
        list(owners),
    )


def _revision(body: bytes) -> int:
    """The last field; in a string the quotes would be escaped."""
    found = _REVISION.search(body, len(body) - 32)
    revision: int = int(found[1]) if found else from_json(body)["revision"]
    return revision


def _cause(event: Told) -> dict[str, Any]:
    return {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": read_moment(event.time).isoformat(),
        "correlation_id": event.run,
    }
