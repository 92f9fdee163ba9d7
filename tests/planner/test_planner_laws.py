"""Laws of every Run, whatever workers, the registry, the clock and the maintainers do, in any order.

The machine moves a world in which all of them act at random; after each move the laws must hold, and at
the end a willing maintainer must be able to bring every Run to its end.
"""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant

from services.planner.deadlines import ATTEMPTS_MAX
from services.planner.open_commands import open_command
from services.planner.stages import STAGES
from services.planner.store.statements import is_started
from shared.contracts.freezes import DeploysFrozen, DeploysThawed
from shared.contracts.stages import Errored, Failed, RunExecutorStage, RunValidatorStage
from shared.contracts.tasks import DeployTask
from shared.contracts.values import Message
from shared.contracts.version_maps import RecordVersionMap
from tests.support.planner_examples import MIRA
from tests.support.planner_machine import CURE, VERBS, PlannerMachine, of_cure
from tests.support.planner_world import MapCommand

_TO_THE_END = 150


class Runs(PlannerMachine):
    """The laws, in what may happen."""

    frozen = False

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Message] = []

    @invariant()
    def what_was_sent_was_allowed(self) -> None:
        for message in self.world.sent[self.seen :]:
            if isinstance(message, DeploysFrozen | DeploysThawed):
                self.frozen = isinstance(message, DeploysFrozen)
            if isinstance(message, RunExecutorStage | RunValidatorStage | MapCommand):
                if isinstance(message, MapCommand) and message in self.asked:
                    continue  # asked again, it is the same question
                self.fences.append(message.fence)
                self.asked.append(message)
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
        assert not self.frozen, "no deploy starts while they are frozen"
        run = self.world.run(command.run_id)
        assert run.approval is not None
        assert run.approval.by in run.registration.approvers
        assert run.holds_map
        assert self.world.truth.held_by == run.id
        if run.candidate is not None:  # a later decision of the same step may have gone beyond it
            assert run.approval.subject == run.candidate == task.candidate

    def after_each_step(self) -> None:
        self.what_was_sent_was_allowed()

    @invariant()
    def every_run_goes_on_or_says_for_whom_it_waits(self) -> None:
        for run_id, run in self.world.runs.items():
            command = self.world.open_command(run_id)
            if run.ended:
                assert (command, run.wake_at, run.blocked_by) == (None, None, None)
                assert run.ended_at is not None
                continue
            if run.is_running:
                assert command is not None
                assert run.wake_at is not None
            elif run.waits_for_registry:
                assert isinstance(self.world.open_command(run_id), MapCommand)
                assert run.wake_at is not None or (run.blocked_by is not None and run.blocked_by.who == "sre")
            elif run.blocked_by is not None:
                assert run.blocked_by.what
                assert run.blocked_by.cures
            else:
                assert run.wake_at is not None, "only a timer is left"

    @invariant()
    def what_a_run_has_open_follows_from_its_state(self) -> None:
        """Asked again from the state alone, it is the same command, byte for byte."""
        for run_id in self.world.runs:
            assert open_command(self.world.run(run_id)) == self.world.open_command(run_id)

    @invariant()
    def every_cure_that_is_named_is_accepted(self) -> None:
        for run_id in self.world.runs:
            run = self.world.run(run_id)
            for cure in run.blocked_by.cures if run.blocked_by else ():
                said = CURE.fullmatch(cure)
                if said is None or run.status == "planned":
                    continue  # a plan may have to wait for another Run
                assert said["run"] == run_id
                self.world.fork().tell(of_cure(run, said))

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

    def teardown(self) -> None:
        """Whatever happened: with willing people, every Run that was started comes to its end."""
        if not hasattr(self, "world"):
            return
        for _ in range(_TO_THE_END):
            open_runs = [
                run_id for run_id, run in self.world.runs.items() if is_started(run) and not run.ended
            ]
            self.an_sre_thaws()
            if not open_runs and not self.world.to_registry and not self.world.from_registry:
                break
            self.one_step(open_runs[0] if open_runs else next(iter(self.world.runs)))
        assert not [run.status for run in self.world.runs.values() if is_started(run) and not run.ended]
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


def _say(verb: str, machine: Runs) -> None:
    machine.anything(1, verb, MIRA)


def _resume(stage: str, machine: Runs) -> None:
    machine.an_sre_resumes(1, stage)


def _refused_and_resumed(stage: str, machine: Runs) -> None:
    _refuse_the_map(machine)
    _resume(stage, machine)


DISTURBANCES: dict[str, Callable[[Runs], object]] = {
    **{verb: partial(_say, verb) for verb in VERBS},
    "a cancel, and a roll-back after it": lambda machine: (
        machine.anything(1, "cancel", MIRA),
        machine.anything(1, "roll-back", MIRA),
    ),
    "a failure": lambda machine: machine.a_worker_says_no(1, False, Failed),
    "a failure that touched production": lambda machine: machine.a_worker_says_no(1, True, Failed),
    "an error that touched production": lambda machine: machine.a_worker_says_no(1, True, Errored),
    "errors": lambda machine: machine.a_stage_errs_again_and_again(1, 2 * ATTEMPTS_MAX),
    "a freeze": lambda machine: machine.an_sre_freezes(),
    "a freeze and a thaw": lambda machine: (
        machine.an_sre_freezes(),
        machine.go_on(1, 3),
        machine.an_sre_thaws(),
    ),
    "silence of everybody": lambda machine: [machine.time_passes(400.0) for _ in range(8)],
    **{f"resume from {stage}": partial(_resume, stage) for stage in (*STAGES, "roll-back")},
    "silence": lambda machine: machine.time_passes(4000.0),
    "the registry refuses": _refuse_the_map,
    **{
        f"the registry refuses, and an SRE resumes from {stage}": partial(_refused_and_resumed, stage)
        for stage in ("deploy", "record", "roll-back")
    },
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
        for disturb in (True, False):
            if disturb:
                DISTURBANCES[disturbance](machine)
            else:
                machine.go_on(1, 3)
            machine.what_was_sent_was_allowed()
            machine.every_run_goes_on_or_says_for_whom_it_waits()
            machine.every_cure_that_is_named_is_accepted()
            machine.nothing_begins_before_somebody_opts_in()
            machine.the_registry_holds_the_map_only_for_a_run_that_knows()
        machine.teardown()
