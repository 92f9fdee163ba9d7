"""The state of a Run, and what one decision about it is."""

from dataclasses import dataclass
from datetime import datetime

from shared.contracts.envelope import run_trace
from shared.contracts.facts import ChecksFacts, DeployFacts, MigrateFacts, PrepareFacts, RollBackFacts
from shared.contracts.freezes import Freeze
from shared.contracts.run_state import RunOrigin, RunWork
from shared.contracts.run_words import BlockedBy
from shared.contracts.runs import Plan, RunChanged, RunView, StageRecord
from shared.contracts.stages import Errored, Failed, Succeeded
from shared.contracts.values import Actor, Message, StageName


class Run(RunView, RunWork, RunOrigin):
    """A Run, whole. Its `RunView` part is what everybody may see."""

    plan_document: Plan | None = None

    @property
    def traceparent(self) -> str:
        """Everything that is sent of it bears this."""
        return run_trace(self)

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
        """It has asked the registry for something, and goes on with the answer, however late that comes."""
        return self.asked > 0

    def view(self) -> RunView:
        """What everybody may see."""
        return self.part(RunView)

    def changed(self, revision: int) -> RunChanged:
        """The event that says how the Run stands: what it was opened with stands in the first one only."""
        origin = self.part(RunOrigin) if revision == 1 else None
        return RunChanged(run=self.view(), revision=revision, work=self.part(RunWork), origin=origin)

    @classmethod
    def whole(cls, changed: RunChanged, origin: RunOrigin, plan: Plan | None) -> "Run":
        """A Run of what was told of it: its last event, what it was opened with, and its plan.

        Raises ValueError when the event does not tell everything.
        """
        if changed.work is None:
            raise ValueError(f"the event of {changed.run.id} tells only what everybody may see")
        parts = {**changed.run.__dict__, **changed.work.__dict__, **origin.__dict__}
        return cls.model_construct(**parts, plan_document=plan)

    def record_of(self, stage: StageName) -> StageRecord | None:
        """The newest record of a stage."""
        for record in reversed(self.stages):
            if record.stage == stage:
                return record
        return None

    def with_record(self, record: StageRecord, **changes: object) -> "Run":
        """The record of that attempt replaced, or this one added; and `changes` besides."""
        kept = [old for old in self.stages if old.stage != record.stage or old.attempt != record.attempt]
        return self.with_(stages=(*kept, record), **changes)

    def with_outcome(self, outcome: Succeeded | Failed | Errored, at: datetime) -> "Run":
        """The present attempt as its worker left it."""
        record = self.record_of(self.stage)
        assert record is not None
        changes: dict[str, object] = {"status": outcome.kind, "finished_at": at}
        match outcome:
            case Succeeded(facts=MigrateFacts() | DeployFacts() | RollBackFacts() as facts):
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
                changes |= {"detail": outcome.reason, "findings": outcome.findings}
        # Whoever it waited for, somebody has come.
        after = self.with_record(record.with_(**changes), blocked_by=None)
        match outcome:
            case Succeeded(facts=PrepareFacts(copied=copied) | MigrateFacts(copied=copied)) if copied:
                return after.with_(staging_copy=copied, copy_again=False)
            case _:
                return after

    def stopped(self, now: datetime) -> "Run":
        """Whatever attempt is under way is of no more interest."""
        record = self.record_of(self.stage)
        if not self.is_running or record is None:
            return self
        return self.with_record(record.with_(status="cancelled", finished_at=now))

    def waiting_for(self, who: str, what: str, *cures: str) -> "Run":
        """Nothing goes on until somebody acts. A rollback that waits is a rollback still."""
        return self.with_(
            status=self.status if self.status in {"planned", "rolling-back"} else "waiting",
            wake_at=None,
            asked=0,
            awaits_thaw=False,
            blocked_by=BlockedBy.model_validate({"who": who, "what": what, "cures": cures}),
        )

    def waiting_for_registry(self, what: str, fence: int, asked: int, wake_at: datetime) -> "Run":
        """A version-map command is on its way, for the `asked`th time."""
        status = "rolling-back" if self.status == "rolling-back" else "running"
        return self.waiting_for("registry", what).with_(
            status=status, fence=fence, asked=asked, wake_at=wake_at
        )

    def waiting_for_thaw(self, freeze: Freeze) -> "Run":
        """It deploys by itself as soon as the freeze is over."""
        what = (
            f"deploys are frozen by {freeze.by} since {freeze.since:%Y-%m-%d %H:%M:%S} UTC: {freeze.reason}"
        )
        return self.waiting_for("sre", what, "upgradepath freeze off --reason …").with_(awaits_thaw=True)

    def ended_as(self, status: str, now: datetime) -> "Run":
        return self.with_(
            status=status, ended_at=now, blocked_by=None, wake_at=None, asked=0, awaits_thaw=False
        )

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
