"""What people decide, by example: when it is refused, and what it leads to."""

from typing import Any

import pytest

from shared.contracts.facts import CheckResult, ChecksFacts, MigrateFacts, StagingCopy
from shared.contracts.runs import (
    ApproveCandidate,
    CancelRun,
    ContinueRun,
    RejectCandidate,
    RequestPlan,
    RollBackRun,
    SignOff,
    StartRun,
)
from shared.contracts.stages import CancelExecutorStage, Failed, RunExecutorStage, StageFinished, Succeeded
from shared.contracts.tasks import ApplyTask, DeployTask, ProveBackupTask, RollBackTask
from shared.contracts.version_maps import HoldVersionMap, RecordVersionMap, ReleaseVersionMap
from shared.errors import Reject
from tests.support.planner_examples import MIRA, OTTO, PINS, PROJECT, StageCommand, digest, facts, project
from tests.support.planner_world import World


class Road:
    """One Run and the way that it goes."""

    def __init__(self, on_failure: str = "wait") -> None:
        self.world = World(project(on_failure))
        asked = RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None})
        self.id: str = self.world.tell(asked).id

    @property
    def run(self) -> Any:
        return self.world.run(self.id)

    @property
    def command(self) -> StageCommand:
        """The one that a worker has not answered."""
        command = self.world.stage_command(self.id)
        assert command is not None
        return command

    def say(self, command: type[Any], **given: Any) -> None:
        self.world.tell(command(**{"actor": MIRA, "project": PROJECT, "run_id": self.id, **given}))

    def answers(self, times: int = 1, outcome: Failed | Succeeded | None = None) -> "Road":
        for _ in range(times):
            command = self.world.stage_command(self.id)
            if command is not None:
                self.world.tell(self.world.result(command, outcome))
            else:
                self.world.registry_works()
                self.world.hear_registry()
        return self

    def started(self) -> "Road":
        self.answers()
        self.say(StartRun, plan=self.run.plan)
        return self

    def proven(self) -> "Road":
        self.started().answers(5)
        self.say(SignOff, check="partner-sign-off")
        return self

    def approved(self) -> "Road":
        self.proven()
        self.say(ApproveCandidate, candidate=self.run.candidate)
        return self

    def deployed(self) -> "Road":
        return self.approved().answers(2)

    def succeeded(self) -> "Road":
        return self.deployed().answers(2)

    def sent(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.world.sent if isinstance(message, kind)]

    def refused(self, command: type[Any], **given: Any) -> Any:
        with pytest.raises(Reject) as rejected:
            self.say(command, **given)
        return rejected.value.refusals[0]


def test_a_run_cancelled_before_the_opt_in_ends_at_once_and_stops_its_review() -> None:
    road = Road()
    road.say(CancelRun, reason="a slip")
    assert (road.run.status, road.run.stages[-1].status) == ("cancelled", "cancelled")
    assert road.sent(CancelExecutorStage)
    assert not road.sent(RecordVersionMap)


def test_a_run_cancelled_before_deploy_takes_staging_away_and_ends_cancelled() -> None:
    road = Road().started().answers(2)
    road.say(CancelRun, reason="not now")
    assert road.run.status == "rolling-back"
    task = road.sent(RunExecutorStage)[-1].task
    assert isinstance(task, RollBackTask)
    assert (task.deploy_began, task.pins_before) == (False, PINS)
    assert road.answers().run.status == "cancelled"
    assert not road.sent(RecordVersionMap) + road.sent(HoldVersionMap)


def test_a_cancel_while_the_registry_is_asked_is_refused_so_that_no_map_stays_held() -> None:
    road = Road().approved()
    refusal = road.refused(CancelRun, reason="not now")
    assert refusal.kind == "conflict"
    assert "the registry is about to answer" in refusal.reason


def test_a_cancel_after_deploy_began_says_roll_back() -> None:
    assert "use roll-back" in Road().approved().answers().refused(CancelRun, reason="oh no").reason


def test_before_the_opt_in_there_is_nothing_to_roll_back() -> None:
    road = Road().answers(1, Failed(reason="production's branch is gone"))
    assert "nothing to undo" in road.refused(RollBackRun, reason="why not").reason


