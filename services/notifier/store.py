"""The notifier's tables and queries. One release may concern thousands of Projects: all writes are sets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, MetaData, delete, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import Field, SQLModel, col

from services.notifier.domain import Releases, Standing
from shared.contracts.notifications import Notification, NotificationClosed, NotificationReady
from shared.contracts.releases import Release
from shared.contracts.values import Message
from shared.contracts.version_maps import Pins
from shared.storage.database import Transaction

TABLES = MetaData()


class KnownReleaseRow(SQLModel, table=True):
    """A Release as the release events told it."""

    __tablename__ = "known_releases"
    metadata = TABLES

    system: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    release: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class ProjectInboxRow(SQLModel, table=True):
    """A Project's inbox: how often it has changed, and which revision of the version map it has seen."""

    __tablename__ = "inboxes"
    metadata = TABLES

    project: str = Field(primary_key=True)
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    map_revision: int = Field(sa_column=Column(BigInteger, nullable=False))


class PinRow(SQLModel, table=True):
    """What a Project pins of one System."""

    __tablename__ = "pins"
    metadata = TABLES
    __table_args__ = (
        # Who is affected by a release is read from this index alone.
        Index("pins_by_version", "system", "version", postgresql_include=["project"]),
    )

    project: str = Field(primary_key=True)
    system: str = Field(primary_key=True)
    version: str


