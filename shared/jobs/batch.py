"""A batch of stage commands, decided in memory: what each comes to, given what the tables said before.

Handled together or one by one, a sequence of commands comes to the same: whatever an earlier one of the batch
changed, a later one sees.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.contracts.envelope import Received
from shared.contracts.stages import RunExecutorStage, RunValidatorStage

Command = RunExecutorStage | RunValidatorStage
JobKey = tuple[str, int]
"""A job's Run and fence."""


@dataclass(frozen=True)
class Known:
    """What the tables say that matters to one command."""

    accepted: bool = False
    """This very command has its job."""
    digest: str | None = None
    result: str | None = None
    """The job's `StageFinished` as JSON, once there is one."""
    newest_of_run: int = 0
    """The highest fence seen of its Run, of whatever stage; 0 when none."""
    newest_write: int = 0
    """The highest fence seen of its Project's stages that write; 0 when none."""
    unsettled: bool = False
    """A job of its Project waits, is at work, or may still be stopping."""


@dataclass
class NewJob:
    """A job that the batch makes. One that was superseded within the batch is cancelled from the start."""

    received: Received
    command: Command
    alone: bool
    """Nothing of its Project is unsettled: it may begin at once."""
    begun: bool = False
    cancelled: bool = False

    @property
    def state(self) -> str:
        """As in its row."""
        if self.cancelled:
            return "cancelled"
        return "leased" if self.begun else "queued"


@dataclass
class Batch:
    """What has been decided so far. `current` is the message that is being handled."""

    known: Mapping[JobKey, Known]
    current: Received | None = None
    new: dict[JobKey, NewJob] = field(default_factory=dict)
    superseding: list[Command] = field(default_factory=list)
    """Commands below which open jobs of the tables are cancelled."""
    cancels: list[JobKey] = field(default_factory=list)
    answers_again: list[tuple[Received, str]] = field(default_factory=list)
    also: list[Callable[[Any], Awaitable[None]]] = field(default_factory=list)
    """What a service keeps besides jobs: each is given the transaction in which the batch is saved."""
    _of_project: dict[str, list[NewJob]] = field(default_factory=dict)
    _newest_of_run: dict[str, int] = field(default_factory=dict)
    _newest_write: dict[str, int] = field(default_factory=dict)

    @property
    def only_new(self) -> bool:
        """There are jobs to be made, and nothing else is to be done."""
        return bool(self.new) and not (self.superseding or self.cancels or self.answers_again or self.also)

    def job(self, command: Command) -> Known | None:
        """What is known of the command's own job, if it was accepted before."""
        key = key_of(command)
        new = self.new.get(key)
        if new is not None:
            return Known(accepted=True, digest=new.received.digest)
        known = self.known[key]
        return known if known.accepted else None

    def newest_fence(self, command: Command) -> int:
        """The highest fence that was seen of what excludes `command`; 0 when none."""
        known = self.known[key_of(command)]
        newest = max(known.newest_of_run, self._newest_of_run.get(command.run_id, 0))
        if writes(command):
            newest = max(newest, known.newest_write, self._newest_write.get(command.project_id, 0))
        return newest

    def add(self, command: Command) -> None:
        """Make its job, and cancel what is under way below its fence and excludes it."""
        assert self.current is not None
        alone = not self.known[key_of(command)].unsettled
        run, project = command.run_id, command.project_id
        siblings = self._of_project.setdefault(project, [])
        for older in siblings:
            if older.command.fence < command.fence and exclude_each_other(older.command, command):
                older.cancelled = True
        if not alone:
            self.superseding.append(command)
        new = self.new[key_of(command)] = NewJob(self.current, command, alone)
        siblings.append(new)
        self._newest_of_run[run] = max(command.fence, self._newest_of_run.get(run, 0))
        if writes(command):
            self._newest_write[project] = max(command.fence, self._newest_write.get(project, 0))

    def cancel(self, key: JobKey) -> None:
        new = self.new.get(key)
        if new is not None:
            new.cancelled = True
        else:
            self.cancels.append(key)

    def answer_again(self, result: str) -> None:
        assert self.current is not None
        self.answers_again.append((self.current, result))


def key_of(command: Command) -> JobKey:
    return command.run_id, command.fence


def writes(command: Command) -> bool:
    """A review changes nothing, so that of a new Run does not disturb the Run that is under way."""
    return command.task.stage != "review"


def exclude_each_other(one: Command, other: Command) -> bool:
    """Whether jobs of these commands, of one Project, may not be under way together."""
    return one.run_id == other.run_id or (writes(one) and writes(other))
