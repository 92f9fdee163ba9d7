"""A Run under a policy: two persons, n approvals, and approvers who are removed on the way."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.contracts.freezes import FreezeDeploys, ThawDeploys
from shared.contracts.policies import Policy
from shared.contracts.projects import Project, ProjectRegistered
from shared.contracts.runs import (
    ApproveCandidate,
    CancelRun,
    ContinueRun,
    RequestPlan,
    RetryStage,
    RollBackRun,
    SignOff,
    StartRun,
)
from shared.contracts.stages import Errored, RunExecutorStage
from shared.contracts.tasks import DeployTask
from shared.contracts.values import Actor
from shared.contracts.version_maps import HoldVersionMap
from shared.deciding import broken
from shared.errors import Reject
from tests.support.planner_examples import MIRA, OTTO, PROJECT, SRE, project
from tests.support.planner_world import World, refused

OLGA = Actor(id="olga@acme.example", role="maintainer", projects=(PROJECT,))
ALL = (MIRA.id, OTTO.id, OLGA.id)


def ruled_by(*approvers: str, asks: bool = False, **policy: Any) -> Project:
    given = {"approvers": approvers or ALL, "policy": Policy(**policy)}
    return project(sign_off=asks).model_copy(update=given)


class Decided:
    """A Run that waits for its approvals, asked for and started by Mira."""

    def __init__(self, given: Project, proven: int = 6) -> None:
        self.world = World(given)
        self.revision = 1
        asked = RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None})
        self.id: str = self.world.tell(asked).id
        self.work()
        self.say(MIRA, StartRun, plan=self.run.plan)
        self.work(proven)

    @property
    def run(self) -> Any:
        return self.world.run(self.id)

    def work(self, times: int = 1) -> None:
        for _ in range(times):
            if (command := self.world.stage_command(self.id)) is not None:
                self.world.tell(self.world.result(command))

    def say(self, actor: Actor, command: type[Any], **given: Any) -> None:
        self.world.tell(command(actor=actor, project=PROJECT, run_id=self.id, **given))

    def refused(self, actor: Actor, command: type[Any], **given: Any) -> Any:
        with pytest.raises(Reject) as rejected:
            self.say(actor, command, **given)
        return rejected.value.refusals[0]

    def approve(self, actor: Actor) -> None:
        self.say(actor, ApproveCandidate, candidate=self.run.candidate)

    def register(self, given: Project) -> None:
        self.revision += 1
        self.world.tell(ProjectRegistered(project=given, revision=self.revision))

    def deploy(self) -> DeployTask:
        self.world.registry_works()
        self.world.hear_registry()
        sent = [message for message in self.world.sent if isinstance(message, RunExecutorStage)]
        task = sent[-1].task
        assert isinstance(task, DeployTask)
        return task


def test_who_asked_does_not_approve_and_another_does() -> None:
    decided = Decided(ruled_by())
    refusal = decided.refused(MIRA, ApproveCandidate, candidate=decided.run.candidate)
    assert refusal.kind == "forbidden"
    assert OTTO.id in refusal.cure
    decided.approve(OTTO)
    task = decided.deploy()
    assert task.approval is not None
    assert ([word.by for word in task.approval.words], task.approval.asked_by) == ([OTTO.id], (MIRA.id,))


def test_who_had_it_go_on_does_not_approve_his_own_fix() -> None:
    """Otto pushes to the upgrade branch, and would be the only one who has looked at it."""
    decided = Decided(ruled_by())
    decided.say(OTTO, ContinueRun)
    decided.work(4)
    assert decided.refused(OTTO, ApproveCandidate, candidate=decided.run.candidate).kind == "forbidden"
    decided.approve(OLGA)


def test_two_approvals_are_of_two_persons_for_one_candidate() -> None:
    decided = Decided(ruled_by(approvals=2))
    decided.approve(OTTO)
    assert decided.run.approval is None
    assert decided.run.blocked_by.what.startswith(f"1 of 2 approvals: {OTTO.id}; waits for another approver")
    refusal = decided.refused(OTTO, ApproveCandidate, candidate=decided.run.candidate)
    assert (refusal.kind, refusal.field) == ("conflict", "actor")
    decided.say(MIRA, ContinueRun)  # a moved candidate voids what was said of the old one
    decided.work(4)
    assert decided.run.approvals == ()
    decided.approve(OTTO)
    decided.approve(OLGA)
    task = decided.deploy()
    assert task.approval is not None
    assert [word.by for word in task.approval.words] == [OTTO.id, OLGA.id]


def test_an_approver_who_was_removed_or_added_meanwhile_does_not_count() -> None:
    decided = Decided(ruled_by(MIRA.id, OTTO.id))
    decided.register(ruled_by(MIRA.id, OLGA.id))
    for actor in (OTTO, OLGA):
        assert decided.refused(actor, ApproveCandidate, candidate=decided.run.candidate).kind == "forbidden"
    decided.register(ruled_by(MIRA.id, OTTO.id))
    decided.approve(OTTO)


def test_a_weaker_policy_does_not_reach_a_run_that_began() -> None:
    decided = Decided(ruled_by(approvals=2))
    decided.register(ruled_by(single_person=True))
    assert decided.refused(MIRA, ApproveCandidate, candidate=decided.run.candidate).kind == "forbidden"
    decided.approve(OTTO)
    assert decided.run.approval is None


def test_a_stricter_one_does_and_takes_back_an_approval_before_the_deploy() -> None:
    """Would catch a frozen deploy that goes ahead on the word of somebody who was removed meanwhile."""
    decided = Decided(ruled_by())
    decided.world.tell(FreezeDeploys(actor=SRE, reason="the database moves"))
    decided.approve(OTTO)
    assert decided.run.awaits_thaw
    decided.register(ruled_by(approvals=2))
    assert (decided.run.approval, decided.run.awaits_thaw) == (None, False)
    decided.world.tell(ThawDeploys(actor=SRE, reason="it has moved"))
    decided.world.wait_s(1)
    assert decided.run.status == "waiting"
    assert decided.refused(OTTO, RetryStage).kind == "conflict"


def removed_after_the_last_approval(*, heard_before_the_hold: bool) -> Decided:
    """Otto's approval was the last one needed, and he is removed before the map is held."""
    decided = Decided(ruled_by(MIRA.id, OTTO.id, OLGA.id))
    decided.approve(OTTO)
    assert decided.run.waits_for_registry
    if heard_before_the_hold:
        decided.register(ruled_by(MIRA.id, OLGA.id))
        decided.world.registry_works()
        decided.world.hear_registry()
    else:
        command = decided.world.to_registry.pop(0)
        assert isinstance(command, HoldVersionMap)
        assert command.agreement is not None
        registered = ruled_by(MIRA.id, OLGA.id)
        no = broken(registered, command.agreement)
        assert no is not None
        decided.world.tell(refused(command).with_(refusals=(no,)))
        decided.register(registered)
    return decided


