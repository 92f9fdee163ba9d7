"""The planner's handlers over a store in memory, with a registry and a clock that tests move by hand."""

import copy
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from services.planner.handlers import HANDLERS, on_timer
from services.planner.recovery import FleetState
from services.planner.run import Decision, Run
from services.planner.store import PlannerTransaction, ProjectRow, RunRow
from shared.contracts.catalogue import BY_TYPE
from shared.contracts.envelope import Envelope, seal
from shared.contracts.projects import Project, ProjectRegistered
from shared.contracts.refusals import CommandRefused, Refusal
from shared.contracts.releases import Release
from shared.contracts.stages import Outcome, RunExecutorStage, RunValidatorStage, StageFinished
from shared.contracts.values import Message
from shared.contracts.version_maps import (
    HoldVersionMap,
    RecordVersionMap,
    ReleaseVersionMap,
    VersionMap,
    VersionMapHeld,
    VersionMapRecorded,
    VersionMapReleased,
)
from tests.support.planner_examples import (
    NOON,
    PROJECT,
    StageCommand,
    finished,
    project,
    releases,
    version_map,
)

MapCommand = HoldVersionMap | RecordVersionMap | ReleaseVersionMap


@dataclass
class World:
    """What the planner knows, what it has sent, and what the registry makes of that."""

    registration: Project = field(default_factory=project)
    known: dict[tuple[str, str], Release] = field(default_factory=releases)
    now: datetime = NOON
    runs: dict[str, RunRow] = field(default_factory=dict)
    projects: dict[str, ProjectRow] = field(default_factory=dict)
    sent: list[Message] = field(default_factory=list)
    truth: VersionMap = field(default_factory=version_map)
    """The registry's version map, which the planner hears of later."""
    to_registry: list[MapCommand] = field(default_factory=list)
    from_registry: list[Message] = field(default_factory=list)
    handled_by_registry: set[str] = field(default_factory=set)
    fleet: FleetState = field(default_factory=FleetState)
    number: int = 0

    def __post_init__(self) -> None:
        self.tell(ProjectRegistered(project=self.registration, revision=1))
        self.tell(VersionMapRecorded(version_map=self.truth))

    def tell(self, message: Message, message_id: str | None = None) -> Any:
        """Hand one message to its handler; what that gives is the answer. Raises `Reject`."""
        self.number += 1
        envelope = seal(message, source="/test", now=self.now, ordinal=self.number)
        envelope = replace(envelope, id=message_id or envelope.id)
        return _at_once(HANDLERS[type(message)](message, MemoryTransaction(self, envelope)))

    def fork(self) -> "World":
        """The same world once more, to try something in it. Rows of Runs are replaced, never changed."""
        other = copy.copy(self)
        other.runs, other.sent = dict(self.runs), list(self.sent)
        other.projects = {name: copy.deepcopy(row) for name, row in self.projects.items()}
        other.to_registry, other.from_registry = list(self.to_registry), list(self.from_registry)
        other.handled_by_registry = set(self.handled_by_registry)
        return other

    def wait_s(self, seconds: float) -> None:
        """Let time pass, and fire the timers that are due then."""
        self.now += timedelta(seconds=seconds)
        for row in list(self.runs.values()):
            due = row.wake_at is not None and row.wake_at <= self.now
            if due or (row.awaits_thaw and self.fleet.freeze is None):
                _at_once(on_timer(row.id, row.project, MemoryTransaction(self, None)))

    def run(self, run_id: str) -> Run:
        return Run.model_validate(self.runs[run_id].state)

    def open_command(self, run_id: str) -> Message | None:
        """What a Run has asked for, as long as nobody has answered."""
        kept = self.runs[run_id].open_command
        return BY_TYPE[kept["type"]].model_validate(kept["body"]) if kept else None

    def stage_command(self, run_id: str) -> StageCommand | None:
        command = self.open_command(run_id)
        return command if isinstance(command, RunExecutorStage | RunValidatorStage) else None

    def result(self, command: StageCommand, outcome: Outcome | None = None) -> StageFinished:
        """A worker's answer; without an outcome it succeeded."""
        return finished(command, self.now, outcome)

    def registry_works(self, refuse: bool = False) -> None:
        """The registry handles its oldest command; the planner has not heard of it yet."""
        command = self.to_registry.pop(0)
        name = f"{type(command).__name__} {command.identity()}"
        if name in self.handled_by_registry:
            return  # its inbox knows the command
        self.handled_by_registry.add(name)
        held = self.truth.held_by
        fits = held in {None, command.run_id}
        if isinstance(command, HoldVersionMap):
            fits = fits and command.expected_pins == self.truth.pins
        if refuse or not fits:
            self.from_registry.append(refused(command))
            return
        self.from_registry.append(self._carry_out(command))

    def _carry_out(self, command: MapCommand) -> Message:
        changes: dict[str, object] = {"revision": self.truth.revision + 1}
        match command:
            case HoldVersionMap():
                self.truth = self.truth.model_copy(update={**changes, "held_by": command.run_id})
                return VersionMapHeld(version_map=self.truth)
            case RecordVersionMap():
                changes |= {"held_by": None, "pins": command.pins, "run_id": command.run_id}
                self.truth = self.truth.model_copy(update=changes)
                return VersionMapRecorded(version_map=self.truth)
            case ReleaseVersionMap():
                self.truth = self.truth.model_copy(update={**changes, "held_by": None})
                return VersionMapReleased(version_map=self.truth)

    def hear_registry(self) -> Message:
        """The planner hears the registry's oldest answer."""
        answer = self.from_registry.pop(0)
        self.tell(answer)
        return answer


