"""Rules that mask less are accepted by somebody who may, before a row is copied."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.contracts.policies import Policy
from shared.contracts.projects import ProjectRegistered
from shared.contracts.runs import AcceptMasks, CancelRun, ContinueRun, RequestPlan, StartRun
from shared.contracts.stages import Failed, Succeeded
from shared.contracts.tasks import MigrateTask, PrepareTask, ReviewTask
from shared.contracts.values import Actor
from shared.errors import Reject
from tests.support.planner_examples import MIRA, OTTO, PROJECT, StageCommand, digest, facts, project
from tests.support.planner_world import World


def planned(world: World, masks: str, *weaker: str) -> str:
    """A Run whose review has found these rules, and what they mask less."""
    asked = RequestPlan(actor=OTTO, project=PROJECT, systems={"auth-system": None})
    run: str = world.tell(asked).id
    command = world.stage_command(run)
    assert command is not None
    found = facts(command).model_copy(update={"masks": digest(masks), "weaker": weaker})
    world.tell(world.result(command, Succeeded(facts=found)))
    world.now += timedelta(minutes=1)
    return run


def open_command(world: World, run: str) -> StageCommand:
    command = world.stage_command(run)
    assert command is not None
    return command


def start(world: World, run: str, actor: object = OTTO) -> None:
    plan = world.run(run).plan
    world.tell(StartRun.model_validate({"actor": actor, "project": PROJECT, "run_id": run, "plan": plan}))


def test_who_may_not_weaken_masks_does_not_start_what_masks_less() -> None:
    """A maintainer who is not an approver starts a plan that copies people's data as it is."""
    world = World()
    run = planned(world, "first", "users.email: hash becomes keep")
    with pytest.raises(Reject) as rejected:
        start(world, run)
    refusal = rejected.value.refusals[0]
    assert refusal.kind == "forbidden"
    assert "users.email: hash becomes keep" in refusal.reason
    assert MIRA.id in refusal.cure
    assert world.run(run).status == "planned"
    start(world, run, MIRA)
    task = open_command(world, run).task
    assert isinstance(task, PrepareTask)
    assert task.masks == digest("first")


def test_what_a_start_accepted_is_what_the_next_plan_is_compared_with() -> None:
    """The next review knows nothing of before; or a copy that is made anew is held to nothing."""
    world = World()
    run = planned(world, "first")
    assert world.run(run).masks_before is None
    start(world, run)
    while not isinstance(task := open_command(world, run).task, MigrateTask):
        world.tell(world.result(open_command(world, run), None))
    assert task.masks == digest("first")
    world.tell(CancelRun(actor=OTTO, project=PROJECT, run_id=run, reason="a slip"))
    world.tell(world.result(open_command(world, run), None))
    again = world.tell(RequestPlan(actor=OTTO, project=PROJECT, systems={"auth-system": None})).id
    reviewed = open_command(world, again).task
    assert isinstance(reviewed, ReviewTask)
    assert reviewed.masks == digest("first")


def test_a_plan_that_was_compared_with_other_rules_is_not_started() -> None:
    """Two plans side by side: the weaker rules of one pass, as nobody compared them with the other's."""
    world = World()
    one, other = planned(world, "strict"), planned(world, "weak")
    start(world, one)
    world.tell(CancelRun(actor=OTTO, project=PROJECT, run_id=one, reason="a slip"))
    world.tell(world.result(open_command(world, one), None))
    with pytest.raises(Reject) as rejected:
        start(world, other, MIRA)
    assert "accepted since" in rejected.value.refusals[0].reason


OLGA = Actor(id="olga@acme.example", role="maintainer", projects=(PROJECT,))
EMAIL = "users.email: hash becomes keep"


def of_two() -> World:
    """A world whose Project needs two persons; Mira and Olga are its approvers."""
    return World(registration=project().with_(approvers=(MIRA.id, OLGA.id), policy=Policy()))


def accept(world: World, run: str, actor: Actor, plan: str | None = None) -> None:
    said = {"actor": actor, "project": PROJECT, "run_id": run, "plan": plan or world.run(run).plan}
    world.tell(AcceptMasks.model_validate(said))


