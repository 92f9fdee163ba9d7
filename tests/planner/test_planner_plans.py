"""Which Systems may move, in which order, and what the plan says of it."""

import random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from services.planner.moves import choose_upgrades
from services.planner.plans import build_plan
from services.planner.run import Run
from services.planner.together import Asked
from shared.contracts.facts import Answer, FileChange, ReviewFacts
from shared.contracts.impact import MigrationImpact, SqlRisk
from shared.contracts.releases import Release
from shared.contracts.runs import Plan
from shared.errors import Reject
from tests.support.planner_examples import MIRA, NOON, PINS, release, releases, review_facts
from tests.support.planner_examples import project as a_project

REFUSALS: dict[str, tuple[dict[str, str | None], tuple[Release, ...], str, str]] = {
    "unknown system": ({"billing-system": None}, (), "systems.billing-system", "choose among: auth-system"),
    "unpublished": ({"auth-system": "9.0.0"}, (), "systems.auth-system", "choose among: 1.3.0, 1.4.0-rc.1"),
    "unpublished, and nothing newer": (
        {"quote-engine": "2.1.0"},
        (),
        "systems.quote-engine",
        "wait until it is published",
    ),
    "withdrawn": (
        {"auth-system": "1.5.0"},
        (release("auth-system", "1.5.0", withdrawn="it signs everybody in"),),
        "systems.auth-system",
        "choose another version",
    ),
    "the pinned one": ({"auth-system": "1.2.0"}, (), "systems.auth-system", "choose a newer version"),
    "older": (
        {"auth-system": "1.1.0"},
        (release("auth-system", "1.1.0"),),
        "systems.auth-system",
        "choose a newer version",
    ),
    "nothing newer": ({"quote-engine": None}, (), "systems.quote-engine", "nothing is to be done"),
    "a constraint on a System that stays": (
        {"auth-system": "1.6.0"},
        (release("auth-system", "1.6.0", requires={"notifications-system": ">=0.4"}),),
        "systems.notifications-system",
        "plan notifications-system together with it, at a version that is >=0.4",
    ),
    "a constraint on a System that is not there": (
        {"quote-engine": "2.1.0"},
        (release("quote-engine", "2.1.0", requires={"audit-system": ">=1"}),),
        "systems.audit-system",
        # Adding it would be refused: there is none.
        "ask the Library for a version of quote-engine that does not require audit-system",
    ),
    "and a version that does without it": (
        {"auth-system": "1.6.0"},
        (
            release("auth-system", "1.6.0", requires={"audit-system": ">=1"}),
            release("auth-system", "1.5.0"),
            release("auth-system", "1.4.0", withdrawn="a mistake"),
        ),
        "systems.audit-system",
        "choose a version of auth-system that does not require audit-system: 1.5.0, 1.3.0",
    ),
    "a constraint of a System that stays": (
        {"auth-system": "1.3.0"},
        (release("quote-engine", "2.0.0", requires={"auth-system": "<1.3"}),),
        "systems.auth-system",
        "at a version that is <1.3",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_systems_that_cannot_move_are_refused_with_a_cure(name: str) -> None:
    systems, more, field, cure = REFUSALS[name]
    with pytest.raises(Reject) as rejected:
        choose_upgrades(Asked(systems), PINS, releases(*more))
    (refusal,) = rejected.value.refusals
    assert refusal.field == field
    assert cure in refusal.cure
    assert refusal.reason


def test_every_reason_is_told_at_once() -> None:
    with pytest.raises(Reject) as rejected:
        choose_upgrades(Asked({"billing-system": None, "auth-system": "9.0.0"}), PINS, releases())
    assert [refusal.field for refusal in rejected.value.refusals] == [
        "systems.billing-system",
        "systems.auth-system",
    ]


def test_a_pinned_release_of_which_nothing_was_heard_yet_is_a_refusal_and_no_bug() -> None:
    known = releases()
    del known["auth-system", "1.2.0"]
    with pytest.raises(Reject, match=r"is pinned, is not known"):
        choose_upgrades(Asked({"auth-system": "1.3.0"}), PINS, known)


def test_the_newest_is_no_prerelease_unless_it_is_named() -> None:
    (newest,), pins = choose_upgrades(Asked({"auth-system": None}), PINS, releases())
    assert newest.to_version == "1.3.0"
    assert pins == {**PINS, "auth-system": "1.3.0"}
    (named,), _ = choose_upgrades(Asked({"auth-system": "1.4.0-rc.1"}), PINS, releases())
    assert named.to_version == "1.4.0-rc.1"


def test_the_newest_is_never_a_withdrawn_one() -> None:
    withdrawn = release("auth-system", "1.9.0", withdrawn="broken")
    (upgrade,), _ = choose_upgrades(Asked({"auth-system": None}), PINS, releases(withdrawn))
    assert upgrade.to_version == "1.3.0"


def test_an_upgrade_names_both_packages() -> None:
    known = releases()
    (upgrade,), _ = choose_upgrades(Asked({"auth-system": None}), PINS, known)
    assert upgrade.from_package == known["auth-system", "1.2.0"].package
    assert upgrade.to_package == known["auth-system", "1.3.0"].package


@given(order=st.permutations(["auth-system", "notifications-system", "quote-engine"]))
def test_what_others_require_comes_first(order: list[str]) -> None:
    known = releases(
        release("auth-system", "2.0.0", requires={"quote-engine": ">=3"}),
        release("quote-engine", "3.0.0", requires={"notifications-system": ">=0.4"}),
    )
    upgrades, _ = choose_upgrades(Asked(dict.fromkeys(order)), PINS, known)
    assert [one.system for one in upgrades] == ["notifications-system", "quote-engine", "auth-system"]


def test_systems_that_need_each_other_move_together_by_name() -> None:
    known = releases(
        release("auth-system", "2.0.0", requires={"quote-engine": ">=3"}),
        release("quote-engine", "3.0.0", requires={"auth-system": ">=2"}),
    )
    upgrades, _ = choose_upgrades(Asked({"quote-engine": None, "auth-system": None}), PINS, known)
    assert [one.system for one in upgrades] == ["auth-system", "quote-engine"]


# --- the plan ------------------------------------------------------------------------------------


def a_run(known: dict[tuple[str, str], Release], **systems: str | None) -> Run:
    wanted = {name.replace("_", "-"): version for name, version in systems.items()}
    upgrades, after = choose_upgrades(Asked(wanted or {"auth-system": None}), PINS, known)
    return Run(
        id="run-0123456789ab",
        project="acme-portal",
        status="planning",
        stage="review",
        attempt=1,
        fence=1,
        systems={one.system: one.to_version for one in upgrades},
        pins_before=PINS,
        pins_after=after,
        registration=a_project(),
        upgrades=upgrades,
        requested_by=MIRA.id,
        requested_at=NOON,
    )


def a_plan(facts: ReviewFacts, *more: Release) -> Plan:
    known = releases(*more)
    return build_plan(a_run(known), facts, known)


QUIET = review_facts(rules=0).model_copy(update={"files": (), "migrations": ()})


def test_a_plan_that_touches_nothing_of_the_partner_is_of_low_risk_and_optional() -> None:
    plan = a_plan(QUIET)
    assert (plan.risk, plan.risks, plan.reversibility) == ("low", (), "reversible")
    answers = plan.review
    assert [answers.breaking.answer, answers.workflow_rules.answer] == ["no", "no"]
    assert [answers.more_tests_or_approvals.answer, answers.required.answer] == ["no", "optional"]


def test_a_base_or_a_release_that_is_not_signed_is_said_before_anybody_opts_in() -> None:
    """Catches a plan that promises what the executor will refuse at its first stage."""
    known = releases()
    bare = {
        at: one.with_(signature=None)
        for at, one in known.items()
        if at == ("auth-system", PINS["auth-system"])
    }
    plan = build_plan(a_run({**known, **bare}), QUIET, {**known, **bare})
    [upgrade], [risk] = plan.upgrades, plan.risks
    assert (plan.risk, upgrade.signed, upgrade.from_signed) == ("medium", True, False)
    assert (upgrade.from_package or "") in risk
    assert upgrade.model_dump()["from_signed"] is False
    none = {at: one.with_(signature=None) for at, one in known.items()}
    plan = build_plan(a_run(none), QUIET, none)
    assert plan.risk == "high"
    assert [upgrade.signed for upgrade in plan.upgrades] == [False]
    assert "from_signed" not in a_plan(QUIET).upgrades[0].model_dump()


def test_breaking_sentences_of_every_version_on_the_way_count() -> None:
    breaking = release("auth-system", "1.2.5", breaking=("sessions end at midnight",), required=True)
    plan = a_plan(QUIET, breaking)
    assert plan.review.breaking.answer == "yes"
    assert plan.review.breaking.because == ("auth-system 1.2.5: sessions end at midnight",)
    assert plan.review.required.answer == "required"
    assert plan.risk == "high"


def test_whether_it_breaks_anything_takes_the_plan_and_the_rows_into_account() -> None:
    """Catches "no" beside "would fail: 3 rows" and "the old code fails": the package alone does not know."""

    def answered(old_code: str, verdict: str, *, contracting: bool = False) -> Any:
        probe = {"question": "rows whose x is null", "verdict": verdict, "rows": 3}
        statement = {
            "line": 4, "statement": "", "kind": "blocking", "because": ["x goes"], "old_code": old_code,
            "probes": [probe],
        }  # fmt: skip
        quiet = review_facts(rules=0).model_copy(update={"files": ()})
        impact = MigrationImpact.model_validate({"kind": "blocking", "statements": [statement]})
        update = {"impact": impact, "contracting": contracting}
        told = quiet.migrations[0].model_copy(update=update)
        return a_plan(quiet.model_copy(update={"migrations": (told,)})).review.breaking

    assert answered("survives", "fits") == Answer(answer="no")
    failing = answered("survives", "would fail")
    assert failing.answer == "yes"
    assert failing.because[0].endswith("line 4 would fail: rows whose x is null: 3")
    assert answered("fails", "fits").because[0].endswith("line 4: the old code fails: x goes")
    assert answered("fails", "fits", contracting=True).answer == "no", "it runs no more by then"
    for unsure in (answered("may fail", "fits"), answered("survives", "unknown")):
        assert unsure.answer == "not known"
        assert unsure.because[0] == "the releases declare nothing breaking"
    conflict = FileChange(path="a.py", change="changed", conflict=True)
    found = a_plan(QUIET.model_copy(update={"files": (conflict,)})).review.breaking
    assert (found.answer, found.because) == ("yes", ("a.py will conflict",))


def test_what_is_beyond_the_chosen_version_does_not_count() -> None:
    beyond = release("auth-system", "1.3.1-rc.1", breaking=("all is new",), required=True)
    assert a_plan(QUIET, beyond).review.breaking.answer == "no"


def test_a_rule_of_the_partner_asks_for_more_tests() -> None:
    plan = a_plan(review_facts(rules=2).model_copy(update={"files": (), "migrations": ()}))
    assert plan.review.workflow_rules.answer == "yes"
    assert len(plan.review.workflow_rules.because) == 2
    assert plan.review.more_tests_or_approvals.answer == "yes"
    assert plan.risk == "medium"


def test_a_migration_with_no_way_down_is_the_point_of_no_return() -> None:
    plan = a_plan(review_facts(reversible=False))
    assert plan.reversibility == "point of no return"
    assert plan.irreversible == ("20260301120000_auth-system_user_status",)
    assert plan.risk == "high"
    assert plan.review.more_tests_or_approvals.answer == "yes"


def test_a_schema_change_is_of_medium_and_a_conflict_of_high_risk() -> None:
    assert a_plan(review_facts(rules=0)).risk == "medium"
    conflict = FileChange(path="systems/auth-system/signin.py", change="changed", conflict=True)
    plan = a_plan(QUIET.model_copy(update={"files": (conflict,)}))
    assert (plan.risk, plan.risks) == ("high", ("systems/auth-system/signin.py will conflict",))


def test_a_risk_of_sql_is_named_once_with_its_lines_and_a_grave_one_is_high() -> None:
    quiet = review_facts(rules=0)
    grave = [SqlRisk(line=line, statement="", risk="row security is off", grave=True) for line in range(1, 9)]
    mild = SqlRisk(script="down.sql", line=2, statement="", risk="there is no WHERE")
    statements = MigrationImpact(kind="additive", statements=(), risks=(*grave, mild))
    told = quiet.migrations[0].model_copy(update={"impact": statements})
    plan = a_plan(quiet.model_copy(update={"migrations": (told,)}))
    assert plan.risk == "high"
    assert f"{told.folder}/migration.sql line 1, 2, 3, 4, 5 and 3 more: row security is off" in plan.risks
    assert f"{told.folder}/down.sql line 2: there is no WHERE" in plan.risks
    lesser = told.model_copy(update={"impact": statements.model_copy(update={"risks": (mild,)})})
    assert a_plan(quiet.model_copy(update={"migrations": (lesser,)})).risk == "medium"


@given(seed=st.integers(), rules=st.integers(0, 3), reversible=st.booleans())
def test_the_digest_is_a_pure_function_of_the_facts(seed: int, rules: int, reversible: bool) -> None:
    """Neither the order in which releases were heard nor a trip through the store changes it."""
    known = releases(
        *(release("auth-system", f"1.2.{patch}", breaking=(f"breaks {patch}",)) for patch in range(1, 12))
    )
    shuffled = list(known.items())
    random.Random(seed).shuffle(shuffled)
    facts = review_facts(rules=rules, reversible=reversible)
    first = build_plan(a_run(known), facts, known)
    again = build_plan(
        Run.model_validate_json(a_run(known).model_dump_json(by_alias=True)),
        ReviewFacts.model_validate_json(facts.model_dump_json()),
        dict(shuffled),
    )
    assert again.content_digest() == first.content_digest()
    assert Plan.model_validate_json(first.model_dump_json()).content_digest() == first.content_digest()
    assert first.content_digest() != a_plan(QUIET).content_digest()
