"""Laws of every Run, whatever workers, the registry, the clock and the maintainers do, in any order.

The machine moves a world in which all of them act at random; after each move the laws must hold, and at
the end a willing maintainer must be able to bring every Run to its end.
"""

import re
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.planner.domain import ATTEMPTS_MAX
from services.planner.run import Run
from shared.contracts.runs import (
    ApproveCandidate,
    CancelRun,
    ContinueRun,
    RejectCandidate,
    RequestPlan,
    RetryStage,
    RollBackRun,
    SignOff,
    StartRun,
)
from shared.contracts.stages import (
    DeployTask,
    Errored,
    Failed,
    Finding,
    Outcome,
    RunExecutorStage,
    RunValidatorStage,
    StageFinished,
)
from shared.contracts.values import Command
from shared.contracts.version_maps import RecordVersionMap
from shared.errors import Reject
from tests.support.planner_examples import MIRA, OTTO, PROJECT, SRE, digest, project
from tests.support.planner_world import MapCommand, World

_CURE = re.compile(r"upgradepath run (?P<verb>[a-z-]+) (?P<run>run-[0-9a-f]{12})(?P<rest>.*)")
_FINDING = Finding(kind="check", subject="sign-in-page", detail="500 instead of 200", cure="look at the log")
_NUMBER = st.integers(min_value=0, max_value=30)
_TO_THE_END = 150


def command_of(run: Run, verb: str, rest: str = "", by: Any = MIRA) -> Command:
    """The command that `upgradepath run <verb>` sends."""
    on = {"actor": by, "project": run.project, "run_id": run.id}
    match verb:
        case "start":
            return StartRun(**on, plan=run.plan or digest("no plan yet"))
        case "continue":
            return ContinueRun(**on)
        case "retry":
            return RetryStage(**on)
        case "sign-off":
            return SignOff(**on, check=rest.strip() or "partner-sign-off")
        case "approve":
            return ApproveCandidate(**on, candidate=run.candidate or digest("no candidate"))
        case "reject":
            return RejectCandidate(**on, reason="not now")
        case "cancel":
            return CancelRun(**on, reason="not now")
        case "roll-back":
            return RollBackRun(**on, reason="it misbehaves", restore_backup="--restore-backup" in rest)
        case _:
            raise AssertionError(f"no such verb: {verb}")


VERBS = ("start", "continue", "retry", "sign-off", "approve", "reject", "cancel", "roll-back")


