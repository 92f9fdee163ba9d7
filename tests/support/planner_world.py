"""The planner's handlers over a store in memory, with a registry and a clock that tests move by hand."""

import copy
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from services.planner.handlers import HANDLERS, on_timer
from services.planner.recovery import FleetState
from services.planner.run import Decision, Run
from services.planner.store import PlannerTransaction
from services.planner.store.memory import KnownProject
from services.planner.store.statements import is_started
from shared.contracts.envelope import Envelope, seal
from shared.contracts.projects import Project, ProjectRegistered
from shared.contracts.refusals import CommandRefused, Refusal
from shared.contracts.releases import Release
from shared.contracts.stages import Outcome, RunExecutorStage, RunValidatorStage, StageFinished
from shared.contracts.topics import Topic
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
from tests.support.proofs import sender_of

MapCommand = HoldVersionMap | RecordVersionMap | ReleaseVersionMap


@dataclass
class World:
    """What the planner knows, what it has sent, and what the registry makes of that."""

    registration: Project = field(default_factory=project)
    known: dict[tuple[str, str], Release] = field(default_factory=releases)
    now: datetime = NOON
    projects: dict[str, KnownProject] = field(default_factory=dict)
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
        envelope = replace(envelope, id=message_id or envelope.id, proven_by=sender_of(message))
        return _at_once(HANDLERS[type(message)](message, MemoryTransaction(self, envelope)))

    def fork(self) -> "World":
        """The same world once more, to try something in it. Runs are replaced, never changed."""
        other = copy.copy(self)
        other.sent = list(self.sent)
        other.projects = {name: known.copy() for name, known in self.projects.items()}
        other.to_registry, other.from_registry = list(self.to_registry), list(self.from_registry)
        other.handled_by_registry = set(self.handled_by_registry)
        return other

    def wait_s(self, seconds: float) -> None:
        """Let time pass, and fire the timers that are due then."""
        self.now += timedelta(seconds=seconds)
        for run in self.runs.values():
            due = run.wake_at is not None and run.wake_at <= self.now
            if due or (run.awaits_thaw and self.fleet.freeze is None):
                _at_once(on_timer(run.id, run.project, MemoryTransaction(self, None)))

    @property
    def runs(self) -> dict[str, Run]:
        return {name: kept.run for known in self.projects.values() for name, kept in known.runs.items()}

    def run(self, run_id: str) -> Run:
        return self.runs[run_id]

    def open_command(self, run_id: str) -> Message | None:
        """What a Run has asked for, as long as nobody has answered."""
        run = self.run(run_id)
        if run.ended or not (run.is_running or run.waits_for_registry):
            return None
        asked = (one for one in reversed(self.sent) if isinstance(one, StageCommand | MapCommand))
        return next(command for command in asked if command.run_id == run_id)

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
    """The planner's transaction without a database: what it holds is the world's."""

    def __init__(self, world: World, cause: Envelope | None) -> None:
        self.world = world
        self.now = world.now
        self.cause = cause
        self._changed: dict[str, None] = {}
        self._changed_runs: dict[str, str] = {}

    async def known_project(self, project: str) -> KnownProject:
        return self.world.projects.setdefault(project, KnownProject(project))

    async def fleet(self) -> FleetState:
        return self.world.fleet

    async def save_fleet(self, state: FleetState, sends: tuple[Message, ...]) -> None:
        self.world.fleet = state
        self.world.sent += sends

    async def releases(self) -> dict[tuple[str, str], Release]:
        return self.world.known

    async def accepted_masks(self, project: Project) -> str | None:
        of_project = [run for run in self.world.runs.values() if run.project == project.id and run.masks]
        return max(of_project, key=lambda run: run.masks_at or run.requested_at).masks if of_project else None

    async def save(self, before: Run | None, decision: Decision) -> None:
        run = decision.run
        assert Run.model_validate_json(run.model_dump_json(by_alias=True)) == run, (
            "what is stored is the same"
        )
        await super().save(before, decision)
        started = [one.id for one in self.world.runs.values() if is_started(one) and not one.ended]
        known = await self.known_project(run.project)
        assert started == ([known.active] if known.active else []), "one started Run per Project at a time"

    def send(
        self,
        message: Message,
        *,
        topic: Topic | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
        body: bytes | None = None,
    ) -> Envelope:
        self.world.sent.append(message)
        if isinstance(message, MapCommand):
            self.world.to_registry.append(message)
        return seal(message, source="/upgrades/planner", now=self.now, cause=self.cause)


def _at_once(handled: Awaitable[Any]) -> Any:
    try:
        next(iter(handled.__await__()))
    except StopIteration as end:
        return end.value
    raise AssertionError("a handler over memory has nothing to wait for")
