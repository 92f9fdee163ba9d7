"""Whose words count for a Run: its Project's policy as it was when the Run began, or a stricter one."""

from services.planner.cures import way_out
from services.planner.run import Decision, Run
from shared.contracts.policies import Act, Agreement, Rules
from shared.contracts.projects import Project
from shared.contracts.run_words import Approval
from shared.contracts.values import Actor
from shared.deciding import counting, is_among, may, missing_approvals, rules_of, stricter, void_sign_offs
from shared.errors import Reject, conflict


def ruled(run: Run, present: Project) -> Run:
    """The Run under the rules that count now.

    It keeps the policy with which it began; where the Project's has become stricter since, that counts. An
    approval whose words no longer suffice is taken back, as long as nothing is under way because of it.
    """
    changed = run.with_(rules=stricter(rules_of(run.registration), rules_of(present)))
    waits = run.stage == "deploy" and run.status in {"running", "waiting"}
    idle = waits and not (run.is_running or run.waits_for_registry)
    return without_approval(changed) if idle else changed


def without_approval(run: Run) -> Run:
    """The Run as it is where its words suffice, else with its approval taken back."""
    if run.approval is not None and (lacking(run) or _void(run)):
        return run.with_(approval=None)
    return run


def agreement(run: Run) -> Agreement:
    """The words that the registry counts before it holds the map; the same as long as the Run waits."""
    given = {word.by: None for word in run.approvals if word.subject == run.candidate}
    return Agreement(
        words=tuple(given),
        sign_offs=tuple(dict.fromkeys(word.by for word in run.sign_offs)),
        asked_by=askers(run),
        rules=rules_of(run.registration),
    )


def rules_for(run: Run) -> Rules:
    """The rules that counted when somebody last decided."""
    return run.rules or rules_of(run.registration)


def must_be_allowed(run: Run, act: Act, actor: Actor) -> None:
    """Raise `Reject` unless the policy lets this person do that with the Run."""
    if refusal := may(rules_for(run), act, actor, askers(run)):
        raise Reject(refusal)


def askers(run: Run) -> tuple[str, ...]:
    """The people who asked for what would be deployed: for the plan, for its start, for it to go on."""
    return tuple(dict.fromkeys((run.requested_by, *run.asked_by)))


def asked_by(run: Run, actor: Actor) -> Run:
    """The Run with one more who asked for it."""
    return run.with_(asked_by=tuple(dict.fromkeys((*run.asked_by, actor.id))))


def words(run: Run) -> tuple[Approval, ...]:
    """The approvals of the present candidate that count, each person's once."""
    given = {word.by: word for word in run.approvals if word.subject == run.candidate}
    return tuple(given[by] for by in counting(rules_for(run), given, askers(run)))


def lacking(run: Run) -> int:
    """How many more approvals its candidate needs."""
    return missing_approvals(rules_for(run), [word.by for word in words(run)], askers(run))


def require_first_word(run: Run, actor: Actor) -> None:
    """Raise `Reject` when the person has approved this candidate already."""
    if actor.id in {word.by for word in words(run)}:
        raise conflict(
            f"{actor.id} has approved {run.id} already, and each person counts once",
            field="actor",
            value=actor.id,
            cure=f"another approver does: {', '.join(_open(run))}",
        )


def require_sign_offs(run: Run) -> None:
    """Raise `Reject` when a sign-off was given by somebody who may not sign off any more."""
    void = _void(run)
    gone = [word for word in run.sign_offs if word.by in void]
    if gone:
        raise conflict(
            "; ".join(f"the sign-off of {word.subject} by {word.by} no longer counts" for word in gone),
            field="run_id",
            value=run.id,
            cure=f"prove it anew, and have it signed off again: upgradepath run continue {run.id}",
        )


def unanswered(run: Run) -> tuple[str, ...]:
    """The sign-off checks of the present stage that nobody has answered."""
    answered = {sign_off.subject for sign_off in run.sign_offs}
    return tuple(
        result.name
        for facts in run.checked
        if facts.stage == run.stage
        for result in facts.results
        if result.verdict == "needs-sign-off" and sign_off_subject(run, result.name) not in answered
    )


def sign_off_subject(run: Run, check: str) -> str:
    """The subject of a sign-off: two stages may have a check of the same name."""
    return f"{run.stage}/{check}"


def awaiting_approval(run: Run) -> Decision:
    """Wait for the approvals that are missing; the text says whose count already."""
    cures = (f"upgradepath run approve {run.id}", f"upgradepath run reject {run.id} --reason …")
    given, needed, left = words(run), rules_for(run).approvals, _open(run)
    what = "approval of the candidate, to deploy it"
    if needed > 1 or given:
        names = ", ".join(word.by for word in given) or "none yet"
        another = "another approver" if needed - len(given) == 1 else f"{needed - len(given)} approvers"
        what = f"{len(given)} of {needed} approvals: {names}; waits for {another}"
    if lacking(run) > len(left):
        what += "; too few are left who may: who asked for it does not count"
        cures = (
            f"upgradepath project policy {run.project}",
            way_out(run),
        )
    return Decision(run.waiting_for("approver", what, *cures))


def reconsidered(run: Run, present: Project) -> Decision:
    """The Run after its Project's policy changed: what it waits for may be another person's word now."""
    again = ruled(run, present)
    if again.approval is None and run.approval is not None:
        return unapproved(again)
    if again.rules == run.rules:
        return Decision(run)
    waits = again.blocked_by is not None and again.blocked_by.who == "approver" and again.candidate
    return awaiting_approval(again) if waits else Decision(again)


def unapproved(run: Run) -> Decision:
    """It was about to deploy, and its approvals do not suffice any more."""
    what = "what was said no longer suffices: who said it was removed, or the policy became stricter"
    return Decision(run.waiting_for("maintainer", what, f"upgradepath run continue {run.id}", way_out(run)))


def _open(run: Run) -> list[str]:
    """The people who may still approve."""
    rules, given = rules_for(run), {word.by for word in words(run)}
    barred = () if rules.single_person else askers(run)
    return [person for person in rules.approve if person not in given and not is_among(person, barred)]


def _void(run: Run) -> tuple[str, ...]:
    """People whose sign-offs do not count by the rules of now."""
    return void_sign_offs(rules_for(run), [word.by for word in run.sign_offs], askers(run))
