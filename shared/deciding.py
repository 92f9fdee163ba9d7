"""Who may decide: the one reading of a Project's policy, for registry, planner and executor alike."""

import unicodedata
from collections.abc import Collection, Iterable

from shared.contracts.policies import Act, Agreement, Policy, Rules
from shared.contracts.projects import Project
from shared.contracts.refusals import Refusal
from shared.contracts.values import Actor, canonical_digest

_ACTS: dict[Act, str] = {
    "start": "ask for and start upgrades",
    "sign_off": "sign off",
    "approve": "approve",
    "roll_back": "roll back what production has seen",
    "change": "change what carries weight in the registration",
    "weaken_masks": "accept that production's copy masks less",
}
AGREEMENT = "agreement"
"""The field of a refusal that says that a deploy's approvals do not count any more."""
_IN_EMERGENCY: frozenset[Act] = frozenset({"roll_back", "change"})


def rules_of(project: Project) -> Rules:
    """The Project's policy, with empty lists replaced by the people that they mean."""
    policy, approvers = project.policy, project.approvers
    return Rules(
        approvals=policy.approvals,
        single_person=policy.single_person,
        # Where one person decides, there are no others: such a policy is not registered either.
        sign_off_by_others=policy.sign_off_by_others and not policy.single_person,
        emergency=policy.emergency,
        start=_ordered(policy.start) or None,
        sign_off=_ordered(policy.sign_off or approvers),
        # Who is not an approver never approves and never changes approvers, whatever a list says.
        approve=_ordered({*(policy.approve or approvers)} & {*approvers}),
        change=_ordered({*(policy.change or approvers)} & {*approvers}),
        roll_back=_ordered(policy.roll_back or approvers),
        weaken_masks=_ordered(policy.weaken_masks or approvers),
    )


def stricter(one: Rules, other: Rules) -> Rules:
    """The rules that allow only what both allow.

    Where one set knows an emergency and the other does not, an SRE needs to stand in both lists.
    """
    return Rules(
        approvals=max(one.approvals, other.approvals),
        single_person=one.single_person and other.single_person,
        sign_off_by_others=one.sign_off_by_others or other.sign_off_by_others,
        emergency=one.emergency and other.emergency,
        start=other.start
        if one.start is None
        else one.start
        if other.start is None
        else _both(one.start, other.start),
        sign_off=_both(one.sign_off, other.sign_off),
        approve=_both(one.approve, other.approve),
        roll_back=_both(one.roll_back, other.roll_back),
        change=_both(one.change, other.change),
        weaken_masks=_both(one.weaken_masks, other.weaken_masks),
    )


def policy_digest(project: Project) -> str:
    """Names the policy with its approvers: the sha256, in hexadecimal, of the rules that they make."""
    return rules_digest(rules_of(project))


def rules_digest(rules: Rules) -> str:
    """The sha256, in hexadecimal, of rules; those of a Project's policy have `policy_digest`."""
    return canonical_digest(rules.model_dump(mode="json"))


def may(rules: Rules, act: Act, actor: Actor, asked_by: Collection[str] = ()) -> Refusal | None:
    """None if the actor may do this, else the refusal. `asked_by` are those who asked for the upgrade.

    That the actor may act for the Project at all is for the caller to have asked.
    """
    people = people_for(rules, act)
    if act in _IN_EMERGENCY and rules.emergency and actor.role == "sre":
        return None
    if people is not None and actor.id not in people:
        return _refusal(
            f"{actor.id} is not among those who may {_ACTS[act]}",
            actor.id,
            f"ask one of: {', '.join(people)}"
            if people
            else "nobody is left who may: an approver changes the policy, and a new plan begins with it",
        )
    if _needs_another(rules, act) and is_among(actor.id, asked_by):
        others = [person for person in people or () if not is_among(person, asked_by)]
        return _refusal(
            f"{actor.id} asked for this upgrade, and somebody else must {_ACTS[act]}",
            actor.id,
            f"ask one of: {', '.join(others)}"
            if others
            else "nobody else is named: add an approver, or declare the Project `--single-person`,"
            " then plan anew: upgradepath project policy PROJECT",
        )
    return None


def people_for(rules: Rules, act: Act) -> tuple[str, ...] | None:
    """Those who are listed for this; None when it is every maintainer of the Project."""
    people: tuple[str, ...] | None = getattr(rules, act)
    return people


def counting(rules: Rules, words: Iterable[str], asked_by: Collection[str]) -> tuple[str, ...]:
    """The people whose approval counts, in their order; each person once, however spelled."""
    counted: dict[str, str] = {}
    for by in words:
        if by in rules.approve and (rules.single_person or not is_among(by, asked_by)):
            # A registration of before may name one person in two spellings.
            counted.setdefault(person_of(by), by)
    return tuple(counted.values())


def missing_approvals(rules: Rules, words: Iterable[str], asked_by: Collection[str]) -> int:
    """How many more approvals are needed."""
    return max(0, rules.approvals - len(counting(rules, words, asked_by)))


def void_sign_offs(rules: Rules, words: Iterable[str], asked_by: Collection[str]) -> tuple[str, ...]:
    """The people whose sign-off does not count, or no longer."""
    barred = asked_by if rules.sign_off_by_others else ()
    return tuple(by for by in words if by not in rules.sign_off or is_among(by, barred))


