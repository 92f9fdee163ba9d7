"""The registry's queries."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import JSON, Select, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import col

from services.registry.domain.declared import defined_names, types_of
from services.registry.domain.gate import Library, Published
from services.registry.domain.registration import Releases
from services.registry.domain.version_maps import Change, Event, Standing
from services.registry.store import standings
from services.registry.store.checks import PackageChecks
from services.registry.store.standings import Standings
from services.registry.store.tables import (
    MAP_EVENTS,
    ProjectRow,
    ProposalRow,
    ReleaseRow,
    SystemRow,
    VersionMapRow,
)
from shared.contracts.projects import ProjectRegistered
from shared.contracts.registrations import Proposal
from shared.contracts.releases import Release, ReleasePublished, ReleaseWithdrawn
from shared.contracts.values import Message
from shared.packages.package import Package
from shared.storage.page_room import room_for
from shared.storage.statement import Part
from shared.versions import newest_first


class RegistryTransaction(PackageChecks):
    """Releases, package checks, Projects and version maps.

    Rows are read anew each time: a batch's messages share a session, and statements write past its cache.
    Only where version maps stand is read and written by the batch, and nobody locks for it: who comes second
    raises `Outrun` and is done again.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._standings = Standings()

    async def release_row(self, system: str, version: str) -> ReleaseRow | None:
        return await self.session.get(ReleaseRow, (system, version), populate_existing=True)

    async def releases_of(self, systems: list[str]) -> Releases:
        """The releases of these Systems, by System and version."""
        found: dict[str, dict[str, Release]] = {}
        for row in await self._release_rows(systems):
            found.setdefault(row.system, {})[row.version] = row.release()
        return found

    async def library_of(self, system: str) -> Library:
        """What matters to the next package of `system`."""
        releases = await self._release_rows([system])
        others = await self.session.execute(
            select(
                col(ReleaseRow.system),
                col(ReleaseRow.version),
                col(ReleaseRow.defines),
                col(ReleaseRow.published)["release"]["package"].as_string(),
                col(ReleaseRow.withdrawal).is_(None),
            ).where(col(ReleaseRow.system) != system)
        )
        offered: dict[str, dict[str, tuple[list[str], str]]] = {}
        systems = {system} if releases else set()
        for name, version, defines, package, is_offered in others:
            systems.add(name)
            if is_offered:
                offered.setdefault(name, {})[version] = (defines, package)
        newest = {name: versions[newest_first(versions)[0]] for name, versions in offered.items()}
        return Library(
            releases=tuple(Published(row.release(), row.defaults) for row in releases),
            systems=frozenset(systems),
            owners={model: name for name, (defines, _) in newest.items() for model in defines},
            packages={name: package for name, (_, package) in newest.items()},
            offered={
                name: {version: package for version, (_, package) in versions.items()}
                for name, versions in offered.items()
            },
            carried=frozenset(await self._pinned_versions(system)),
        )

    async def _pinned_versions(self, system: str) -> list[str]:
        """The versions of a System that version maps have now."""
        pinned = await self.session.execute(
            text(
                "select distinct event->'version_map'->'pins'->>:system from version_maps"
                " where event->'version_map'->'pins'->>:system is not null"
            ),
            {"system": system},
        )
        return [row[0] for row in pinned]

    async def _release_rows(self, systems: list[str] | None) -> list[ReleaseRow]:
        query = select(ReleaseRow).execution_options(populate_existing=True)
        if systems is not None:
            query = query.where(col(ReleaseRow.system).in_(systems))
        return list((await self.session.execute(query)).scalars())

    async def next_revision(self, system: str) -> int:
        """Raise the System's revision. Its lock must be held."""
        raised = await self.session.execute(
            upsert(SystemRow)
            .values(name=system, revision=1)
            .on_conflict_do_update(index_elements=["name"], set_={"revision": col(SystemRow.revision) + 1})
            .returning(col(SystemRow.revision))
        )
        revision: int = raised.scalar_one()
        return revision

    async def add_release(self, event: ReleasePublished, package: Package) -> None:
        self.session.add(
            ReleaseRow(
                system=event.release.system,
                version=event.release.version,
                published=event.model_dump(mode="json"),
                defaults=types_of(package.manifest.config),
                defines=defined_names(package.schema),
                changelog=package.changelog[event.release.version],
                migration_notes=package.migration_notes[event.release.version],
            )
        )
        await self.session.flush()

    async def withdraw(self, event: ReleaseWithdrawn) -> None:
        await self.session.execute(
            update(ReleaseRow)
            .where(
                col(ReleaseRow.system) == event.release.system,
                col(ReleaseRow.version) == event.release.version,
            )
            .values(withdrawal=event.model_dump(mode="json"))
        )

    async def registered(self, project: str) -> ProjectRegistered | None:
        row = await self.session.get(ProjectRow, project, populate_existing=True)
        return None if row is None else ProjectRegistered.model_validate(row.registered)

    async def is_taken(self, repository: str, project: str) -> bool:
        """Whether another Project has the repository of this identity; nobody takes it until the commit."""
        await self.lock("repository", repository)
        found = await self.session.execute(
            select(col(ProjectRow.id)).where(
                col(ProjectRow.repository) == repository, col(ProjectRow.id) != project
            )
        )
        return found.scalar_one_or_none() is not None

    async def save_project(self, event: ProjectRegistered, repository: str | None) -> None:
        """Keep the registration; `repository` is the identity of what no other Project then has."""
        changes = {"registered": event.model_dump(mode="json"), "repository": repository}
        await self.session.execute(
            upsert(ProjectRow)
            .values({"id": event.project.id, **changes})
            .on_conflict_do_update(index_elements=["id"], set_=changes)
        )

    async def proposal(self, project: str) -> Proposal | None:
        """The change of the registration that waits, or did until the registration changed."""
        row = await self.session.get(ProposalRow, project, populate_existing=True)
        return None if row is None else Proposal.model_validate(row.proposal)

    async def save_proposal(self, proposal: Proposal) -> None:
        """Keep it in place of an earlier one."""
        document = proposal.model_dump(mode="json", by_alias=True)
        await self.session.execute(
            upsert(ProposalRow)
            .values(project=proposal.project.id, proposal=document)
            .on_conflict_do_update(index_elements=["project"], set_={"proposal": document})
        )

    async def projects(self, ids: list[str] | None = None) -> list[tuple[ProjectRegistered, Event]]:
        """The registered Projects by id with their maps' last events; `ids` None means all."""
        return await self._read_projects(_projects(ids, ""))

    async def projects_page(
        self, ids: list[str] | None, after: str, most: int
    ) -> tuple[list[tuple[ProjectRegistered, Event]], bool]:
        """The Projects behind `after`, fewer than `most`, as a page has room, and whether more follow."""
        query = _projects(ids, after)
        documents = (col(ProjectRow.registered), col(VersionMapRow.event))
        fit, more = await room_for(self.session, query, *documents, most=most)
        return await self._read_projects(query.limit(fit)), more

    async def _read_projects(self, query: Select[Any]) -> list[tuple[ProjectRegistered, Event]]:
        return [
            (ProjectRegistered.model_validate(registered), MAP_EVENTS[kind].model_validate(event))
            for registered, kind, event in await self.session.execute(query)
        ]

    async def preload(self, messages: Sequence[Message]) -> None:
        await self._look_at(one.project for one in messages if isinstance(one, Change))

    async def standing(self, project: str) -> Standing | None:
        """Where the Project's version map stands."""
        await self._look_at([project])
        return self._standings.of(project)

    def save_standing(self, standing: Standing, *, happened: bool) -> None:
        """Keep the standing, and its event in the history if it has `happened` now."""
        self._standings.keep(standing, happened=happened)

    def guard(self) -> Part | None:
        return self._standings.guard()

    def parts(self) -> list[Part]:
        return self._standings.parts(self.now)

    async def _look_at(self, projects: Iterable[str]) -> None:
        if missing := self._standings.missing(projects):
            self._standings.found(missing, await self.fetch(standings.READ, missing))

    async def reminders(self) -> list[Message]:
        """What a broker that forgot must be told again: Releases, Projects, and the last word on each map."""
        releases: list[ReleasePublished | ReleaseWithdrawn] = []
        for row in await self._release_rows(None):
            releases.append(ReleasePublished.model_validate(row.published))
            if row.withdrawal is not None:
                releases.append(ReleaseWithdrawn.model_validate(row.withdrawal))
        releases.sort(key=lambda event: event.revision)
        messages: list[Message] = [*releases]
        for registered, _ in await self.projects():
            messages.append(registered)
        # A reader of pins alone does not read who holds a map: each kind of event has its own last word.
        last = await self.session.execute(
            text(
                "select distinct on (project, event_type) event_type, event from version_map_history"
                " order by project, event_type, revision desc"
            ).columns(event=JSON)
        )
        events = [MAP_EVENTS[name].model_validate(event) for name, event in last]
        return [*messages, *sorted(events, key=lambda event: event.version_map.revision)]


def _projects(ids: list[str] | None, after: str) -> Select[Any]:
    query = (
        select(col(ProjectRow.registered), col(VersionMapRow.event_type), col(VersionMapRow.event))
        .join(VersionMapRow, col(VersionMapRow.project) == col(ProjectRow.id))
        .where(col(ProjectRow.id) > after)
        .order_by(col(ProjectRow.id))
    )
    return query if ids is None else query.where(col(ProjectRow.id).in_(ids))
