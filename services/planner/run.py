"""The state of a Run, and what one decision about it is."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from shared.contracts.facts import (
    ApplyFacts,
    ChecksFacts,
    DeployFacts,
    MigrateFacts,
    PrepareFacts,
    RollBackFacts,
)
from shared.contracts.projects import Project
from shared.contracts.runs import BlockedBy, Plan, RunView, StageRecord
from shared.contracts.stages import Errored, Failed, Succeeded
from shared.contracts.tasks import Upgrade
from shared.contracts.values import Actor, Commit, Digest, Message, StageName
from shared.contracts.version_maps import Pins


class Proven(RunView):
    """What the stages brought back, as long as it holds."""

    prepared: PrepareFacts | None = None
    applied: ApplyFacts | None = None
    migrated: MigrateFacts | None = None
    checked: tuple[ChecksFacts, ...] = ()
    deployed: DeployFacts | None = None


class Run(Proven):
    """A Run, whole. Its `RunView` part is what everybody may see."""

    registration: Project = Field(description="as it was when the plan was asked for")
    upgrades: tuple[Upgrade, ...]
    pins_after: Pins
    plan_document: Plan | None = None
    base: Commit | None = Field(default=None, description="production's head that the branch contains")
    production_schema: Digest | None = Field(default=None, description="before the Run")
    tries: int = Field(default=0, description="of the present stage, since somebody last decided")
    deploy_began: bool = False
    holds_map: bool = False
    recorded: bool = Field(default=False, description="the version map names the new pins")
    backup: Digest | None = None
    restore_backup: bool = False
    ending: str = Field(default="succeeded", description="the status in which it will end")
    wake_at: datetime | None = Field(default=None, description="when its deadline or its next try is due")

    @property
    def ended(self) -> bool:
        return self.status in {"succeeded", "rolled-back", "cancelled"}

    @property
    def is_running(self) -> bool:
        """A worker has been told to do the present attempt, and has not answered."""
        record = self.record_of(self.stage)
        return record is not None and record.status == "running" and record.attempt == self.attempt

    @property
    def waits_for_registry(self) -> bool:
        return self.blocked_by is not None and self.blocked_by.who == "registry"

    def with_(self, **changes: object) -> "Run":
        """This Run with some fields changed."""
        return self.model_copy(update=changes)

    def view(self) -> RunView:
        """What everybody may see."""
        return RunView.model_construct(**{name: getattr(self, name) for name in RunView.model_fields})

    def record_of(self, stage: StageName) -> StageRecord | None:
        """The newest record of a stage."""
        return next((record for record in reversed(self.stages) if record.stage == stage), None)

    def with_record(self, record: StageRecord) -> "Run":
        """The newest record of that stage replaced, or this one added."""
        kept = [old for old in self.stages if (old.stage, old.attempt) != (record.stage, record.attempt)]
        return self.with_(stages=(*kept, record))

    def with_outcome(self, outcome: Succeeded | Failed | Errored, at: datetime) -> "Run":
        """The present attempt as its worker left it."""
        record = self.record_of(self.stage)
        assert record is not None
        changes: dict[str, object] = {"status": outcome.kind, "finished_at": at}
        match outcome:
            case Succeeded(facts=DeployFacts() | RollBackFacts() as facts):
                changes |= {"steps": facts.steps}
            case Succeeded(facts=ChecksFacts() as facts):
                changes |= {"results": facts.results, "detail": f"{len(facts.results)} checks"}
            case Succeeded():
                pass
            case Failed():
                changes |= {
                    "detail": outcome.reason,
                    "findings": outcome.findings,
                    "results": outcome.results,
                }
            case Errored():
                changes |= {"detail": outcome.reason}
        return self.with_record(record.model_copy(update=changes))

    def stopped(self, now: datetime) -> "Run":
        """Whatever attempt is under way is of no more interest."""
        record = self.record_of(self.stage)
        if not self.is_running or record is None:
            return self
        return self.with_record(record.model_copy(update={"status": "cancelled", "finished_at": now}))

    def waiting_for(self, who: str, what: str, *cures: str) -> "Run":
        """Nothing goes on until somebody acts. A rollback that waits is a rollback still."""
        return self.with_(
            status=self.status if self.status in {"planned", "rolling-back"} else "waiting",
            wake_at=None,
            blocked_by=BlockedBy.model_validate({"who": who, "what": what, "cures": cures}),
        )

    def waiting_for_registry(self, what: str, fence: int) -> "Run":
        """A version-map command is on its way."""
        status = "rolling-back" if self.status == "rolling-back" else "running"
        return self.waiting_for("registry", what).with_(status=status, fence=fence)

    def ended_as(self, status: str, now: datetime) -> "Run":
        return self.with_(status=status, ended_at=now, blocked_by=None, wake_at=None)

    @property
    def last_decider(self) -> Actor:
        """Whoever decided last: the registry keeps the name with the pins."""
        by = self.approval.by if self.approval else self.requested_by
        return Actor(id=by, role="maintainer", projects=(self.project,))


@dataclass(frozen=True)
class Decision:
    """A Run after something happened, and what is to be sent because of it."""

    run: Run
    sends: tuple[Message, ...] = ()


def unchanged(run: Run) -> Decision:
    return Decision(run)