class Runs(RuleBasedStateMachine):
    """One Project with up to three Runs."""

    @initialize(undo=st.booleans(), sign_off=st.booleans(), depth=st.integers(0, 20))
    def a_project(self, undo: bool, sign_off: bool, depth: int) -> None:
        """A Project whose first Run has come some way."""
        self.world = World(project("roll-back" if undo else "wait", sign_off))
        self.undo = undo
        self.answers: list[StageFinished] = []
        self.seen = 0
        self.fences: list[int] = []
        self.request_plan("auth-system")
        for _ in range(depth):
            self._one_step(next(iter(self.world.runs)))

    def _pick(self, number: int) -> Run:
        """Mostly the Run that was started: there the most can happen."""
        started = [run_id for run_id, row in self.world.runs.items() if row.started and not row.ended]
        ids = started if started and number % 4 else sorted(self.world.runs)
        return self.world.run(ids[number % len(ids)])

    def _say(self, command: Command) -> bool:
        before = self.world.fork()
        try:
            self.world.tell(command)
        except Reject as rejection:
            refusals = rejection.refusals
        else:
            return True
        assert all(refusal.reason and refusal.cure for refusal in refusals)
        assert (before.runs, before.sent) == (self.world.runs, self.world.sent), "a refusal changes nothing"
        return False

    # --- what people do ---------------------------------------------------------------------------

    @precondition(lambda self: len(self.world.runs) < 3)
    @rule(system=st.sampled_from(["auth-system", "notifications-system"]))
    def request_plan(self, system: str) -> None:
        self._say(RequestPlan(actor=MIRA, project=PROJECT, systems={system: None}))

    @precondition(lambda self: self.world.runs)
    @rule(number=_NUMBER, verb=st.sampled_from(VERBS), by=st.sampled_from([MIRA, OTTO, SRE]))
    def anything(self, number: int, verb: str, by: Any) -> None:
        """Any command at any time: it is carried out or refused, never half of it."""
        run = self._pick(number)
        ended = run.ended
        accepted = self._say(command_of(run, verb, by=by))
        assert not (accepted and ended) or (verb == "roll-back" and run.status == "succeeded")
        assert not (accepted and by != MIRA and verb in {"approve", "reject", "sign-off"})
        if accepted and verb == "continue":
            fresh = self.world.run(run.id)
            assert (fresh.candidate, fresh.approval, fresh.sign_offs) == (None, None, ())

    @precondition(lambda self: self.world.runs)
    @rule(number=_NUMBER, steps=st.integers(1, 14))
    def go_on(self, number: int, steps: int) -> None:
        """Everybody does what the Run waits for."""
        run_id = self._pick(number).id
        for _ in range(steps):
            self._one_step(run_id)

    @precondition(lambda self: self.world.runs)
    @rule(number=_NUMBER, verb=st.sampled_from(["start", "approve"]))
    def something_else_is_meant(self, number: int, verb: str) -> None:
        """Whoever opts in or approves names what he has read: another digest is refused."""
        command = command_of(self._pick(number), verb)
        name = "plan" if verb == "start" else "candidate"
        assert not self._say(command.model_copy(update={name: digest("what he has read")}))

    # --- what workers, the registry and the clock do ----------------------------------------------

    @precondition(lambda self: self.world.runs)
    @rule(number=_NUMBER, touched=st.booleans(), kind=st.sampled_from([Failed, Errored]))
    def a_worker_says_no(self, number: int, touched: bool, kind: type[Failed | Errored]) -> None:
        run = self._pick(number)
        command = self.world.stage_command(run.id)
        if command is None:
            return
        deploys = command.task.stage == "deploy"
        outcome = kind(reason="the reason", touched_production=touched and deploys)
        if isinstance(outcome, Failed):
            outcome = outcome.model_copy(update={"findings": (_FINDING,)})
        self._answer(command, outcome)
        self._law_of_no(run, outcome)

    @precondition(lambda self: self.world.runs)
    @rule(number=_NUMBER, times=st.integers(1, ATTEMPTS_MAX + 1))
    def a_stage_errs_again_and_again(self, number: int, times: int) -> None:
        """Tried again by itself, but not for ever."""
        run_id = self._pick(number).id
        for _ in range(times):
            run = self.world.run(run_id)
            if (command := self.world.stage_command(run_id)) is not None:
                assert run.tries <= ATTEMPTS_MAX
                self._answer(command, Errored(reason="no route to host"))
                self._law_of_no(run, Errored(reason="no route to host"))
            elif run.blocked_by is None and run.wake_at is not None:
                self.world.wait_s(max(0.0, (run.wake_at - self.world.now).total_seconds()))

    def _law_of_no(self, before: Run, outcome: Failed | Errored) -> None:
        run = self.world.run(before.id)
        record = run.record_of(before.stage)
        assert record is not None
        if before.stage == "deploy" and outcome.touched_production:
            assert (run.status, run.stage) == ("rolling-back", "roll-back")
        elif isinstance(outcome, Failed):
            undone = self.undo and before.stage not in {"review", "record", "roll-back"}
            assert run.wake_at is None or undone, "a verdict is never tried again by itself"
            assert record.status == "failed"
            assert (run.stage == "roll-back") == (undone or before.stage == "roll-back")
        else:
            tries_again = before.tries < ATTEMPTS_MAX
            assert record.status == ("waiting-for-retry" if tries_again else "errored")
            assert tries_again or (run.blocked_by is not None and run.blocked_by.who == "sre")

    @precondition(lambda self: self.answers)
    @rule(number=_NUMBER)
    def an_answer_comes_again(self, number: int) -> None:
        """What carries an old fence is old news: nothing changes."""
        old = self.answers[number % len(self.answers)]
        before = self.world.fork()
        self.world.tell(old)
        assert (before.runs, before.sent) == (self.world.runs, self.world.sent)

    @precondition(lambda self: self.seen)
    @rule(number=_NUMBER)
    def a_superseded_worker_answers(self, number: int) -> None:
        """The result of a command that is no longer open changes nothing."""
        commands = [one for one in self.world.sent if isinstance(one, RunExecutorStage | RunValidatorStage)]
        old = commands[-1 - number % len(commands)]
        if self.world.open_command(old.run_id) == old:
            return
        before = self.world.fork()
        self.world.tell(self.world.result(old))
        assert (before.runs, before.sent) == (self.world.runs, self.world.sent)

    @precondition(lambda self: self.world.to_registry)
    @rule(refuse=st.sampled_from([False, False, True]))
    def the_registry_works(self, refuse: bool) -> None:
        self.world.registry_works(refuse)

    @precondition(lambda self: self.world.from_registry)
    @rule(twice=st.booleans())
    def the_registry_is_heard(self, twice: bool) -> None:
        answer = self.world.hear_registry()
        if twice:
            before = self.world.fork()
            self.world.tell(answer)
            assert (before.runs, before.sent) == (self.world.runs, self.world.sent)

    @rule(seconds=st.sampled_from([1.0, 3.0, 11.0, 400.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait_s(seconds)

    # --- the laws ---------------------------------------------------------------------------------

    @invariant()
    def what_was_sent_was_allowed(self) -> None:
        for message in self.world.sent[self.seen :]:
            if isinstance(message, RunExecutorStage | RunValidatorStage | MapCommand):
                self.fences.append(message.fence)
            if isinstance(message, RunExecutorStage | RunValidatorStage):
                run = self.world.run(message.run_id)
                assert message.task.stage == "review" or run.plan is not None, "nothing before the opt-in"
            if isinstance(message, RunExecutorStage) and isinstance(message.task, DeployTask):
                self._law_of_deploy(message, message.task)
            if isinstance(message, RecordVersionMap):
                assert self.world.run(message.run_id).deploy_began
        assert all(a < b for a, b in zip(self.fences, self.fences[1:], strict=False)), "fences grow"
        self.seen = len(self.world.sent)

    def _law_of_deploy(self, command: RunExecutorStage, task: DeployTask) -> None:
        run = self.world.run(command.run_id)
        assert run.approval is not None
        assert run.approval.by in run.registration.approvers
        assert run.holds_map
        assert self.world.truth.held_by == run.id
        if run.candidate is not None:  # a later decision of the same step may have gone beyond it
            assert run.approval.subject == run.candidate == task.candidate

    @invariant()
    def every_run_goes_on_or_says_for_whom_it_waits(self) -> None:
        for run_id, row in self.world.runs.items():
            run, command = self.world.run(run_id), row.open_command
            if run.ended:
                assert (command, run.wake_at, run.blocked_by) == (None, None, None)
                assert run.ended_at is not None
                continue
            if run.is_running:
                assert command is not None
                assert run.wake_at is not None
            elif run.waits_for_registry:
                assert isinstance(self.world.open_command(run_id), MapCommand)
            elif run.blocked_by is not None:
                assert run.blocked_by.what
                assert run.blocked_by.cures
            else:
                assert run.wake_at is not None, "only a timer is left"

    @invariant()
    def every_cure_that_is_named_is_accepted(self) -> None:
        for run_id in self.world.runs:
            run = self.world.run(run_id)
            for cure in run.blocked_by.cures if run.blocked_by else ():
                said = _CURE.fullmatch(cure)
                if said is None or run.status == "planned":
                    continue  # a plan may have to wait for another Run
                assert said["run"] == run_id
                self.world.fork().tell(command_of(run, said["verb"], said["rest"]))

    @invariant()
    def nothing_begins_before_somebody_opts_in(self) -> None:
        for run_id in self.world.runs:
            run = self.world.run(run_id)
            if run.status in {"planning", "planned"}:
                assert {record.stage for record in run.stages} <= {"review"}

    @invariant()
    def the_registry_holds_the_map_only_for_a_run_that_knows(self) -> None:
        held_by = self.world.truth.held_by
        if held_by is None or self.world.to_registry or self.world.from_registry:
            return
        run = self.world.run(held_by)
        assert run.holds_map
        assert not run.ended

    def _one_step(self, run_id: str) -> bool:
        """Do what a Run waits for; whether there was anything to do."""
        run = self.world.run(run_id)
        self.what_was_sent_was_allowed()
        if self.world.to_registry:
            self.world.registry_works()
        elif self.world.from_registry:
            self.world.hear_registry()
        elif (command := self.world.stage_command(run_id)) is not None:
            self._answer(command, None)
        elif run.wake_at is not None:
            self.world.wait_s(max(0.0, (run.wake_at - self.world.now).total_seconds()))
        elif run.blocked_by is not None:
            cures = [said for cure in run.blocked_by.cures if (said := _CURE.fullmatch(cure))]
            return bool(cures) and self._say(command_of(run, cures[0]["verb"], cures[0]["rest"]))
        else:
            return False
        return True

    def _answer(self, command: RunExecutorStage | RunValidatorStage, outcome: Outcome | None) -> None:
        result = self.world.result(command, outcome)
        self.answers.append(result)
        self.world.tell(result)

    def teardown(self) -> None:
        """Whatever happened: with willing people, every Run that was started comes to its end."""
        if not hasattr(self, "world"):
            return
        for _ in range(_TO_THE_END):
            open_runs = [run_id for run_id, row in self.world.runs.items() if row.started and not row.ended]
            if not open_runs and not self.world.to_registry and not self.world.from_registry:
                break
            self._one_step(open_runs[0] if open_runs else next(iter(self.world.runs)))
        assert not [row.status for row in self.world.runs.values() if row.started and not row.ended]
        assert self.world.truth.held_by is None


TestRuns = Runs.TestCase
TestRuns.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    # No shrinking: it would outlast the test's time limit, and the steps of a failure read well as they are.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


# --- the same laws at every point of the road, without chance ---------------------------------------

_ROAD = 16


def _refuse_the_map(machine: Runs) -> None:
    if machine.world.to_registry:
        machine.the_registry_works(refuse=True)
    if machine.world.from_registry:
        machine.the_registry_is_heard(twice=True)


DISTURBANCES = {
    **{verb: (lambda machine, verb=verb: machine.anything(1, verb, MIRA)) for verb in VERBS},
    "a cancel, and a roll-back after it": lambda machine: (
        machine.anything(1, "cancel", MIRA),
        machine.anything(1, "roll-back", MIRA),
    ),
    "a failure": lambda machine: machine.a_worker_says_no(1, False, Failed),
    "a failure that touched production": lambda machine: machine.a_worker_says_no(1, True, Failed),
    "an error that touched production": lambda machine: machine.a_worker_says_no(1, True, Errored),
    "errors": lambda machine: machine.a_stage_errs_again_and_again(1, 2 * ATTEMPTS_MAX),
    "silence": lambda machine: machine.time_passes(4000.0),
    "the registry refuses": _refuse_the_map,
    "another digest": lambda machine: (
        machine.something_else_is_meant(1, "start"),
        machine.something_else_is_meant(1, "approve"),
    ),
    "a second Run": lambda machine: machine.request_plan("notifications-system"),
}


@pytest.mark.parametrize("disturbance", DISTURBANCES)
@pytest.mark.parametrize("undo", [False, True])
def test_the_laws_hold_wherever_the_road_is_disturbed(disturbance: str, undo: bool) -> None:
    for depth in range(_ROAD):
        machine = Runs()
        machine.a_project(undo, True, depth)
        for step in (DISTURBANCES[disturbance], lambda machine: machine.go_on(1, 3)):
            step(machine)
            machine.what_was_sent_was_allowed()
            machine.every_run_goes_on_or_says_for_whom_it_waits()
            machine.every_cure_that_is_named_is_accepted()
            machine.nothing_begins_before_somebody_opts_in()
            machine.the_registry_holds_the_map_only_for_a_run_that_knows()
        machine.teardown()
