"""Whatever may happen to the Runs of one Project: what people, workers, the registry and the clock do."""

import re
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from services.planner.deadlines import ATTEMPTS_MAX
from services.planner.run import Run
from services.planner.stages import STAGES
from services.planner.store.statements import is_started
from shared.contracts.freezes import FreezeDeploys, ThawDeploys
from shared.contracts.runs import (
    AcceptMasks,
    ApproveCandidate,
    CancelRun,
    ContinueRun,
    RejectCandidate,
    RequestPlan,
    ResumeRun,
    RetryStage,
    RollBackRun,
    SignOff,
    StartRun,
)
from shared.contracts.stages import (
    Errored,
    Failed,
    Finding,
    Outcome,
    RunExecutorStage,
    RunValidatorStage,
    StageFinished,
)
from shared.contracts.values import Command
from shared.errors import Reject
from tests.support.planner_examples import MIRA, OTTO, PROJECT, SRE, at_work, digest, project
from tests.support.planner_world import World

CURE = re.compile(r"upgradepath (?:run|replay) (?P<verb>[a-z-]+) (?P<run>run-[0-9a-f]{12})(?P<rest>.*)")
_FINDING = Finding(kind="check", subject="sign-in-page", detail="500 instead of 200", cure="look at the log")
_NUMBER = st.integers(min_value=0, max_value=30)


def command_of(run: Run, verb: str, rest: str = "", by: Any = MIRA) -> Command:
    """The command that `upgradepath run <verb>` sends."""
    on = {"actor": by, "project": run.project, "run_id": run.id}
    match verb:
        case "start":
            return StartRun(**on, plan=run.plan or digest("no plan yet"))
        case "accept-masks":
            return AcceptMasks(**on, plan=run.plan or digest("no plan yet"))
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
        case "resume":
            stage = rest.removeprefix(" --from ") if rest.startswith(" --from ") else None
            return ResumeRun(**on, from_stage=stage, reason="the worker's machine is gone")
        case "roll-back":
            return RollBackRun(**on, reason="it misbehaves", restore_backup="--restore-backup" in rest)
        case _:
            raise AssertionError(f"no such verb: {verb}")


VERBS = (
    *("start", "accept-masks", "continue", "retry", "sign-off"),
    *("approve", "reject", "cancel", "roll-back", "resume"),
)


def of_cure(run: Run, said: re.Match[str]) -> Command:
    """The command that a cure names, by somebody who may say it."""
    return command_of(run, said["verb"], said["rest"], by=SRE if said["verb"] == "resume" else MIRA)


class PlannerMachine(RuleBasedStateMachine):
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
            self.one_step(next(iter(self.world.runs)))

    def after_each_step(self) -> None:
        """For the laws that look at what was just sent."""

    def _pick(self, number: int) -> Run:
        """Mostly the Run that was started: there the most can happen."""
        started = [run_id for run_id, run in self.world.runs.items() if is_started(run) and not run.ended]
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
        assert not (accepted and by != MIRA and verb in {"approve", "accept-masks", "reject", "sign-off"})
        assert not (accepted and by != SRE and verb == "resume")
        if accepted and verb == "continue":
            fresh = self.world.run(run.id)
            assert (fresh.candidate, fresh.approval, fresh.sign_offs) == (None, None, ())

    @precondition(lambda self: self.world.runs)
    @rule(number=_NUMBER, steps=st.integers(1, 14))
    def go_on(self, number: int, steps: int) -> None:
        """Everybody does what the Run waits for."""
        run_id = self._pick(number).id
        for _ in range(steps):
            self.one_step(run_id)

    @precondition(lambda self: self.world.runs)
    @rule(number=_NUMBER, verb=st.sampled_from(["start", "approve"]))
    def something_else_is_meant(self, number: int, verb: str) -> None:
        """Whoever opts in or approves names what he has read: another digest is refused."""
        command = command_of(self._pick(number), verb)
        name = "plan" if verb == "start" else "candidate"
        assert not self._say(command.model_copy(update={name: digest("what he has read")}))

    @precondition(lambda self: self.world.runs)
    @rule(number=_NUMBER, stage=st.sampled_from(("review", *STAGES[1:], "roll-back")))
    def an_sre_resumes(self, number: int, stage: str) -> None:
        """From a stage that the Run has come to, and never over what production may have seen."""
        run = self._pick(number)
        if not self._say(command_of(run, "resume", f" --from {stage}", by=SRE)):
            return
        fresh = self.world.run(run.id)
        assert [word.stage for word in fresh.resumptions[len(run.resumptions) :]] == [stage]
        assert stage == run.stage or STAGES.index(stage) < STAGES.index(run.stage)
        assert stage == run.stage or not run.recorded
        assert stage == run.stage or not (run.stage == "deploy" and run.is_running)
        assert fresh.fence > run.fence or fresh.awaits_thaw

    @rule()
    def an_sre_freezes(self) -> None:
        self._say(FreezeDeploys(actor=SRE, reason="the database moves tonight"))

    @rule()
    def an_sre_thaws(self) -> None:
        self._say(ThawDeploys(actor=SRE, reason="it has moved"))
        self.world.wait_s(0.0)

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
    @rule(number=_NUMBER)
    def a_worker_is_at_work(self, number: int) -> None:
        run_id = self._pick(number).id
        command = self.world.stage_command(run_id)
        if command is not None:
            self.world.tell(at_work(command, self.world.now))
            run = self.world.run(run_id)
            assert run.blocked_by is None
            assert run.wake_at is not None

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

    def one_step(self, run_id: str) -> bool:
        """Do what a Run waits for; whether there was anything to do."""
        run = self.world.run(run_id)
        self.after_each_step()
        if self.world.to_registry:
            self.world.registry_works()
        elif self.world.from_registry:
            self.world.hear_registry()
        elif (command := self.world.stage_command(run_id)) is not None:
            self._answer(command, None)
        elif run.wake_at is not None:
            self.world.wait_s(max(0.0, (run.wake_at - self.world.now).total_seconds()))
        elif run.awaits_thaw:
            self.an_sre_thaws()
        elif run.blocked_by is not None:
            cures = [said for cure in run.blocked_by.cures if (said := CURE.fullmatch(cure))]
            return bool(cures) and self._say(of_cure(run, cures[0]))
        else:
            return False
        return True

    def _answer(self, command: RunExecutorStage | RunValidatorStage, outcome: Outcome | None) -> None:
        result = self.world.result(command, outcome)
        self.answers.append(result)
        self.world.tell(result)