def test_a_fix_is_proven_from_apply_on_and_voids_what_was_said_before() -> None:
    road = Road().proven()
    before = road.run.candidate
    road.say(ContinueRun)
    task = road.sent(RunExecutorStage)[-1].task
    assert isinstance(task, ApplyTask)
    assert task.again
    assert (road.run.candidate, road.run.approval, road.run.sign_offs) == (None, None, ())
    refusal = road.refused(ApproveCandidate, candidate=before)
    assert refusal.kind == "conflict"
    road.answers(4)
    assert "sign-off of partner-sign-off" in road.run.blocked_by.what, "the new commit needs a new word"
    road.say(SignOff, check="partner-sign-off")
    assert road.run.candidate not in {None, before}
    assert road.refused(ApproveCandidate, candidate=before).field == "candidate"


def test_a_deploy_that_touched_nothing_waits_with_the_map_held_and_needs_a_new_approval_after_a_fix() -> None:
    road = Road().approved().answers().answers(1, Failed(reason="production's branch has moved"))
    assert (road.run.status, road.run.stage, road.run.holds_map) == ("waiting", "deploy", True)
    road.say(ContinueRun)
    road.answers(4)
    road.say(SignOff, check="partner-sign-off")
    assert road.run.status == "waiting"
    road.say(ApproveCandidate, candidate=road.run.candidate)
    assert len(road.sent(HoldVersionMap)) == 1
    assert road.answers(3).run.status == "succeeded"


@pytest.mark.parametrize("touched", [False, True])
def test_on_failure_roll_back_undoes_what_failed_before_the_record(touched: bool) -> None:
    road = Road("roll-back").approved().answers()
    road.answers(1, Failed(reason="no", touched_production=touched))
    assert (road.run.status, road.run.stage) == ("rolling-back", "roll-back")
    assert road.answers(2).run.status == "rolled-back"
    assert road.sent(ReleaseVersionMap)


def test_on_failure_roll_back_does_not_undo_a_deploy_because_staging_could_not_be_removed() -> None:
    road = Road("roll-back").deployed().answers().answers(1, Failed(reason="staging cannot be dropped"))
    assert (road.run.status, road.run.stage, road.run.recorded) == ("waiting", "record", True)


def test_a_succeeded_run_is_rolled_back_with_its_pins() -> None:
    road = Road().succeeded()
    road.say(RollBackRun, reason="customers complain")
    assert road.sent(HoldVersionMap)[-1].expected_pins == {**PINS, "auth-system": "1.3.0"}
    road.answers(3)
    assert road.sent(RecordVersionMap)[-1].pins == PINS
    assert (road.run.status, road.world.truth.pins, road.world.truth.held_by) == ("rolled-back", PINS, None)
    assert "nothing to undo" in road.refused(RollBackRun, reason="again").reason


def test_a_rollback_that_the_registry_refuses_leaves_a_succeeded_run_succeeded() -> None:
    road = Road().succeeded()
    road.say(RollBackRun, reason="customers complain")
    road.world.registry_works(refuse=True)
    road.world.hear_registry()
    road.answers()
    assert road.run.status == "succeeded"
    assert "the registry refused" in road.run.reason
    assert road.world.truth.pins == {**PINS, "auth-system": "1.3.0"}


def test_a_record_that_the_registry_refuses_names_a_way_out() -> None:
    road = Road().deployed()
    road.world.registry_works(refuse=True)
    road.world.hear_registry()
    assert road.run.blocked_by.who == "maintainer"
    assert [cure.split()[2] for cure in road.run.blocked_by.cures] == ["roll-back"]


def test_only_an_approver_approves_rejects_and_signs_off() -> None:
    road = Road().started().answers(5)
    assert road.refused(SignOff, actor=OTTO, check="partner-sign-off").kind == "forbidden"
    road.say(SignOff, check="partner-sign-off")
    for command, given in (
        (ApproveCandidate, {"candidate": road.run.candidate}),
        (RejectCandidate, {"reason": "no"}),
    ):
        refusal = road.refused(command, actor=OTTO, **given)
        assert (refusal.kind, MIRA.id in refusal.cure) == ("forbidden", True)


