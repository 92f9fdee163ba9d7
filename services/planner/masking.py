"""The word for weaker masks: who may give it, and that no copy is made before it."""

from datetime import datetime

from services.planner.approvals import rules_for
from services.planner.run import Decision, Run
from shared.contracts.refusals import Refusal
from shared.contracts.run_words import Approval
from shared.contracts.runs import AcceptMasks
from shared.contracts.values import Actor, Digest
from shared.deciding import is_among, may
from shared.errors import Reject, conflict

COPYING = frozenset({"prepare", "apply", "migrate"})
"""Stages that copy production's rows, or lead to one that may."""
_SHOWN = 5


def awaiting_start(run: Run) -> Run:
    """The plan is ready: wait for somebody to opt in, and first for the word that its masks need."""
    show, start = f"upgradepath plan show {run.id}", f"upgradepath run start {run.id}"
    # In a single-person Project the start is that word.
    if not _is_open(run) or rules_for(run).single_person:
        return run.waiting_for("maintainer", "nobody has opted in yet", show, start)
    people = ", ".join(_who_may(run)) or "nobody is left who may: an approver changes the policy"
    what = f"somebody to accept that the copy masks less ({people}): {_lines(run)}"
    return run.waiting_for("approver", what, show, _command(run), start)


def accept_masks(run: Run, command: AcceptMasks, now: datetime) -> Decision:
    """A word for exactly this plan's mask rules. Its giver did not ask for it, and may still approve.

    Raises `Reject` when there is nothing to accept, or this person may not.
    """
    # First of all who asks: what a plan's digest is, and who has accepted it, is for those who may.
    if refusal := _refusal(run, command.actor):
        raise Reject(refusal)
    if run.plan is None or run.ended or not _is_open(run):
        word = run.masks_accepted
        raise conflict(
            f"{run.id} masks less than before, and {word.by} has accepted that"
            if word is not None and not run.ended
            else f"no copy of {run.id} waits for anybody to accept its masks",
            field="run_id",
            value=run.id,
            cure=f"upgradepath run show {run.id}",
        )
    require_plan(run, command.plan)
    accepted = _with_word(run, command.actor, now, command.remark)
    return Decision(awaiting_start(accepted) if run.status == "planned" else accepted)


def accepting(run: Run, actor: Actor, last: Digest | None, now: datetime) -> Run:
    """The Run with its plan's mask rules accepted: no copy that it makes masks less.

    `last` are the rules that were accepted last for the Project. Raises `Reject` when the plan was compared
    with others, or masks less and nobody has accepted that who may; this person's start is a word for it too.
    """
    plan = run.plan_document
    if run.status != "planned" or plan is None:
        return run
    if plan.masks is not None and run.masks_before != last:
        raise conflict(
            "other mask rules were accepted since the plan was made",
            field="plan",
            value=run.plan,
            cure="ask for a new plan, which is compared with them: upgradepath plan create",
        )
    if _is_open(run):
        if refusal := _refusal(run, actor):
            raise Reject(refusal)
        run = _with_word(run, actor, now)
    return run.with_(masks=plan.masks, masks_at=now if plan.masks else None)


def require_plan(run: Run, named: Digest) -> None:
    """Raise `Reject` when a word is for another plan than the Run has now."""
    if named != run.plan:
        raise conflict(
            "the plan has changed since",
            field="plan",
            value=named,
            cure=f"read it again: upgradepath plan show {run.id}; its digest is {run.plan}",
        )


def require_accepted(run: Run) -> None:
    """Raise `Reject` when who accepted that the copy masks less may do so no more: it is not made again."""
    if not _is_open(run):
        return
    by = run.masks_accepted.by if run.masks_accepted else "nobody"
    raise conflict(
        f"the copy would mask less than before, and the word of {by} no longer counts: {_lines(run)}",
        field="run_id",
        value=run.id,
        cure=f"ask one of: {', '.join(_who_may(run)) or 'nobody is left who may'}; {_command(run)}",
    )


def _is_open(run: Run) -> bool:
    """True while its plan masks less and no word counts that accepts it."""
    plan, word = run.plan_document, run.masks_accepted
    if plan is None or not plan.weaker:
        return False
    return word is None or word.subject != run.plan or word.by not in _who_may(run)


def _who_may(run: Run) -> tuple[str, ...]:
    rules = rules_for(run)
    barred = () if rules.single_person else (run.requested_by,)
    return tuple(person for person in rules.weaken_masks if not is_among(person, barred))


def _refusal(run: Run, actor: Actor) -> Refusal | None:
    """Names the columns and who is asked, so that nobody has to look for either."""
    refusal = may(rules_for(run), "weaken_masks", actor, (run.requested_by,))
    if refusal is None:
        return None
    if not _is_open(run):
        return refusal
    cure = f"{refusal.cure}; {_command(run)}" if _who_may(run) else refusal.cure
    return refusal.model_copy(update={"reason": f"{refusal.reason}: {_lines(run)}", "cure": cure})


def _with_word(run: Run, actor: Actor, now: datetime, remark: str = "") -> Run:
    assert run.plan is not None
    return run.with_(masks_accepted=Approval(by=actor.id, at=now, subject=run.plan, remark=remark))


def _command(run: Run) -> str:
    return f"upgradepath run accept-masks {run.id}"


def _lines(run: Run) -> str:
    weaker = run.plan_document.weaker if run.plan_document else ()
    more = f"; and {len(weaker) - _SHOWN} more" if len(weaker) > _SHOWN else ""
    return f"{'; '.join(weaker[:_SHOWN])}{more}"
