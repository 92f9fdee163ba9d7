"""How Projects, Runs and releases are loaded and saved."""

from collections.abc import Iterable, Sequence
from typing import Any

from services.planner.open_commands import open_command
from services.planner.recovery import FleetState, holds
from services.planner.run import Decision, Run
from services.planner.store import statements
from services.planner.store.memory import Book, KeptRun, KnownProject, KnownReleases, Memory
from shared.contracts.envelope import to_body
from shared.contracts.projects import Project
from shared.contracts.releases import Release, ReleasePublished, ReleaseWithdrawn
from shared.contracts.values import Digest, Message
from shared.contracts.version_maps import VersionMap
from shared.crash_points import around
from shared.errors import Reject, not_found
from shared.storage.database import Transaction
from shared.storage.statement import Part


class PlannerTransaction(Transaction):
    """The planner's queries, over Projects that are held in memory until the commit.

    Handlers change what is held here; one statement writes it at the end, if nobody else has changed one of
    these Projects meanwhile. So no lock is needed: who comes second raises `Outrun` and is done again.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._projects: dict[str, KnownProject] = {}
        self._changed: dict[str, None] = {}
        self._changed_runs: dict[str, str] = {}
        """The Project of each."""
        self._book: Book | None = None
        self._changed_releases: KnownReleases = {}
        self._fleet: FleetState | None = None
        self._fleet_revision = 0

    @classmethod
    def new_memory(cls) -> Memory:
        return Memory()

    @property
    def memory(self) -> Memory:
        memory: Memory = self.database.memory
        return memory

    # --- reading ---------------------------------------------------------------------------------

    async def preload(self, messages: Sequence[Message]) -> None:
        keys = {message.key() for message in messages if not isinstance(message, _ABOUT_RELEASES)}
        await self._load(keys)
        runs = {getattr(message, "run_id", None): message.key() for message in messages}
        await self._load_runs([run for run, key in runs.items() if run and run not in self._held(key).runs])

    async def known_project(self, project: str) -> KnownProject:
        """What is known of a Project, to be changed by way of this transaction only."""
        if project not in self._projects:
            await self._load([project])
        return self._projects[project]

    async def registration(self, project: str) -> tuple[Project, VersionMap]:
        """A registered Project with its pins. Raises `Reject` when it is not known."""
        known = await self.known_project(project)
        if known.project is None or known.version_map is None:
            raise unregistered(project)
        return known.project, known.version_map

    async def releases(self) -> dict[tuple[str, str], Release]:
        return (await self._known_releases()).releases

    async def active_run(self, project: str) -> str | None:
        """The Project's started Run that has not ended."""
        return (await self.known_project(project)).active

    async def run(self, run_id: str, project: str) -> Run:
        """A Run, to be changed. Raises `Reject` when there is none of that id in that Project."""
        known = await self.known_project(project)
        if run_id not in known.runs:
            await self._load_runs([run_id])
        if run_id not in known.runs:
            raise no_run(run_id, project)
        return known.runs[run_id].run

    async def accepted_masks(self, project: Project) -> Digest | None:
        """The mask rules that were accepted with the start of the Project's newest Run that has some."""
        if project.definition.staging.data == "seed":
            return None
        rows = await self.fetch(statements.ACCEPTED_MASKS, project.id)
        return rows[0][0] if rows else None

    async def due(self) -> list[tuple[str, str]]:
        """(Run, Project) of every Run whose timer has come, or that waits for a freeze which is over."""
        thawed = (await self.fleet()).freeze is None
        async with around("look-later"):
            await self.fetch(statements.LOOK_LATER, self.now)
        rows = await self.fetch(statements.DUE, self.now, thawed)
        return [(run, project) for run, project in rows]

    async def fleet(self) -> FleetState:
        """Whether deploys are frozen."""
        if self._fleet is None:
            known = self.memory.fleet if self.from_memory else None
            if known is None:
                rows = await self.fetch(statements.FLEET_STATE)
                known = FleetState.model_validate_json(rows[0][0]) if rows else FleetState()
            self._fleet, self._fleet_revision = known, known.revision
        return self._fleet

    async def next_fence(self, project: str) -> int:
        """The next number of the Project; `save` takes it when the decision used it."""
        return (await self.known_project(project)).fence + 1

    async def open_messages(self) -> list[Message]:
        """For every Run that has not ended: its last event and its open command, as they were sent."""
        messages: list[Message] = []
        for row in await self.fetch(statements.OPEN_RUNS):
            kept = KeptRun.stored(*row)
            command = open_command(kept.run)
            messages += [kept.run.changed(kept.revision), *([command] if command else [])]
        return messages

    async def holds(self, pools: Iterable[str]) -> list[Message]:
        """What these pools' executors were told last of the fleet; nothing if nobody was told anything."""
        fleet = await self.fleet()
        return [*holds(fleet, pools)] if fleet.revision else []

    # --- changing --------------------------------------------------------------------------------

    async def keep_release(self, release: Release, revision: int) -> None:
        """Keep what the registry tells; older news is dropped."""
        book, name = await self._known_releases(), (release.system, release.version)
        if name not in book.known or book.known[name][1] < revision:
            self._book = Book({**book.known, name: (release, revision)}, book.revision)
            self._changed_releases[name] = (release, revision)

    async def keep_project(self, project: Project, revision: int) -> None:
        """Keep what the registry tells; older news is dropped."""
        known = await self.known_project(project.id)
        if revision > known.revision:
            known.project, known.revision, known.project_is_new = project, revision, True
            self._changed[project.id] = None

    async def keep_map(self, version_map: VersionMap) -> bool:
        """Keep what the registry tells; False for older news, which is dropped."""
        known = await self.known_project(version_map.project)
        if version_map.revision <= known.map_revision:
            return False
        known.version_map, known.map_revision, known.map_is_new = version_map, version_map.revision, True
        self._changed[known.id] = None
        return True

    async def save_fleet(self, state: FleetState, sends: tuple[Message, ...]) -> None:
        """Keep it and tell of it; nothing if nothing is told."""
        if sends:
            self._fleet = state
        for message in sends:
            self.send(message)

    async def save(self, before: Run | None, decision: Decision) -> None:
        """State, timers, `RunChanged` and everything that is to be sent: one commit."""
        run = decision.run
        if not decision.sends and (run is before or run == before):
            return
        known = await self.known_project(run.project)
        known.fence = max(known.fence, run.fence)
        kept = known.runs.get(run.id)
        revision = kept.revision + 1 if kept else 1
        changed, trace = run.changed(revision), run.traceparent
        told = to_body(changed)
        for message in decision.sends:
            self.send(message, correlation_id=run.id, traceparent=trace)
        self.send(changed, correlation_id=run.id, traceparent=trace, body=told)
        known.runs[run.id] = KeptRun.changed(kept, run, revision, told)
        if statements.is_started(run):
            known.active = None if run.ended else run.id
        self._changed[known.id] = None
        self._changed_runs[run.id] = run.project

    # --- the commit ------------------------------------------------------------------------------

    def guard(self) -> Part | None:
        book = None if self._book is None else self._book.revision
        fleet = None if self._fleet is None else self._fleet_revision
        if not self._projects and book is None and fleet is None:
            return None
        return statements.guard(list(self._projects.values()), book, fleet)

    def parts(self) -> list[Part]:
        runs = [self._projects[project].runs[run] for run, project in self._changed_runs.items()]
        return [
            *statements.write_projects([self._projects[name] for name in self._changed]),
            *statements.write_runs(runs),
            *(statements.write_releases(self._changed_releases) if self._changed_releases else ()),
            *([statements.write_fleet(self._fleet)] if self._fleet and self._fleet_has_changed() else ()),
        ]

    def _fleet_has_changed(self) -> bool:
        return self._fleet is not None and self._fleet.revision != self._fleet_revision

    def settled(self, durable: bool) -> None:
        if not durable:
            for name in self._projects:
                self.memory.forget(name)
            self.memory.book = self.memory.fleet = None
            return
        for name, known in self._projects.items():
            self.memory.keep(known, changed=name in self._changed)
        if self._fleet is not None:
            self.memory.fleet = self._fleet
        if self._book is not None:
            grown = 1 if self._changed_releases else 0
            self.memory.keep_book(
                Book(self._book.known, self._book.revision + grown) if grown else self._book
            )

    # --- loading ---------------------------------------------------------------------------------

    def _held(self, project: str) -> KnownProject:
        return self._projects.get(project) or KnownProject(project)

    async def _load(self, projects: Sequence[str] | set[str]) -> None:
        missing = []
        for name in sorted(projects):
            known = self.memory.recall(name) if self.from_memory else None
            if known is None:
                missing.append(name)
            else:
                self._projects[name] = known
        if not missing:
            return
        self._projects |= {name: KnownProject(name) for name in missing}
        for row in await self.fetch(statements.PROJECTS, missing):
            name, version, project, revision, version_map, map_revision, fence, *active = row
            known = self._projects[name]
            known.version, known.fence = version, fence
            known.revision, known.map_revision = revision, map_revision
            known.project = None if project is None else Project.model_validate_json(project)
            known.version_map = None if version_map is None else VersionMap.model_validate_json(version_map)
            known.active = active[0]
            if known.active is not None:
                known.runs[known.active] = KeptRun.stored(*active)

    async def _load_runs(self, runs: Sequence[str]) -> None:
        """Those of them that belong to Projects which are held."""
        for project, name, *row in await self.fetch(statements.RUNS, runs) if runs else ():
            if project in self._projects:
                self._projects[project].runs.setdefault(name, KeptRun.stored(name, *row))

    async def _known_releases(self) -> Book:
        if self._book is None and self.from_memory:
            self._book = self.memory.book
        if self._book is None:
            rows = await self.fetch(statements.RELEASES)
            known = {
                (system, version): (Release.model_validate_json(release), revision)
                for _, system, version, revision, release in rows
                if system is not None
            }
            self._book = Book(known, rows[0][0])
        return self._book


_ABOUT_RELEASES = (ReleasePublished, ReleaseWithdrawn)


def unregistered(project: str) -> Reject:
    return not_found(
        f"Project {project} is not registered",
        field="project",
        value=project,
        cure="register it first: upgradepath project register; just after that, try again",
    )


def no_run(run_id: str, project: str | None = None) -> Reject:
    return not_found(
        f"there is no Run {run_id}" + (f" in Project {project}" if project else ""),
        field="run_id",
        value=run_id,
        cure="list them: upgradepath run list",
    )
