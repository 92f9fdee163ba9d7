"""What an SRE decides, by example: a freeze, a Run that goes on, and a registry that says nothing."""

from typing import Any

import pytest

from services.planner.domain import ASK_DELAYS_S
from shared.contracts.freezes import DeploysFrozen, DeploysThawed, FreezeDeploys, HoldDeploys, ThawDeploys
from shared.contracts.runs import ApproveCandidate, ResumeRun, RetryStage
from shared.contracts.stages import CancelExecutorStage, Errored, RunExecutorStage
from shared.contracts.tasks import DeployTask, MigrateTask
from shared.contracts.version_maps import HoldVersionMap, RecordVersionMap
from shared.errors import Reject
from tests.planner.test_planner_choices import Road
from tests.support.planner_examples import MIRA, SRE


def deploys(road: Road) -> list[RunExecutorStage]:
    return [command for command in road.sent(RunExecutorStage) if isinstance(command.task, DeployTask)]


def freeze(road: Road, **given: Any) -> Any:
    return road.world.tell(FreezeDeploys(**{"actor": SRE, "reason": "the database moves", **given}))


def thaw(road: Road) -> None:
    road.world.tell(ThawDeploys(actor=SRE, reason="it has moved"))
    road.world.wait_s(1)


def test_an_approved_run_waits_for_the_thaw_and_then_deploys_by_itself() -> None:
    road = Road().proven()
    freeze(road)
    road.say(ApproveCandidate, candidate=road.run.candidate)
    blocked = road.run.blocked_by
    assert (road.run.status, blocked.who) == ("waiting", "sre")
    assert "sam@platform.example" in blocked.what
    assert "the database moves" in blocked.what
    assert not road.sent(HoldVersionMap)
    road.world.wait_s(86_400)
    assert road.run.blocked_by == blocked
    thaw(road)
    assert road.answers(4).run.status == "succeeded"
    assert len(deploys(road)) == 1


def test_a_freeze_that_comes_while_the_map_is_being_held_keeps_the_map_and_the_deploy_back() -> None:
    road = Road().approved()
    freeze(road)
    road.answers()
    assert (road.run.holds_map, road.run.status, deploys(road)) == (True, "waiting", [])
    thaw(road)
    assert len(deploys(road)) == 1


def test_a_deploy_that_the_executor_did_not_start_is_not_tried_again_before_the_thaw() -> None:
    road = Road().approved().answers()
    freeze(road)
    road.answers(1, Errored(reason="Retry: deploys are frozen"))  # type: ignore[arg-type]
    road.world.wait_s(3)
    assert (road.run.status, len(deploys(road))) == ("waiting", 1)
    thaw(road)
    assert len(deploys(road)) == 2
    assert road.answers(3).run.status == "succeeded"


def test_the_first_word_stands_and_a_repeat_says_nothing_new() -> None:
    road = Road()
    first = freeze(road)
    assert freeze(road, reason="another reason") == first
    thaw(road)
    thaw(road)
    assert [type(one) for one in road.sent(DeploysFrozen | DeploysThawed)] == [DeploysFrozen, DeploysThawed]  # type: ignore[arg-type]
    assert [one.revision for one in road.sent(HoldDeploys)] == [1, 2]


@pytest.mark.parametrize("command", [FreezeDeploys, ThawDeploys])
def test_a_maintainer_freezes_nothing(command: type[Any]) -> None:
    with pytest.raises(Reject, match="may not"):
        Road().world.tell(command(actor=MIRA, reason="I would like to"))


def test_a_stuck_stage_goes_on_behind_a_higher_fence_and_the_reason_stays() -> None:
    road = Road().started().answers(2)
    before = road.run
    road.say(ResumeRun, actor=SRE, reason="its worker's machine is gone")
    assert (road.run.stage, road.run.attempt) == ("migrate", before.attempt + 1)
    assert road.run.fence > before.fence
    assert [(word.by, word.stage, word.reason) for word in road.run.resumptions] == [
        (SRE.id, "migrate", "its worker's machine is gone")
    ]
    (cancelled,) = road.sent(CancelExecutorStage)
    assert cancelled.fence == before.fence
    assert isinstance(road.sent(RunExecutorStage)[-1].task, MigrateTask)


def test_from_an_earlier_stage_everything_after_it_is_proven_again() -> None:
    road = Road().proven()
    road.say(ResumeRun, actor=SRE, from_stage="migrate", reason="staging was lost")
    assert (road.run.stage, road.run.candidate, road.run.checked, road.run.sign_offs) == (
        "migrate",
        None,
        (),
        (),
    )


@pytest.mark.parametrize(
    ("stage", "why"), [("migrate", "production may have been written"), ("record", "it has not come to")]
)
def test_over_a_deploy_under_way_only_the_deploy_goes_on(stage: str, why: str) -> None:
    road = Road().approved().answers()
    assert why in road.refused(ResumeRun, actor=SRE, from_stage=stage, reason="it hangs").reason
    road.say(ResumeRun, actor=SRE, from_stage="deploy", reason="it hangs")
    assert len(deploys(road)) == 2


def test_only_an_sre_resumes() -> None:
    assert Road().started().refused(ResumeRun, reason="it hangs").kind == "forbidden"


def test_a_silent_registry_is_asked_again_with_the_same_command_and_then_an_sre_looks() -> None:
    road = Road().approved()
    for delay_s in ASK_DELAYS_S[:-1]:
        road.world.wait_s(delay_s)
    asked = road.sent(HoldVersionMap)
    assert asked == [asked[0]] * len(ASK_DELAYS_S)
    road.world.wait_s(ASK_DELAYS_S[-1])
    assert (road.run.status, road.run.blocked_by.who) == ("waiting", "sre")
    assert "the registry has not answered" in road.run.blocked_by.what
    assert road.refused(RetryStage).kind == "conflict"


def test_the_answer_counts_however_late_it_comes() -> None:
    road = Road().approved()
    for delay_s in ASK_DELAYS_S:
        road.world.wait_s(delay_s)
    assert road.answers().run.stage == "deploy"


def test_an_sre_asks_the_registry_anew() -> None:
    road = Road().deployed()
    for delay_s in ASK_DELAYS_S:
        road.world.wait_s(delay_s)
    road.say(ResumeRun, actor=SRE, reason="the registry is back")
    commands = road.sent(RecordVersionMap)
    assert commands[-1].fence > commands[0].fence
    assert road.answers(2).run.status == "succeeded"
