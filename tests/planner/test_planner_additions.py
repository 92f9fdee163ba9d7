"""A System is added to a Project like one that moves, from nothing, and removed to nothing."""

import shlex
from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cli.plan import read_systems
from services.planner.moves import choose_upgrades
from services.planner.together import Asked
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.contracts.runs import RequestPlan
from shared.errors import Reject
from shared.messaging.reminder import trace_for
from shared.versions import satisfies
from tests.support.planner_examples import MIRA, PINS, PROJECT, release, releases
from tests.support.planner_world import World

AUDIT = (release("audit-system", "1.0.0"), release("audit-system", "2.0.0-rc.1"))
REFUSALS: dict[str, tuple[dict[str, str | None], tuple[Release, ...], str, str, str]] = {
    "nothing of it published": (
        {"audit-system": None}, (), "not-found", "nothing of audit-system is published", "correct its name",
    ),
    "all withdrawn": (
        {"audit-system": None}, (release("audit-system", "1.0.0", withdrawn="a mistake"),), "not-found",
        "nothing of audit-system is published", "correct its name",
    ),
    "another version": (
        {"audit-system": "3.0.0"}, AUDIT, "not-found", "audit-system 3.0.0 is not published",
        "choose among: 1.0.0, 2.0.0-rc.1",
    ),
    "withdrawn": (
        {"audit-system": "1.0.1"},
        (*AUDIT, release("audit-system", "1.0.1", withdrawn="it lies")), "conflict",
        "was withdrawn: it lies", "choose another version",
    ),
    "only pre-releases": (
        {"audit-system": None}, AUDIT[1:], "conflict", "only pre-releases of audit-system are published",
        "name one: --add audit-system@2.0.0-rc.1",
    ),
    "pinned already": (
        {"auth-system": "1.3.0"}, (), "conflict", "the Project already pins auth-system 1.2.0", "upgrade it",
    ),
}  # fmt: skip


def refused(asked: Asked, *more: Release, pins: Mapping[str, str] = PINS) -> tuple[Refusal, ...]:
    with pytest.raises(Reject) as rejected:
        choose_upgrades(asked, dict(pins), releases(*more))
    return rejected.value.refusals


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_added_is_refused_with_a_cure(name: str) -> None:
    add, more, kind, reason, cure = REFUSALS[name]
    (refusal,) = refused(Asked({}, add), *more)
    (system,) = add
    assert (refusal.kind, refusal.field, refusal.value) == (kind, f"add.{system}", add[system])
    assert reason in refusal.reason
    assert cure in refusal.cure


def test_an_added_system_comes_from_nothing_and_is_pinned() -> None:
    """Catches a pre-release that nobody named, and a plan that lacks the new pin."""
    (added,), after = choose_upgrades(Asked({}, {"audit-system": None}), PINS, releases(*AUDIT))
    assert (added.system, added.from_version, added.to_version) == ("audit-system", None, "1.0.0")
    assert (added.from_package, added.from_signature) == (None, None)
    assert after == {**PINS, "audit-system": "1.0.0"}


def test_a_project_without_any_system_gets_its_first() -> None:
    (added,), after = choose_upgrades(Asked({}, {"audit-system": None}), {}, releases(*AUDIT))
    assert (added.from_version, after) == (None, {"audit-system": "1.0.0"})


def test_a_request_that_names_no_system_is_refused() -> None:
    (refusal,) = refused(Asked({}, {}))
    assert refusal.field == "systems"
    assert "--add SYSTEM" in refusal.cure


def test_a_system_that_is_not_pinned_is_not_added_unasked() -> None:
    """Catches a mistyped name that would bring a whole System into the Project."""
    (refusal,) = refused(Asked({"audit-system": None}, project=PROJECT), *AUDIT)
    assert refusal.reason == "the Project does not pin audit-system"
    assert f"upgradepath plan create {PROJECT} --add audit-system" in refusal.cure


def test_a_system_is_both_moved_and_added_by_no_run() -> None:
    (refusal,) = refused(Asked({"auth-system": None}, {"auth-system": None}))
    assert refusal.field == "add.auth-system"


def test_a_required_system_comes_first_also_when_it_is_added() -> None:
    known = releases(*AUDIT, release("auth-system", "1.6.0", requires={"audit-system": ">=1"}))
    upgrades, _ = choose_upgrades(Asked({"auth-system": "1.6.0"}, {"audit-system": None}), PINS, known)
    assert [each.system for each in upgrades] == ["audit-system", "auth-system"]


def test_what_an_added_system_requires_is_asked_for() -> None:
    needs = release("audit-system", "1.1.0", requires={"notifications-system": ">=9"})
    (refusal,) = refused(Asked({}, {"audit-system": "1.1.0"}), needs)
    assert refusal.reason.startswith("audit-system 1.1.0 requires notifications-system >=9")


def test_the_cure_of_a_lacking_system_is_the_command_that_plans_both() -> None:
    known = (*AUDIT, release("quote-engine", "2.1.0", requires={"audit-system": ">=1"}))
    (refusal,) = refused(Asked({"quote-engine": None}, project=PROJECT), *known)
    command = f"upgradepath plan create {PROJECT} quote-engine@2.1.0 --add audit-system@1.0.0"
    assert refusal.cure == f"add audit-system to the Project in the same Run: {command}"


def followed(command: str) -> Asked:
    """The request that the command line would make."""
    upgradepath, plan, create, project, *rest = shlex.split(command)
    assert (upgradepath, plan, create) == ("upgradepath", "plan", "create")
    added = [rest[at + 1] for at, word in enumerate(rest) if word == "--add"]
    moved = [word for at, word in enumerate(rest) if word != "--add" and rest[at - 1 : at] != ["--add"]]
    return Asked(read_systems(moved), read_systems(added), project)