def test_a_run_that_masks_less_says_who_is_asked_about_what_and_how() -> None:
    """Nobody learns that a word is missing before a start is refused; or who may give it."""
    world = of_two()
    run = planned(world, "first", EMAIL)
    waits = world.run(run).blocked_by
    assert waits is not None
    assert waits.who == "approver"
    assert EMAIL in waits.what
    assert MIRA.id in waits.what
    assert f"upgradepath run accept-masks {run}" in waits.cures
    with pytest.raises(Reject) as rejected:
        start(world, run)
    assert f"upgradepath run accept-masks {run}" in rejected.value.refusals[0].cure


def test_who_accepts_the_masks_has_not_asked_for_the_upgrade() -> None:
    """The one approver of a Project starts it so that its masks are accepted, and may approve no more."""
    world = of_two()
    run = planned(world, "first", EMAIL)
    accept(world, run, OLGA)
    word = world.run(run).masks_accepted
    assert word is not None
    assert (word.by, word.subject) == (OLGA.id, world.run(run).plan)
    assert world.run(run).blocked_by.who == "maintainer"  # type: ignore[union-attr]
    start(world, run)
    assert world.run(run).asked_by == (OTTO.id,)
    assert world.run(run).masks == digest("first")


def test_who_asked_for_the_upgrade_does_not_accept_its_masks() -> None:
    """Two persons decide what leaves production as it is: one approver alone plans, accepts and starts."""
    world = of_two()
    asked = RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None})
    run: str = world.tell(asked).id
    command = world.stage_command(run)
    assert command is not None
    found = facts(command).model_copy(update={"masks": digest("first"), "weaker": (EMAIL,)})
    world.tell(world.result(command, Succeeded(facts=found)))
    decisions: tuple[Callable[[World, str, Actor], None], ...] = (accept, start)
    for decide in decisions:
        with pytest.raises(Reject) as rejected:
            decide(world, run, MIRA)
        assert rejected.value.refusals[0].kind == "forbidden"
        assert OLGA.id in rejected.value.refusals[0].cure
    accept(world, run, OLGA)
    start(world, run, MIRA)
    assert world.run(run).status == "running"


@pytest.mark.parametrize("actor", [OTTO, MIRA])
def test_a_word_for_another_plan_or_of_nobody_who_may_accepts_nothing(actor: Actor) -> None:
    """Otto may not; Mira names another plan than she has read. Where nothing is weaker there is no word."""
    world = of_two()
    run = planned(world, "first", EMAIL)
    with pytest.raises(Reject):
        accept(world, run, actor, plan=digest("another") if actor == MIRA else None)
    assert world.run(run).masks_accepted is None
    accept(world, run, OLGA)
    with pytest.raises(Reject, match="has accepted"):
        accept(world, run, MIRA)
    other = planned(world, "first")
    with pytest.raises(Reject, match="waits for anybody"):
        accept(world, other, OLGA)


def test_the_word_of_who_may_no_more_lets_no_copy_be_made_again() -> None:
    """An approver is removed between acceptance and start, or while the Run stands: their word went on."""
    world = of_two()
    run = planned(world, "first", EMAIL)
    accept(world, run, OLGA)
    without = world.registration.with_(approvers=(MIRA.id,))
    world.tell(ProjectRegistered(project=without, revision=2))
    with pytest.raises(Reject) as rejected:
        start(world, run)
    assert MIRA.id in rejected.value.refusals[0].cure
    accept(world, run, MIRA)
    start(world, run)
    while not isinstance(open_command(world, run).task, MigrateTask):
        world.tell(world.result(open_command(world, run)))
    stumbled = Failed(reason="rows do not fit", touched_production=False, findings=())
    world.tell(world.result(open_command(world, run), stumbled))
    nobody = without.with_(approvers=(OLGA.id,))
    world.tell(ProjectRegistered(project=nobody, revision=3))
    with pytest.raises(Reject, match="no longer counts"):
        world.tell(ContinueRun(actor=OTTO, project=PROJECT, run_id=run, copy_again=True))


def test_the_rules_of_the_last_start_count_and_not_those_of_the_newest_plan() -> None:
    """A plan that was asked for first and started last has made the rules stronger: that is forgotten."""
    world = World()
    first = planned(world, "same")
    start(world, first)
    end(world, first)
    older, newer = planned(world, "strict"), planned(world, "same")
    start(world, newer)
    end(world, newer)
    start(world, older)
    end(world, older)
    again = planned(world, "weak")
    assert world.run(again).masks_before == digest("strict")


def end(world: World, run: str) -> None:
    world.tell(CancelRun(actor=OTTO, project=PROJECT, run_id=run, reason="a slip"))
    world.tell(world.result(open_command(world, run)))
