"""What the planner remembers between transactions: Projects with open Runs, and the releases.

It is never believed for good: a transaction that decided from memory commits only if every version that it
saw is still the newest.
"""

from collections import OrderedDict
from dataclasses import dataclass, field, replace

from services.planner.recovery import FleetState
from services.planner.run import Run
from shared.contracts.projects import Project
from shared.contracts.releases import Release
from shared.contracts.version_maps import VersionMap

PROJECTS_MAX = 2000

KnownReleases = dict[tuple[str, str], tuple[Release, int]]
"""By System and version: the release and its revision."""


@dataclass(frozen=True)
class KeptRun:
    """A Run, and how often it has changed."""

    run: Run
    revision: int
    is_new: bool = False
    """It is in no table yet."""


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
    releases: KnownReleases | None = None
    book_revision: int = 0
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
            name: replace(kept, is_new=False) if kept.is_new else kept
            for name, kept in known.runs.items()
            if not kept.run.ended
        }
        if not runs:
            self.projects.pop(known.id, None)
            return
        known.version, known.runs, known.project_is_new, known.map_is_new = version, runs, False, False
        self.projects[known.id] = known
        self.projects.move_to_end(known.id)
        if len(self.projects) > PROJECTS_MAX:
            self.projects.popitem(last=False)

    def keep_releases(self, releases: KnownReleases, revision: int) -> None:
        if self.releases is None or self.book_revision <= revision:
            self.releases, self.book_revision = releases, revision

    def forget(self, project: str) -> None:
        self.projects.pop(project, None)
