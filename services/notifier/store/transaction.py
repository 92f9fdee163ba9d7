"""The notifier's queries. One release may concern thousands of Projects: all writes are sets."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import JSON, Select, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import col

from services.notifier.domain import Releases, moved
from services.notifier.store import inboxes
from services.notifier.store.fanout import Telling, event_of
from services.notifier.store.inboxes import Numbered, ProjectInbox
from services.notifier.store.tables import KnownReleaseRow, NotificationRow, ProjectInboxRow
from shared.contracts.notifications import Notification
from shared.contracts.releases import Release
from shared.contracts.values import Message
from shared.contracts.version_maps import VersionMapRecorded
from shared.storage.page_room import room_for
from shared.storage.statement import Part

# From each to the next one, as there are few among many pins.
_PINNED_VERSIONS = (
    "with recursive systems (system) as ((select min(system) from pins) union all"
    "  select (select min(p.system) from pins p where p.system > s.system) from systems s"
    "  where s.system is not null),"
    " versions (system, version) as (select s.system, (select min(version) from pins where system = s.system)"
    "  from (select system from systems where system is not null and $1::text[] is null"
    "   union all select unnest($1::text[])) s"
    " union all select v.system,"
    "  (select min(p.version) from pins p where p.system = v.system and p.version > v.version)"
    "  from versions v where v.version is not null)"
    " select system, version from versions where version is not null"
)

# One row a version, not one a Project: for a row each, the driver takes longer than the index does. No id of
# a Project has a space.
_WHO_PINS = (
    "select w.system, w.version, (select string_agg(p.project, ' ') from pins p"
    "  where p.system = w.system and p.version = w.version{among})"
    " from unnest($1::text[], $2::text[]) as w (system, version)"
)
_WHO_PINS_OF_ALL = _WHO_PINS.format(among="")
_WHO_PINS_AMONG = _WHO_PINS.format(among=" and p.project = any($3::text[])")


_PINS_PAGE = (
    "select p.project, p.system, p.version from pins p"
    " join unnest($1::text[], $2::text[]) as w (system, version) using (system, version)"
    " where ($3::text[] is null or p.project = any($3)) and (p.project, p.system) > ($4::text, $5::text)"
    " order by p.project, p.system limit $6::int"
)


class NotifierTransaction(Telling):
    """Releases and pins as they are known, and the inboxes.

    The inboxes of a batch of version maps are held here and written at the end, or when a release is weighed.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._weighs = False
        self._inboxes: dict[str, ProjectInbox] = {}
        self._releases: dict[str, Releases] = {}
        self._told: list[Numbered] = []
        self._revisions: dict[str, int] = {}

    async def preload(self, messages: Sequence[Message]) -> None:
        maps = [one.version_map for one in messages if isinstance(one, VersionMapRecorded)]
        if not maps:
            return
        await self._hold([one.project for one in maps])
        await self.releases(
            {name for one in maps for name in moved(self._inboxes[one.project].pins, one.pins)}
        )

    async def begin_weighing(self) -> None:
        """One after the other: a release and a new pin that do not see each other would be missed.

        What is held of single inboxes is written first.
        """
        await self._one_after_another()
        if self._inboxes:
            await self.write()

    async def inbox(self, project: str) -> ProjectInbox:
        """A Project's inbox, to be changed by what its version map says."""
        await self._hold([project])
        return self._inboxes[project]

    async def releases(self, systems: Iterable[str]) -> dict[str, Releases]:
        """What is known of these Systems, by System and version."""
        wanted = list(systems)
        missing = [system for system in wanted if system not in self._releases]
        if missing:
            rows = await self.fetch(
                "select system, version, release::text from known_releases where system = any($1::text[])",
                missing,
            )
            # All of a Library may be asked for: that is more than a loop can wait for.
            self._releases |= await asyncio.to_thread(_read_releases, missing, rows)
        return {system: self._releases[system] for system in wanted}

    async def save_release(self, release: Release) -> None:
        self._releases.pop(release.system, None)
        document = release.model_dump(mode="json")
        await self.session.execute(
            upsert(KnownReleaseRow)
            .values(system=release.system, version=release.version, release=document)
            .on_conflict_do_update(index_elements=["system", "version"], set_={"release": document})
        )

    async def open_inbox(self, project: str) -> None:
        """Make the Project's inbox unless there is one."""
        await self.session.execute(
            upsert(ProjectInboxRow)
            .values(project=project, revision=0, map_revision=0)
            .on_conflict_do_nothing()
        )

    async def pins_page(
        self,
        behind: Iterable[tuple[str, str]],
        projects: Sequence[str] | None,
        after: tuple[str, str],
        most: int,
    ) -> list[tuple[str, str, str]]:
        """Up to `most` pins (Project, System, version) of these (System, version) behind `after`."""
        wanted = list(behind)
        columns = ([system for system, _ in wanted], [version for _, version in wanted])
        among = None if projects is None else list(projects)
        return [tuple(row) for row in await self.fetch(_PINS_PAGE, *columns, among, *after, most)]

    async def has_inbox(self, project: str) -> bool:
        return await self.session.get(ProjectInboxRow, project) is not None

    async def pinned_versions(self, systems: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """Every (System, version) that anybody pins."""
        rows = await self.fetch(_PINNED_VERSIONS, None if systems is None else list(systems))
        return [(system, version) for system, version in rows]

    async def who_pins(
        self, pinned: Iterable[tuple[str, str]], projects: Sequence[str] | None
    ) -> dict[tuple[str, str], list[str]]:
        """The Projects of each of these (System, version), by name; `projects` None means all."""
        wanted = list(pinned)
        columns = ([system for system, _ in wanted], [version for _, version in wanted])
        if projects is None:
            rows = await self.fetch(_WHO_PINS_OF_ALL, *columns)
        else:
            rows = await self.fetch(_WHO_PINS_AMONG, *columns, list(projects))
        return {(system, version): names.split(" ") for system, version, names in rows if names}

    async def notifications(self, project: str, state: str | None = None) -> list[Notification]:
        """All of the Project's notifications, the newest first."""
        found = await self._numbered(_notifications(project, state))
        return [notification for notification, _ in found]

    async def notifications_page(
        self, project: str, state: str | None, before: int | None, most: int
    ) -> tuple[list[Numbered], bool]:
        """The Project's notifications before that revision, the newest first, and whether more follow.

        Fewer than `most`, as many as a page has room for.
        """
        query = _notifications(project, state)
        if before is not None:
            query = query.where(col(NotificationRow.revision) < before)
        fit, more = await room_for(self.session, query, col(NotificationRow.notification), most=most)
        return await self._numbered(query.limit(fit)), more

    async def _numbered(self, query: Select[Any]) -> list[Numbered]:
        rows = await self.session.execute(query)
        return [(Notification.model_validate(document), revision) for document, revision in rows]

    async def tell(self, changed: Sequence[Notification]) -> None:
        """Keep the changed notifications and send them. Weighing must have begun, or their inbox be held."""
        missing = sorted({one.project for one in changed if one.project not in self._inboxes})
        if missing:
            rows = await self.fetch(inboxes.INBOXES, missing)
            self._revisions |= {project: revision for project, revision, _ in rows}
        for notification in changed:
            held = self._inboxes.get(notification.project)
            if held is not None:
                revision = held.tell(notification)
            else:
                revision = self._revisions[notification.project] = self._revisions[notification.project] + 1
            self.send(event_of(notification, revision))
            self._told.append((notification, revision))

    def parts(self) -> list[Part]:
        written = [
            *(inboxes.write_inboxes(list(self._inboxes.values())) if self._inboxes else ()),
            *([inboxes.write_revisions(self._revisions)] if self._revisions else ()),
            *inboxes.write_notifications(self._told),
        ]
        self._inboxes, self._revisions, self._told = {}, {}, []
        return written

    async def handled(self) -> None:
        if self._revisions:
            await self.write()
        await super().handled()

    async def _one_after_another(self) -> None:
        if not self._weighs:
            await self.lock("inboxes", "all")
            self._weighs = True

    async def _hold(self, projects: Sequence[str]) -> None:
        missing = sorted({project for project in projects if project not in self._inboxes})
        if not missing:
            return
        await self._one_after_another()
        for row in await self.fetch(inboxes.WHOLE, missing):
            self._inboxes[row[0]] = inboxes.read_inbox(*row)

    async def reminders(self) -> list[Message]:
        """For a broker that forgot: every open notification, and each inbox's last change."""
        rows = await self.session.execute(
            text(
                "select n.notification, n.revision from notifications n join inboxes i using (project)"
                " where n.state = 'open' or n.revision = i.revision order by n.project, n.revision"
            ).columns(notification=JSON)
        )
        return [event_of(Notification.model_validate(told), revision) for told, revision in rows]


def _read_releases(systems: Iterable[str], rows: Iterable[Sequence[str]]) -> dict[str, Releases]:
    found: dict[str, dict[str, Release]] = {system: {} for system in systems}
    for system, version, release in rows:
        found[system][version] = Release.model_validate_json(release)
    return dict(found)


def _notifications(project: str, state: str | None) -> Select[Any]:
    query = (
        select(col(NotificationRow.notification), col(NotificationRow.revision))
        .where(col(NotificationRow.project) == project)
        .order_by(col(NotificationRow.revision).desc())
    )
    return query if state is None else query.where(col(NotificationRow.state) == state)
