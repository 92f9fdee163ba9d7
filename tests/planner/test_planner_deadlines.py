"""Deadlines and next tries: what is not begun is said, what is begun has its time, what fails is spread."""

from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from services.planner.deadlines import (
    ATTEMPTS_MAX,
    DEADLINES_S,
    GRACE_S,
    RETRY_DELAYS_S,
    START_WITHIN_S,
    retry_delay,
)
from services.planner.run import Run
from services.planner.stages import cancel_command
from shared.contracts.runs import CancelRun
from shared.contracts.stages import CancelExecutorStage, Errored, RunExecutorStage
from tests.planner.test_planner_choices import Road
from tests.support.planner_examples import MIRA, at_work

ALL_OF_IT_S = DEADLINES_S["review"] + GRACE_S


def begin(road: Road, worker: str = "executor@three") -> Any:
    command = road.world.stage_command(road.id)
    assert command is not None
    road.world.tell(at_work(command, road.world.now, worker))
    return command


def test_a_stage_that_no_worker_takes_says_so_and_goes_on_once_one_does() -> None:
    road = Road()
    since = road.world.now
    road.world.wait_s(START_WITHIN_S - 1)
    assert not road.run.blocked_by
    road.world.wait_s(1)
    blocked = road.run.blocked_by
    assert (road.run.status, blocked.who) == ("planning", "sre")
    assert blocked.what == f"no executor has begun review since {since:%Y-%m-%d %H:%M:%S} UTC"
    assert blocked.cures == ("upgradepath topics lag --service executor",)
    assert len(road.sent(RunExecutorStage)) == 1, "saying so sends nothing"
    begin(road)
    assert road.run.blocked_by is None
    assert road.run.stages[-1].begun.by == "executor@three"
    assert road.answers().run.status == "planned"


def test_the_checks_wait_for_a_validator() -> None:
    road = Road().started().answers(3)
    road.world.wait_s(START_WITHIN_S)
    assert "no validator has begun validate" in road.run.blocked_by.what


def test_an_answer_ends_the_waiting_too() -> None:
    road = Road()
    road.world.wait_s(START_WITHIN_S)
    road.answers(1, Errored(reason="no route to host"))  # type: ignore[arg-type]
    assert road.run.blocked_by is None
    assert road.run.stages[-1].status == "waiting-for-retry"


def test_what_is_begun_late_has_all_of_its_time() -> None:
    road = Road()
    road.world.wait_s(START_WITHIN_S)
    road.world.wait_s(DEADLINES_S["review"] - START_WITHIN_S)
    begin(road)
    road.world.wait_s(ALL_OF_IT_S - 1)
    assert road.run.is_running
    road.world.wait_s(1)
    assert road.run.stages[-1].status == "waiting-for-retry"
    assert road.run.stages[-1].detail == f"no answer within {ALL_OF_IT_S:g} s"
    assert len(road.sent(CancelExecutorStage)) == 1


def test_what_is_never_begun_is_given_up_in_the_end() -> None:
    road = Road()
    for _ in range(ATTEMPTS_MAX):
        road.world.wait_s(START_WITHIN_S)
        road.world.wait_s(ALL_OF_IT_S - START_WITHIN_S)
        road.world.wait_s(RETRY_DELAYS_S[-1])
    assert (road.run.status, road.run.blocked_by.who) == ("waiting", "sre")
    assert f"errored {ATTEMPTS_MAX} times" in road.run.blocked_by.what


@given(st.lists(st.floats(1, ALL_OF_IT_S - 1), min_size=2, max_size=8))
def test_however_many_workers_it_ends_a_stage_comes_to_an_end(pauses_s: list[float]) -> None:
    """Each of them says that it is at work; the stage's time counts from the first."""
    road = Road()
    fence = road.run.fence
    began = road.world.now
    for number, pause_s in enumerate(pauses_s):
        if road.run.fence == fence and road.run.is_running:
            begin(road, f"executor@{number}")
            assert road.run.stages[-1].begun.by == f"executor@{number}"
            assert road.run.wake_at == began + timedelta(seconds=ALL_OF_IT_S)
        road.world.wait_s(pause_s)
    road.world.wait_s(ALL_OF_IT_S)
    assert road.run.stages[0].status != "running"


def test_who_was_superseded_begins_nothing() -> None:
    road = Road().started()
    old = road.world.stage_command(road.id)
    assert old is not None
    road.answers()
    before = road.run
    road.world.tell(at_work(old, road.world.now))
    assert road.run == before


def test_a_run_that_waits_for_a_worker_can_be_cancelled() -> None:
    road = Road()
    road.world.wait_s(START_WITHIN_S)
    stop = cancel_command(road.run)
    road.say(CancelRun, actor=MIRA, reason="not today")
    assert road.run.status == "cancelled"
    assert road.sent(CancelExecutorStage) == [stop]


def errored(name: str, tries: int) -> Run:
    run: Run = Road().run
    return run.with_(id=name, tries=tries, attempt=tries)


@given(st.uuids().map(str), st.integers(1, ATTEMPTS_MAX + 2))
def test_the_next_try_comes_within_bounds_and_the_same_for_the_same_attempt(name: str, tries: int) -> None:
    most_s = RETRY_DELAYS_S[min(tries, len(RETRY_DELAYS_S)) - 1]
    delay = retry_delay(errored(name, tries))
    assert timedelta(seconds=most_s / 2) <= delay <= timedelta(seconds=most_s)
    assert delay == retry_delay(errored(name, tries))


def test_what_fails_together_is_not_tried_again_together() -> None:
    first = errored("run", 1)
    shares = [retry_delay(first.with_(id=f"run-{number:012x}")).total_seconds() - 1 for number in range(1000)]
    tenths = [sum(low <= 10 * share < low + 1 for share in shares) for low in range(10)]
    assert min(tenths) > 50, tenths