def broken(project: Project, agreement: Agreement) -> Refusal | None:
    """None while the agreement satisfies the Project's policy of now, else the refusal."""
    rules = stricter(rules_of(project), agreement.rules)
    missing = missing_approvals(rules, agreement.words, agreement.asked_by)
    void = void_sign_offs(rules, agreement.sign_offs, agreement.asked_by)
    if not missing and not void:
        return None
    given = rules.approvals - missing
    return Refusal(
        kind="conflict",
        reason=f"{given} of {rules.approvals} approvals count by the policy of now"
        if missing
        else f"the sign-off of {', '.join(void)} no longer counts",
        field=AGREEMENT,
        value=", ".join(void or agreement.words),
        cure="`upgradepath run continue`, and have those approve it who may now",
    )


def person_of(actor_id: str) -> str:
    """One spelling for each person: who spells their id in another way is not a second person."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", actor_id).casefold()).strip()


def is_among(actor_id: str, people: Iterable[str]) -> bool:
    """True when one of these is the same person."""
    return person_of(actor_id) in map(person_of, people)


def described(rules: Rules) -> str:
    """The rules in one line, as every page shows them."""
    people = ", ".join(rules.approve) or "nobody"
    if rules.single_person:
        persons = "SINGLE-PERSON: who asks for an upgrade may also approve it"
    else:
        persons = "two persons: who asked for an upgrade does not approve it"
    count = "1 approval" if rules.approvals == 1 else f"{rules.approvals} approvals"
    return f"{persons}; {count} of: {people}"


def details(rules: Rules) -> tuple[str, ...]:
    """Who may do what else, a line each."""
    everybody = "every maintainer, and an SRE"
    told = [
        f"{act.replace('_', '-')}: {', '.join(people) if people is not None else everybody}"
        for act in _ACTS
        if (people := people_for(rules, act)) is None or people != rules.approve
    ]
    if rules.sign_off_by_others:
        told.append("who asked for an upgrade does not sign it off")
    told.append(
        "an SRE may roll back and change the registration in an emergency, on the record"
        if rules.emergency
        else "an SRE may neither roll back nor change the registration"
    )
    return tuple(told)


def impossible(project: Project) -> tuple[Refusal, ...]:
    """Refusals of a policy that nobody could ever satisfy, or that says two things."""
    return (*_people_twice(project), *_strangers(project.policy, project.approvers), *_too_few(project))


def _people_twice(project: Project) -> Iterable[Refusal]:
    seen: dict[str, str] = {}
    for person in project.approvers:
        alike = person_of(person)
        if alike in seen:
            yield _refusal(
                f"{person!r} and {seen[alike]!r} are one approver: each person counts once",
                person,
                "name each approver once, exactly as in their token",
                "project.approvers",
            )
        seen.setdefault(alike, person)


def _strangers(policy: Policy, approvers: Collection[str]) -> Iterable[Refusal]:
    for field, people in (("approve", policy.approve), ("change", policy.change)):
        for person in people:
            if person not in approvers:
                yield _refusal(
                    f"{person} may {field} by the policy, and is not an approver",
                    person,
                    "name them among the approvers, or leave them out of the list",
                    f"project.policy.{field}",
                )


def _too_few(project: Project) -> Iterable[Refusal]:
    policy, rules = project.policy, rules_of(project)
    if policy.single_person and policy.approvals > 1:
        yield _refusal(
            f"a single-person Project cannot need {policy.approvals} approvals",
            str(policy.approvals),
            "set approvals = 1, or leave out single_person",
            "project.policy.approvals",
        )
    if policy.single_person and policy.sign_off_by_others:
        yield _refusal(
            "a single-person Project cannot have its sign-offs by others",
            None,
            "leave out sign_off_by_others, or single_person",
            "project.policy.sign_off_by_others",
        )
    for field, people in (("approve", rules.approve), ("change", rules.change)):
        if len(people) < policy.approvals:
            yield _refusal(
                f"{policy.approvals} different people must agree, and {len(people)} may {field}",
                str(policy.approvals),
                "name more approvers, or fewer approvals",
                "project.policy.approvals",
            )
    if not policy.single_person and rules.start is not None:
        yield from _always_asked(policy, rules, rules.start)


def _always_asked(policy: Policy, rules: Rules, starters: Collection[str]) -> Iterable[Refusal]:
    """Whoever starts, enough others must be left to agree."""
    acts: list[tuple[Act, int]] = [("approve", policy.approvals), ("weaken_masks", 1)]
    if policy.sign_off_by_others:
        acts.append(("sign_off", 1))
    for act, needed in acts:
        people = people_for(rules, act) or ()
        # One starter asks at least: the best case is one who is not listed, else one fewer is left.
        if len(people) - all(is_among(starter, people) for starter in starters) < needed:
            yield _refusal(
                f"when one of {', '.join(starters)} asks, too few others are left to {_ACTS[act]}",
                ", ".join(people),
                "let somebody else start or approve, or say single_person = true",
                "project.policy.start",
            )


def _both(one: Collection[str], other: Collection[str]) -> tuple[str, ...]:
    return _ordered({*one} & {*other})


def _ordered(people: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*people}))


def _needs_another(rules: Rules, act: Act) -> bool:
    if rules.single_person:
        return False
    return act in ("approve", "weaken_masks") or (act == "sign_off" and rules.sign_off_by_others)


def _refusal(reason: str, value: str | None, cure: str, field: str = "actor") -> Refusal:
    kind = "forbidden" if field == "actor" else "invalid"
    return Refusal.model_validate(
        {"kind": kind, "reason": reason, "field": field, "value": value, "cure": cure}
    )