def test_a_sign_off_that_is_refused_waits_for_the_maintainer_and_may_change_its_mind() -> None:
    road = Road().started().answers(5)
    assert road.refused(SignOff, check="quote-rules").cure == "it waits for: partner-sign-off"
    road.say(SignOff, check="partner-sign-off", accepted=False, remark="the mail is wrong")
    assert (road.run.status, road.run.blocked_by.who) == ("waiting", "maintainer")
    assert "the mail is wrong" in road.run.blocked_by.what
    road.say(SignOff, check="partner-sign-off")
    assert road.run.candidate is not None


def test_a_plan_or_candidate_that_is_another_one_is_refused() -> None:
    road = Road().answers()
    assert road.refused(StartRun, plan=digest("another")).field == "plan"
    proven = Road().proven()
    assert proven.refused(ApproveCandidate, candidate=digest("another")).field == "candidate"


def test_a_late_success_of_a_stopped_attempt_is_old_news() -> None:
    road = Road().started()
    late = road.world.stage_command(road.id)
    assert late is not None
    road.world.wait_s(4000.0)
    before = road.run
    late_result: StageFinished = road.world.result(late)
    road.world.tell(late_result)
    assert road.run == before


def test_a_backup_that_does_not_come_back_is_accepted_by_an_approver_before_the_approval() -> None:
    """Would catch an approval that is asked for before the backup is known to come back, or given unaware."""
    road = Road().started().answers(2)
    migrated = facts(road.command)
    assert isinstance(migrated, MigrateFacts)
    road.answers(1, Succeeded(facts=migrated.with_(backup_tried=True))).answers(2)
    road.say(SignOff, check="partner-sign-off")
    assert (road.run.stage, road.run.status, road.run.candidate) == ("prove-backup", "running", None)
    assert isinstance(road.sent(RunExecutorStage)[-1].task, ProveBackupTask)
    lost = CheckResult(
        name="backup", kind="restore", verdict="needs-sign-off", detail="a table is lost", duration_ms=1
    )
    found = ChecksFacts(stage="prove-backup", commit=migrated.commit, results=(lost,))
    road.answers(1, Succeeded(facts=found))
    assert road.refused(ApproveCandidate, candidate="c" * 64).kind == "conflict"
    assert road.run.blocked_by is not None
    assert road.run.blocked_by.what == "sign-off of backup"
    road.say(SignOff, check="backup", remark="we have another one")
    road.say(ApproveCandidate, candidate=road.run.candidate)
    road.answers(1)
    task = road.sent(RunExecutorStage)[-1].task
    assert isinstance(task, DeployTask)
    assert task.approval is not None
    assert ("prove-backup", "backup", "needs-sign-off") in task.approval.candidate.checks


def test_a_backup_that_came_back_waits_for_nobody_but_the_approver() -> None:
    road = Road().started().answers(2)
    migrated = facts(road.command)
    assert isinstance(migrated, MigrateFacts)
    road.answers(1, Succeeded(facts=migrated.with_(backup_tried=True))).answers(2)
    road.say(SignOff, check="partner-sign-off")
    road.answers(1)
    road.say(ApproveCandidate, candidate=road.run.candidate)
    assert road.answers(4).run.status == "succeeded"


def test_rows_are_copied_again_when_somebody_says_so() -> None:
    """Catches rows of yesterday that nobody can get rid of, and a word that is kept for ever."""
    road = Road().started().answers(2)
    road.answers(1, Failed(reason="a row is null"))
    road.say(ContinueRun, copy_again=True)
    assert road.run.staging_copy is None, "nobody knows yet which one it will be"
    road.answers()
    task: Any = road.command.task
    assert task.copy_again
    copied = StagingCopy(database="acme_staging_x", made_at=road.world.now)
    done: Any = road.world.result(road.command).outcome
    update = {"copied": copied, "refuted": ("m line 1: rows whose x is null",)}
    road.answers(1, Succeeded(facts=done.facts.model_copy(update=update)))
    assert road.run.view().staging_copy == copied
    road.answers(2)
    road.say(SignOff, check="partner-sign-off")
    road.say(ApproveCandidate, candidate=road.run.candidate)
    road.answers()
    task = road.command.task
    assert (task.stage, task.refuted, task.copied_at) == ("deploy", update["refuted"], copied.made_at)
    other = Road().started().answers(2)
    other.answers(1, Failed(reason="no"))
    other.say(ContinueRun)
    other.answers()
    task = other.command.task
    assert not task.copy_again