@pytest.mark.parametrize("heard", [True, False], ids=["the planner knows", "only the registry knows"])
def test_an_approver_who_is_removed_before_the_deploy_begins_does_not_count(heard: bool) -> None:
    """Would catch a deploy on the word of somebody who was removed between his approval and the hold."""
    decided = removed_after_the_last_approval(heard_before_the_hold=heard)
    assert not [one for one in decided.world.sent if getattr(one, "stage", None) == "deploy"]
    assert (decided.run.approval, decided.run.status, decided.run.stage) == (None, "waiting", "deploy")
    assert decided.refused(MIRA, RetryStage).kind == "conflict"
    decided.say(MIRA, ContinueRun)
    decided.work(4)
    assert decided.refused(OTTO, ApproveCandidate, candidate=decided.run.candidate).kind == "forbidden"
    decided.approve(OLGA)
    if not decided.run.is_running:
        decided.world.registry_works()
        decided.world.hear_registry()
    assert (decided.run.stage, decided.run.is_running) == ("deploy", True)


def test_who_signed_off_and_was_removed_does_not_count_either() -> None:
    decided = Decided(ruled_by(asks=True, sign_off=(MIRA.id, OTTO.id)))
    decided.say(MIRA, SignOff, check="partner-sign-off")
    decided.work(6)
    decided.approve(OTTO)
    decided.register(ruled_by(asks=True, sign_off=(MIRA.id, OTTO.id), sign_off_by_others=True))
    decided.world.registry_works()
    decided.world.hear_registry()
    assert (decided.run.approval, decided.run.status) == (None, "waiting")