NAMES = ("a", "b", "c", "d")
CONSTRAINTS = st.sampled_from((">=1", "<2", ">=2", "==1.0.0", ">=3"))
CATALOGUES = st.fixed_dictionaries(
    {
        (name, version): st.dictionaries(st.sampled_from(NAMES), CONSTRAINTS, max_size=2)
        for name in NAMES
        for version in ("1.0.0", "1.1.0", "2.0.0")
    }
)


@given(CATALOGUES, st.sets(st.sampled_from(NAMES)), st.sampled_from(NAMES))
def test_a_command_in_a_refusal_works(
    catalogue: dict[tuple[str, str], dict[str, str]], pinned: set[str], wanted: str
) -> None:
    """Catches a cure that is refused in its turn, and a plan after which a constraint is broken."""
    known = {
        (name, version): release(
            name, version, requires={other: text for other, text in requires.items() if other != name}
        )
        for (name, version), requires in catalogue.items()
    }
    pins = dict.fromkeys(pinned, "1.0.0")
    one: dict[str, Any] = {wanted: None}
    asked = Asked(one, {}, PROJECT) if wanted in pins else Asked({}, one, PROJECT)
    try:
        _, after = choose_upgrades(asked, pins, known)
    except Reject as rejected:
        commands = {
            refusal.cure[refusal.cure.index("upgradepath plan create") :]
            for refusal in rejected.refusals
            if "upgradepath plan create" in refusal.cure
        }
        if not commands:
            return
        (command,) = commands
        _, after = choose_upgrades(followed(command), pins, known)
        assert wanted in after
    for name, version in after.items():
        for other, constraint in known[name, version].requires.items():
            assert satisfies(after[other], constraint)


def test_a_run_that_adds_says_so_in_its_plan_and_holds_the_pins_it_found() -> None:
    """Catches a plan that calls it an upgrade, and breaking sentences of a past the Project never had."""
    world = World()
    for each in (release("audit-system", "1.0.0", breaking=("all is new",), required=True),):
        world.known[each.system, each.version] = each
    run_id = world.tell(RequestPlan(actor=MIRA, project=PROJECT, systems={}, add={"audit-system": None})).id
    command = world.stage_command(run_id)
    assert command is not None
    world.tell(world.result(command))
    plan = world.run(run_id).plan_document
    assert plan is not None
    (added,) = plan.upgrades
    assert (added.change, added.from_version) == ("added", None)
    assert "from_version" not in added.model_dump(mode="json")
    assert (plan.pins_before, plan.pins_after) == (PINS, {**PINS, "audit-system": "1.0.0"})
    assert plan.review.required.answer == "optional"
    assert "audit-system 1.0.0: all is new" not in plan.review.breaking.because


def test_a_removed_system_goes_to_nothing_and_comes_last() -> None:
    """Catches a pin that stays, and a System that goes before others have moved away from it."""
    asked = Asked({"auth-system": None}, remove=["quote-engine"])
    upgrades, after = choose_upgrades(asked, PINS, releases())
    assert [(each.system, each.to_version) for each in upgrades] == [
        ("auth-system", "1.3.0"),
        ("quote-engine", None),
    ]
    assert (upgrades[1].from_version, upgrades[1].to_package) == ("2.0.0", None)
    assert after == {"auth-system": "1.3.0", "notifications-system": "0.3.0"}


def test_what_others_require_is_not_removed_unless_they_go_too() -> None:
    """Catches a removal after which a constraint is broken, and a cure that adds the System again."""
    known = (release("auth-system", "1.2.0", requires={"quote-engine": ">=2"}),)
    (refusal,) = refused(Asked({}, remove=["quote-engine"]), *known)
    assert refusal.reason == "auth-system 1.2.0 requires quote-engine >=2, and there would be no quote-engine"
    assert refusal.cure == "keep quote-engine, or remove auth-system in the same Run: --remove auth-system"
    both = Asked({}, remove=["quote-engine", "auth-system"])
    _, after = choose_upgrades(both, PINS, releases(*known))
    assert after == {"notifications-system": "0.3.0"}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Asked({}, remove=["audit-system"]), "the Project does not pin audit-system"),
        (Asked({"auth-system": None}, remove=["auth-system"]), "does not both keep and remove auth-system"),
        # Without a System nobody could change its registration any more.
        (Asked({}, remove=sorted(PINS)), "would pin no System any more"),
    ],
)
def test_what_cannot_be_removed_is_refused_with_a_cure(asked: Asked, reason: str) -> None:
    (refusal,) = refused(asked, *AUDIT)
    assert reason in refusal.reason
    assert (refusal.field or "").startswith("remove")
    assert refusal.cure


def test_a_run_that_removes_says_what_stays() -> None:
    """Catches a Run without a version to name its trace by, and a plan that calls it an upgrade."""
    world = World()
    ask = RequestPlan(actor=MIRA, project=PROJECT, systems={}, remove=("quote-engine", "quote-engine"))
    run_id = world.tell(ask).id
    command = world.stage_command(run_id)
    assert command is not None
    world.tell(world.result(command))
    run = world.run(run_id)
    assert (run.systems, run.removed) == ({}, ("quote-engine",))
    # A broker that forgot everything is told of the Run again, under the same trace.
    assert trace_for(run.changed(1)) == run.traceparent
    plan = run.plan_document
    assert plan is not None
    (removed,) = plan.upgrades
    assert (removed.change, removed.to_version, removed.signed) == ("removed", None, True)
    assert "quote-engine" not in plan.pins_after
    assert any("its tables stay" in risk for risk in plan.risks)