class NotificationRow(SQLModel, table=True):
    """The last state of a notification; at most one is open for a Project and a System."""

    __tablename__ = "notifications"
    metadata = TABLES
    __table_args__ = (
        Index(
            "notifications_open", "project", "system", unique=True, postgresql_where=text("state = 'open'")
        ),
    )

    project: str = Field(primary_key=True)
    system: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    state: str
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    notification: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class NotifierTransaction(Transaction):
    """Releases and pins as they are known, and the inboxes."""

    async def begin_weighing(self) -> None:
        """One after the other: a release and a new pin that do not see each other would be missed."""
        await self.lock("inboxes", "all")

    async def releases(self, systems: Iterable[str]) -> dict[str, Releases]:
        """What is known of these Systems, by System and version."""
        wanted = list(systems)
        rows = await self.session.execute(
            select(
                col(KnownReleaseRow.system), col(KnownReleaseRow.version), col(KnownReleaseRow.release)
            ).where(col(KnownReleaseRow.system).in_(wanted))
        )
        found: dict[str, dict[str, Release]] = {system: {} for system in wanted}
        for system, version, release in rows:
            found[system][version] = Release.model_validate(release)
        return {**found}

    async def save_release(self, release: Release) -> None:
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

    async def has_inbox(self, project: str) -> bool:
        return await self.session.get(ProjectInboxRow, project) is not None

    async def see_map(self, project: str, map_revision: int) -> bool:
        """Remember the map's revision; False when a newer one, or this one, has been seen."""
        seen = await self.session.execute(
            upsert(ProjectInboxRow)
            .values(project=project, revision=0, map_revision=map_revision)
            .on_conflict_do_update(
                index_elements=["project"],
                set_={"map_revision": map_revision},
                where=col(ProjectInboxRow.map_revision) < map_revision,
            )
            .returning(col(ProjectInboxRow.project))
        )
        return seen.scalar_one_or_none() is not None

    async def pins(self, project: str) -> Pins:
        rows = await self.session.execute(
            select(col(PinRow.system), col(PinRow.version)).where(col(PinRow.project) == project)
        )
        return {row.system: row.version for row in rows}

    async def replace_pins(self, project: str, pins: Pins) -> None:
        await self.session.execute(delete(PinRow).where(col(PinRow.project) == project))
        if pins:
            rows = [
                {"project": project, "system": system, "version": version} for system, version in pins.items()
            ]
            await self.session.execute(insert(PinRow), rows)

    async def pinned_versions(self, systems: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """Every (System, version) that anybody pins."""
        query = select(col(PinRow.system), col(PinRow.version)).distinct()
        if systems is not None:
            query = query.where(col(PinRow.system).in_(systems))
        return [(system, version) for system, version in await self.session.execute(query)]

    async def who_pins(
        self, pinned: Iterable[tuple[str, str]], projects: Sequence[str] | None
    ) -> list[tuple[str, str, str]]:
        """(Project, System, version) for these pins, in order; `projects` None means all."""
        wanted = list(pinned)
        rows = await self.session.execute(
            text(
                "select p.project, p.system, p.version from pins p"
                " join unnest(cast(:systems as text[]), cast(:versions as text[])) as w (system, version)"
                " using (system, version)"
                " where cast(:projects as text[]) is null or p.project = any(cast(:projects as text[]))"
                " order by p.project, p.system"
            ),
            {
                "systems": [system for system, _ in wanted],
                "versions": [version for _, version in wanted],
                "projects": None if projects is None else list(projects),
            },
        )
        return [(project, system, version) for project, system, version in rows]

    async def affected(self, system: str, versions: Sequence[str]) -> list[Standing]:
        """Where everybody stands who pins one of these versions."""
        rows = await self.session.execute(
            text(
                "select p.project, p.version, n.notification from pins p left join notifications n"
                " on n.project = p.project and n.system = p.system and n.state = 'open'"
                " where p.system = :system and p.version = any(cast(:versions as text[]))"
                " order by p.project"
            ).columns(notification=JSON),
            {"system": system, "versions": list(versions)},
        )
        return [
            Standing(project, system, version, None if told is None else Notification.model_validate(told))
            for project, version, told in rows
        ]

    async def notifications(self, project: str, state: str | None = None) -> list[Notification]:
        """The Project's notifications, the newest first."""
        query = (
            select(col(NotificationRow.notification))
            .where(col(NotificationRow.project) == project)
            .order_by(col(NotificationRow.revision).desc())
        )
        if state is not None:
            query = query.where(col(NotificationRow.state) == state)
        return [Notification.model_validate(row) for row in (await self.session.execute(query)).scalars()]

    async def tell(self, changed: Sequence[Notification]) -> None:
        """Keep the changed notifications and send them. The weighing's lock must be held."""
        if not changed:
            return
        revisions = await self._revisions(sorted({one.project for one in changed}))
        numbers = []
        for notification in changed:
            revisions[notification.project] += 1
            numbers.append(revisions[notification.project])
            self.send(_event(notification, numbers[-1]))
        await self._save_notifications(changed, numbers)
        await self.session.execute(
            text(
                "update inboxes set revision = r.revision"
                " from unnest(cast(:projects as text[]), cast(:revisions as bigint[]))"
                " as r (project, revision)"
                " where inboxes.project = r.project"
            ),
            {"projects": list(revisions), "revisions": list(revisions.values())},
        )

    async def _revisions(self, projects: list[str]) -> dict[str, int]:
        rows = await self.session.execute(
            text("select project, revision from inboxes where project = any(cast(:projects as text[]))"),
            {"projects": projects},
        )
        return {row.project: row.revision for row in rows}

    async def _save_notifications(self, changed: Sequence[Notification], numbers: list[int]) -> None:
        columns: Mapping[str, list[Any]] = {
            "projects": [one.project for one in changed],
            "systems": [one.system for one in changed],
            "versions": [one.version for one in changed],
            "states": [one.state for one in changed],
            "revisions": numbers,
            "documents": [one.model_dump_json() for one in changed],
        }
        await self.session.execute(
            text(
                "insert into notifications (project, system, version, state, revision, notification)"
                " select project, system, version, state, revision, cast(document as json)"
                " from unnest(cast(:projects as text[]), cast(:systems as text[]), cast(:versions as text[]),"
                " cast(:states as text[]), cast(:revisions as bigint[]), cast(:documents as text[]))"
                " with ordinality as c (project, system, version, state, revision, document, number)"
                # What closes comes first, as only one may be open.
                " order by number"
                " on conflict (project, system, version) do update set"
                " state = excluded.state, revision = excluded.revision, notification = excluded.notification"
            ),
            columns,
        )

    async def reminders(self) -> list[Message]:
        """For a broker that forgot: every open notification, and each inbox's last change."""
        rows = await self.session.execute(
            text(
                "select n.notification, n.revision from notifications n join inboxes i using (project)"
                " where n.state = 'open' or n.revision = i.revision order by n.project, n.revision"
            ).columns(notification=JSON)
        )
        return [_event(Notification.model_validate(told), revision) for told, revision in rows]


def _event(notification: Notification, revision: int) -> NotificationReady | NotificationClosed:
    if notification.state == "open":
        return NotificationReady(notification=notification, revision=revision)
    return NotificationClosed(notification=notification, revision=revision)