def refused(command: MapCommand) -> CommandRefused:
    """The registry's no."""
    sealed = seal(command, source="/upgrades/planner", now=NOON)
    return CommandRefused(
        command=command.type_name(),
        command_id=sealed.id,
        subject=PROJECT,
        refusals=(Refusal(kind="conflict", reason="another Run holds the map", cure="wait for it"),),
    )


class MemoryTransaction(PlannerTransaction):
    """The planner's transaction without a database: the same rows, kept in the world."""

    def __init__(self, world: World, cause: Envelope | None) -> None:
        self.world = world
        self.now = world.now
        self.cause = cause

    async def lock(self, kind: str, subject: str) -> None:
        """Nobody else is there."""

    async def project_row(self, project: str) -> ProjectRow:
        return self.world.projects.setdefault(project, ProjectRow(id=project))

    async def registration(self, project: str) -> tuple[Project, VersionMap]:
        row = self.world.projects[project]
        return Project.model_validate(row.project), VersionMap.model_validate(row.version_map)

    async def releases(self) -> dict[tuple[str, str], Release]:
        return self.world.known

    async def active_run(self, project: str) -> str | None:
        rows = [row for row in self.world.runs.values() if row.started and not row.ended]
        assert len(rows) <= 1, "one started Run per Project at a time"
        return rows[0].id if rows else None

    async def fleet(self) -> FleetState:
        return self.world.fleet

    async def save_fleet(self, state: FleetState, sends: tuple[Message, ...]) -> None:
        self.world.fleet = state
        self.world.sent += sends

    async def run(self, run_id: str, project: str | None = None) -> Run:
        return self.world.run(run_id)

    async def save(self, before: Run | None, decision: Decision) -> None:
        run = decision.run
        if run == before and not decision.sends:
            return
        row = await self.project_row(run.project)
        row.fence = max(row.fence, run.fence)
        known = self.world.runs.get(run.id)
        state = run.model_dump(mode="json", by_alias=True)
        assert Run.model_validate(state) == run, "a Run that is stored is the same Run"
        self.world.runs[run.id] = RunRow(
            id=run.id,
            project=run.project,
            status=run.status,
            started=run.record_of("prepare") is not None,
            ended=run.ended,
            revision=known.revision + 1 if known else 1,
            plan=run.plan,
            wake_at=run.wake_at,
            awaits_thaw=run.awaits_thaw,
            requested_at=run.requested_at,
            state=state,
            open_command=self._open(run, decision, known),
        )
        self.world.sent += decision.sends
        self.world.sent.append(run.changed(self.world.runs[run.id].revision))
        self.world.to_registry += [message for message in decision.sends if isinstance(message, MapCommand)]


def _at_once(handled: Awaitable[Any]) -> Any:
    try:
        next(iter(handled.__await__()))
    except StopIteration as end:
        return end.value
    raise AssertionError("a handler over memory has nothing to wait for")
