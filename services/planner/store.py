"""The planner's tables, and how Runs are loaded and saved."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, MetaData, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col

from services.planner.recovery import FleetState
from services.planner.run import Decision, Run
from shared.contracts.catalogue import BY_TYPE
from shared.contracts.envelope import Envelope
from shared.contracts.freezes import FLEET
from shared.contracts.projects import Project
from shared.contracts.releases import Release
from shared.contracts.runs import Plan
from shared.contracts.stages import RunExecutorStage, RunValidatorStage
from shared.contracts.values import Message
from shared.contracts.version_maps import HoldVersionMap, RecordVersionMap, ReleaseVersionMap, VersionMap
from shared.errors import not_found
from shared.storage.database import Transaction

PLANNER_TABLES = MetaData()
_ANSWERED = (RunExecutorStage, RunValidatorStage, HoldVersionMap, RecordVersionMap, ReleaseVersionMap)
"""Commands that somebody answers; the newest one of a Run is open until its answer is there."""


class ReleaseRow(SQLModel, table=True):
    """A release as the registry last told it."""

    __tablename__ = "releases"
    metadata = PLANNER_TABLES

    system: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    release: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class ProjectRow(SQLModel, table=True):
    """A Project as the registry last told it, and the fence, which is the planner's own."""

    __tablename__ = "projects"
    metadata = PLANNER_TABLES

    id: str = Field(primary_key=True)
    project: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    revision: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    version_map: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    map_revision: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    fence: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class RunRow(SQLModel, table=True):
    """A Run; `state` is the whole of it."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_of_a_project", "project", "requested_at"),
        Index("runs_by_plan", "plan"),
        Index("runs_with_a_timer", "wake_at", postgresql_where=text("wake_at is not null")),
        Index("runs_that_await_thaw", "id", postgresql_where=text("awaits_thaw")),
        # One started Run per Project at a time, whatever the code believes.
        Index("one_started_run", "project", unique=True, postgresql_where=text("started and not ended")),
    )
    metadata = PLANNER_TABLES

    id: str = Field(primary_key=True)
    project: str
    status: str
    started: bool
    ended: bool
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    plan: str | None = None
    wake_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))
    awaits_thaw: bool = False
    requested_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    state: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    open_command: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))


class FleetRow(SQLModel, table=True):
    """What concerns every Project: one row at most, while deploys are frozen or were once."""

    __tablename__ = "fleet"
    metadata = PLANNER_TABLES

    id: str = Field(primary_key=True)
    state: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class PlannerTransaction(Transaction):
    """The planner's queries. Whoever changes a Project's Runs holds `lock("project", …)`."""

    _read: tuple[SQLModel, ...] = ()
    """Rows that the present message has read: the session forgets what nobody holds, and asks again."""

    def caused_by(self, cause: Envelope) -> None:
        super().caused_by(cause)
        self._read = ()

    async def project_row(self, project: str) -> ProjectRow:
        row = await self.session.get(ProjectRow, project)
        if row is None:
            row = ProjectRow(id=project)
            self.session.add(row)
            # From now on `get` finds it.
            await self.session.flush()
        self._read = (*self._read, row)
        return row

    async def registration(self, project: str) -> tuple[Project, VersionMap]:
        """A registered Project with its pins. Raises `Reject` when it is not known."""
        row = await self.session.get(ProjectRow, project)
        if row is None or row.project is None or row.version_map is None:
            raise not_found(
                f"Project {project} is not registered",
                field="project",
                value=project,
                cure="register it first: upgradepath project register; just after that, try again",
            )
        return Project.model_validate(row.project), VersionMap.model_validate(row.version_map)

    async def releases(self) -> dict[tuple[str, str], Release]:
        rows = await self.session.execute(select(ReleaseRow))
        return {(row.system, row.version): Release.model_validate(row.release) for row in rows.scalars()}

    async def keep_release(self, release: Release, revision: int) -> None:
        """Keep what the registry tells; older news is dropped."""
        values = {"revision": revision, "release": release.model_dump(mode="json")}
        statement = insert(ReleaseRow).values(system=release.system, version=release.version, **values)
        await self.session.execute(
            statement.on_conflict_do_update(
                index_elements=["system", "version"], set_=values, where=col(ReleaseRow.revision) < revision
            )
        )

    async def active_run(self, project: str) -> str | None:
        """The Project's started Run that has not ended."""
        found = await self.session.execute(
            select(col(RunRow.id)).where(
                col(RunRow.project) == project, col(RunRow.started), col(RunRow.ended).is_(False)
            )
        )
        return found.scalar_one_or_none()

    async def run(self, run_id: str, project: str | None = None) -> Run:
        """A Run. Raises `Reject` when there is none of that id (in that Project)."""
        return (await self.run_with_revision(run_id, project))[0]

    async def run_with_revision(self, run_id: str, project: str | None = None) -> tuple[Run, int]:
        """A Run and how often it has changed, both of one moment."""
        row = await self.session.get(RunRow, run_id)
        if row is None or (project is not None and row.project != project):
            raise not_found(
                f"there is no Run {run_id}" + (f" in Project {project}" if project else ""),
                field="run_id",
                value=run_id,
                cure="list them: upgradepath run list",
            )
        self._read = (*self._read, row)
        return Run.model_validate(row.state), row.revision

    async def runs(self, project: str | None, status: str | None, most: int = 200) -> list[Run]:
        """Newest first."""
        query = select(RunRow).order_by(col(RunRow.requested_at).desc()).limit(most)
        if project is not None:
            query = query.where(col(RunRow.project) == project)
        if status is not None:
            query = query.where(col(RunRow.status) == status)
        rows = await self.session.execute(query)
        return [Run.model_validate(row.state) for row in rows.scalars()]

    async def plan(self, digest: str) -> Plan:
        found = await self.session.execute(select(RunRow).where(col(RunRow.plan) == digest).limit(1))
        row = found.scalar_one_or_none()
        plan = Run.model_validate(row.state).plan_document if row is not None else None
        if plan is None:
            raise not_found("there is no such plan", field="plan", value=digest, cure="upgradepath run list")
        return plan

    async def due(self) -> list[tuple[str, str]]:
        """(Run, Project) of every Run whose timer has come, or that waits for a freeze which is over."""
        due = col(RunRow.wake_at) <= self.now
        if (await self.fleet()).freeze is None:
            due = or_(due, col(RunRow.awaits_thaw))
        rows = await self.session.execute(select(col(RunRow.id), col(RunRow.project)).where(due).limit(100))
        return [(row[0], row[1]) for row in rows.all()]

    async def fleet(self) -> FleetState:
        """Whether deploys are frozen."""
        found = await self.session.execute(select(col(FleetRow.state)).where(col(FleetRow.id) == FLEET))
        state = found.scalar_one_or_none()
        return FleetState() if state is None else FleetState.model_validate(state)

    async def save_fleet(self, state: FleetState, sends: tuple[Message, ...]) -> None:
        """Keep it and tell of it; nothing if nothing is told. The fleet's lock must be held."""
        if not sends:
            return
        document = state.model_dump(mode="json")
        statement = insert(FleetRow).values(id=FLEET, state=document)
        await self.session.execute(
            statement.on_conflict_do_update(index_elements=["id"], set_={"state": document})
        )
        for message in sends:
            self.send(message)

    async def next_fence(self, project: str) -> int:
        """The next number of the Project; `save` takes it when the decision used it."""
        return (await self.project_row(project)).fence + 1

    async def save(self, before: Run | None, decision: Decision) -> None:
        """State, timers, `RunChanged` and everything that is to be sent: one commit."""
        run = decision.run
        if run == before and not decision.sends:
            return
        project = await self.project_row(run.project)
        project.fence = max(project.fence, run.fence)
        row = await self.session.get(RunRow, run.id)
        revision = row.revision + 1 if row else 1
        values: dict[str, Any] = {
            "project": run.project,
            "status": run.status,
            "started": run.record_of("prepare") is not None,
            "ended": run.ended,
            "revision": revision,
            "plan": run.plan,
            "wake_at": run.wake_at,
            "awaits_thaw": run.awaits_thaw,
            "requested_at": run.requested_at,
            "state": run.model_dump(mode="json", by_alias=True),
            "open_command": self._open(run, decision, row),
        }
        if row is None:
            self.session.add(RunRow(id=run.id, **values))
        else:
            for name, value in values.items():
                setattr(row, name, value)
        for message in decision.sends:
            self.send(message, correlation_id=run.id)
        self.send(run.changed(revision), correlation_id=run.id)

    def _open(self, run: Run, decision: Decision, row: RunRow | None) -> dict[str, Any] | None:
        for message in decision.sends:
            if isinstance(message, _ANSWERED):
                return {"type": message.type_name(), "body": message.model_dump(mode="json", by_alias=True)}
        still_open = run.is_running or run.waits_for_registry
        return row.open_command if row is not None and still_open else None

    async def open_messages(self) -> list[Message]:
        """For every Run that has not ended: its last event and its open command, as they were sent."""
        rows = await self.session.execute(
            select(RunRow).where(col(RunRow.ended).is_(False)).order_by(col(RunRow.requested_at))
        )
        messages: list[Message] = []
        for row in rows.scalars():
            messages.append(Run.model_validate(row.state).changed(row.revision))
            if row.open_command is not None:
                messages.append(BY_TYPE[row.open_command["type"]].model_validate(row.open_command["body"]))
        return messages
