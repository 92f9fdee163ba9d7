"""Stage commands and results: the messages between the planner and its workers."""

from collections import OrderedDict
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from pydantic_core import from_json

from shared.contracts.facts import CheckResult, Facts
from shared.contracts.projects import Project
from shared.contracts.tasks import Task
from shared.contracts.topics import EXECUTOR_COMMANDS, STAGE_RESULTS, VALIDATOR_COMMANDS, Topic, in_pool
from shared.contracts.values import (
    Contract,
    Digest,
    Message,
    PoolName,
    ProjectId,
    RunId,
    StageName,
    Timestamp,
)

_KNOWN_BYTES_MAX = 64 << 10
"""Of a Project's JSON that is remembered: what is read may be of any sender, and proven only later."""


@lru_cache(maxsize=1024)
def _known_project(text: bytes) -> Project:
    return Project.model_validate_json(text)


def _read_project(text: bytes) -> Project:
    return _known_project(text) if len(text) <= _KNOWN_BYTES_MAX else Project.model_validate_json(text)


def _read_object(text: bytes) -> dict[str, Any]:
    values = from_json(text)
    if not isinstance(values, dict) or not values:
        raise ValueError("not an object with members")
    return values


class _Written:
    """The JSON of the Projects that were written last. By identity: they are immutable, and kept here."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[int, tuple[Project, bytes]] = OrderedDict()

    def json(self, project: Project) -> bytes:
        known = self._known.get(id(project))
        if known is None:
            known = project, project.__pydantic_serializer__.to_json(project, by_alias=True)
            if len(known[1]) > _KNOWN_BYTES_MAX:
                return known[1]
            self._known[id(project)] = known
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return known[1]


_written = _Written(most=2000)
_BUT_PROJECT = {"project"}


class _StageCommand(Message):
    run_id: RunId
    project_id: ProjectId
    attempt: int = Field(ge=1)
    fence: int = Field(ge=1, description="grows with every stage command of a Project")
    deadline_s: float = Field(gt=0)
    project: Project
    task: Task

    @classmethod
    def read(cls, body: bytes) -> Self:
        """The command of a JSON body, as `model_validate_json` reads it. Raises pydantic's ValidationError.

        A Project is most of the body and the same in each command of its Runs: what was read once is known
        by its bytes.
        """
        head, _, rest = body.partition(b',"project":')
        project, _, tail = rest.rpartition(b',"task":')
        try:
            # Each piece must be valid by itself: so the body was cut between the members of its object.
            values = {**_read_object(head + b"}"), "project": _read_project(project)}
            return cls.model_validate(values | _read_object(b'{"task":' + tail))
        except ValueError:
            return cls.model_validate_json(body)

    def body(self) -> bytes:
        # Written as it is read: the Project is the same in all nine commands of a Run.
        rest = self.__pydantic_serializer__.to_json(self, by_alias=True, exclude=_BUT_PROJECT)
        head, _, tail = rest.partition(b',"task":')
        return b"".join((head, b',"project":', _written.json(self.project), b',"task":', tail))

    def key(self) -> str:
        return self.project_id

    def route(self) -> Topic:
        return in_pool(self.topic, self.project.definition.pool)

    def identity(self) -> str:
        return f"{self.run_id}/{self.fence}"


class RunExecutorStage(_StageCommand):
    """A stage for the executor."""

    topic: ClassVar[Topic] = EXECUTOR_COMMANDS


class RunValidatorStage(_StageCommand):
    """A stage for the validator; it carries no name of a production secret that it could resolve."""

    topic: ClassVar[Topic] = VALIDATOR_COMMANDS


class _CancelStage(Message):
    run_id: RunId
    project_id: ProjectId
    stage: StageName
    attempt: int
    fence: int
    pool: PoolName | None = Field(
        default=None,
        description="whose worker was told to do it; none for the common ones",
        exclude_if=lambda pool: pool is None,
    )

    def key(self) -> str:
        return self.project_id

    def route(self) -> Topic:
        return in_pool(self.topic, self.pool)

    def identity(self) -> str:
        return f"{self.run_id}/{self.fence}"


class CancelExecutorStage(_CancelStage):
    """Stop that attempt; its result is of no more interest."""

    topic: ClassVar[Topic] = EXECUTOR_COMMANDS


class CancelValidatorStage(_CancelStage):
    """Stop that attempt; its result is of no more interest."""

    topic: ClassVar[Topic] = VALIDATOR_COMMANDS


class Finding(Contract):
    """One reason why a stage failed."""

    kind: Literal[
        "conflict", "check", "drift", "migration", "package", "project-file", "environment", "data-loss"
    ]
    subject: str = Field(description="a path, a check's name, a migration…")
    detail: str
    cure: str


class Succeeded(Contract):
    """The work was done, and the answer is yes."""

    kind: Literal["succeeded"] = "succeeded"
    facts: Facts


class Failed(Contract):
    """The work was done, and the answer is no. Never retried by itself."""

    kind: Literal["failed"] = "failed"
    reason: str
    findings: tuple[Finding, ...] = ()
    results: tuple[CheckResult, ...] = ()
    touched_production: bool = Field(default=False, description="something in production was written")
    backup: Digest | None = None


class Errored(Contract):
    """It could not be found out. Retried with backoff, then parked."""

    kind: Literal["errored"] = "errored"
    reason: str
    findings: tuple[Finding, ...] = Field(
        default=(),
        description="what the maintainer is asked about after the last try; without them an SRE is asked",
        exclude_if=lambda findings: not findings,
    )
    touched_production: bool = False
    backup: Digest | None = None


Outcome = Annotated[Succeeded | Failed | Errored, Field(discriminator="kind")]


class Begun(Contract):
    """Who works on a stage, and since when."""

    by: str
    at: Timestamp


class StageBegun(Message):
    """A worker is at work on a stage that takes it long; of what is soon answered nobody says so."""

    topic: ClassVar[Topic] = STAGE_RESULTS
    run_id: RunId
    project_id: ProjectId
    stage: StageName
    attempt: int
    fence: int
    generation: int = Field(ge=1, description="of the lease: whoever takes the job over says so, too")
    worker: str
    begun_at: Timestamp

    def key(self) -> str:
        return self.project_id

    def identity(self) -> str:
        return f"{self.run_id}/{self.fence}/{self.generation}"


class StageFinished(Message):
    """A worker's answer to one stage command."""

    topic: ClassVar[Topic] = STAGE_RESULTS
    run_id: RunId
    project_id: ProjectId
    stage: StageName
    attempt: int
    fence: int
    outcome: Outcome
    worker: str
    started_at: Timestamp
    finished_at: Timestamp

    def key(self) -> str:
        return self.project_id

    def identity(self) -> str:
        return f"{self.run_id}/{self.fence}"


class BackupDeleted(Message):
    """A Run's backup of production is gone, as its term has ended: nobody can restore it any more."""

    topic: ClassVar[Topic] = STAGE_RESULTS
    run_id: RunId
    project_id: ProjectId
    stage: Literal["deploy"] = Field(default="deploy", description="whose worker made it")
    backup: Digest
    made_at: Timestamp
    deleted_at: Timestamp
    kept_days: float = Field(ge=0, description="the term, from the end of the Run")

    def key(self) -> str:
        return self.project_id

    def identity(self) -> str:
        return f"{self.run_id}/{self.backup}"
