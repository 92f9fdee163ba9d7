"""What the planner remembers between transactions: Projects with open Runs, and the releases.

It is never believed for good: a transaction that decided from memory commits only if every version that it
saw is still the newest.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property

from services.planner.recovery import FleetState
from services.planner.run import Run
from shared.contracts.projects import Project
from shared.contracts.releases import Release
from shared.contracts.run_state import RunOrigin
from shared.contracts.runs import Plan, RunChanged
from shared.contracts.version_maps import VersionMap

PROJECTS_MAX = 2000
RUNS_MAX = 3000
"""A Project may have any number of plans that nobody has started: their Runs are open, too."""

KnownReleases = dict[tuple[str, str], tuple[Release, int]]
"""By System and version: the release and its revision."""


@dataclass(frozen=True)
class Book:
    """Every release that is known, and how often any has changed."""

    known: KnownReleases
    revision: int

    @cached_property
    def releases(self) -> dict[tuple[str, str], Release]:
        return {name: release for name, (release, _) in self.known.items()}


@dataclass(frozen=True)
class KeptRun:
    """A Run, and how often it has changed."""

    run: Run
    revision: int
    told: bytes | None = None
    """The body of the event that told of it, which is also what is stored; None once that is durable."""
    is_new: bool = False
    """It is in no table yet."""
    plan_is_new: bool = False

    @classmethod
    def stored(cls, name: str, revision: int, told: str, origin: str, plan: str | None) -> "KeptRun":
        """A Run as it is in its row: its last event, what it was opened with, and its plan."""
        document = None if plan is None else Plan.model_validate_json(plan)
        changed = RunChanged.model_validate_json(told)
        return cls(Run.whole(changed, RunOrigin.model_validate_json(origin), document), revision)

    @classmethod
    def changed(cls, before: "KeptRun | None", run: Run, revision: int, told: bytes) -> "KeptRun":
        """What is to be written of a Run, whatever of `before` is written already."""
        if before is None:
            return cls(run, revision, told, is_new=True, plan_is_new=run.plan_document is not None)
        other_plan = before.plan_is_new or run.plan_document is not before.run.plan_document
        return cls(run, revision, told, is_new=before.is_new, plan_is_new=other_plan)


@dataclass
class KnownProject:
    """A Project as the registry last told it, with its fence and those of its Runs that were looked at."""

    id: str
    version: int = 0
    """Of the row; 0: there is none."""
    project: Project | None = None
    revision: int = 0
    version_map: VersionMap | None = None
    map_revision: int = 0
    fence: int = 0
    active: str | None = None
    """The started Run that has not ended."""
    runs: dict[str, KeptRun] = field(default_factory=dict)
    project_is_new: bool = False
    map_is_new: bool = False

    def copy(self) -> "KnownProject":
        """To be changed by one transaction."""
        other = object.__new__(KnownProject)
        other.__dict__ = {**self.__dict__, "runs": dict(self.runs)}
        return other


@dataclass
class Memory:
    """The newest state of which this process knows; the least used Project is forgotten first."""

    projects: OrderedDict[str, KnownProject] = field(default_factory=OrderedDict)
    runs: int = 0
    """Of all these Projects together."""
    projects_max: int = PROJECTS_MAX
    runs_max: int = RUNS_MAX
    book: Book | None = None
    fleet: FleetState | None = None

    def recall(self, project: str) -> KnownProject | None:
        known = self.projects.get(project)
        if known is None:
            return None
        self.projects.move_to_end(project)
        return known.copy()

    def keep(self, known: KnownProject, *, changed: bool) -> None:
        """Remember it, which nobody changes any more, while it has open Runs and nothing newer is known."""
        version = known.version + 1 if changed else known.version
        before = self.projects.get(known.id)
        if before is not None and before.version > version:
            return
        runs = {
            name: kept if kept.told is None else KeptRun(kept.run, kept.revision)
            for name, kept in known.runs.items()
            if not kept.run.ended
        }
        self.forget(known.id)
        if not runs:
            return
        known.version, known.runs, known.project_is_new, known.map_is_new = version, runs, False, False
        self.projects[known.id] = known
        self.runs += len(runs)
        while len(self.projects) > self.projects_max or self.runs > self.runs_max:
            self.forget(next(iter(self.projects)))

    def keep_book(self, book: Book) -> None:
        if self.book is None or self.book.revision <= book.revision:
            self.book = book

    def forget(self, project: str) -> None:
        known = self.projects.pop(project, None)
        self.runs -= 0 if known is None else len(known.runs)