def test_asked_again_for_the_map_it_says_the_same_to_the_letter() -> None:
    """The registry's inbox takes one id with other bytes for a forgery."""
    decided = Decided(ruled_by(MIRA.id, OTTO.id, OLGA.id))
    decided.approve(OTTO)
    first = decided.world.to_registry[-1]
    decided.register(ruled_by(MIRA.id, OTTO.id, approvals=2))
    decided.world.wait_s(6)
    again = decided.world.to_registry[-1]
    assert (again.identity(), again.body()) == (first.identity(), first.body())


def test_another_spelling_of_who_asked_is_not_a_second_person() -> None:
    """Tokens of ours and of a provider may spell one person in two ways."""
    decided = Decided(ruled_by(MIRA.id.upper(), OTTO.id))
    mira = MIRA.model_copy(update={"id": MIRA.id.upper()})
    assert decided.refused(mira, ApproveCandidate, candidate=decided.run.candidate).kind == "forbidden"
    decided.approve(OTTO)


def test_sign_offs_by_others_and_of_whom_the_policy_names() -> None:
    decided = Decided(ruled_by(asks=True, sign_off_by_others=True, sign_off=(MIRA.id, OTTO.id)))
    for actor in (MIRA, OLGA):
        assert decided.refused(actor, SignOff, check="partner-sign-off").kind == "forbidden"
    decided.say(OTTO, SignOff, check="partner-sign-off")


def test_what_production_has_seen_is_rolled_back_by_an_approver_or_an_sre() -> None:
    decided = Decided(ruled_by(MIRA.id, OTTO.id, emergency=False))
    assert decided.refused(OLGA, RollBackRun, reason="x", restore_backup=True).kind == "forbidden"
    decided.approve(OTTO)
    decided.deploy()
    decided.work()
    decided.world.registry_works()
    decided.world.hear_registry()
    decided.work()
    assert decided.run.status == "succeeded"
    for actor in (OLGA, SRE):
        assert decided.refused(actor, RollBackRun, reason="x").kind == "forbidden"
    decided.say(OTTO, RollBackRun, reason="customers cannot sign in")


def test_only_whom_the_policy_names_starts() -> None:
    world = World(ruled_by(start=(OTTO.id,)))
    with pytest.raises(Reject):
        world.tell(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None}))
    world.tell(RequestPlan(actor=OTTO, project=PROJECT, systems={"auth-system": None}))


@pytest.mark.parametrize("began", [False, True], ids=["before the deploy", "after it began"])
def test_the_way_out_without_approval_is_accepted(began: bool) -> None:
    """Catches `cancel` as the cure of a Run whose deploy has begun once: it is refused there."""
    decided = Decided(ruled_by())
    if began:
        decided.approve(OTTO)
        decided.deploy()
        command = decided.world.stage_command(decided.id)
        assert command is not None
        decided.world.tell(decided.world.result(command, Errored(reason="the host is away")))
        assert decided.run.deploy_began
        decided.register(ruled_by(MIRA.id, OLGA.id))
        assert decided.run.approval is None
    else:
        decided.register(ruled_by(MIRA.id))
    cures = [cure for cure in decided.run.blocked_by.cures if re.search(r" run (cancel|roll-back) ", cure)]
    assert [cure.split()[2] for cure in cures] == ["roll-back" if began else "cancel"]
    decided.say(OLGA if began else OTTO, RollBackRun if began else CancelRun, reason="it is enough")
    assert decided.run.status == "rolling-back"
