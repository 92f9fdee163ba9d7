"""What happens to a Run, and what it makes of it.

A Run begins when a maintainer asks for a plan. `review` brings the facts, the plan is shown, and
nothing more happens until somebody opts in. Then the stages follow one another, each proven before the
next: prepare, apply, migrate, validate, check-workflows, prove-backup. What was proven is the candidate,
and only an approver's word for exactly that one lets it into production: deploy, record, the end.

A verdict of no (`Failed`) waits for the maintainer. What could not be found out (`Errored`) is tried
again, and then waits for the maintainer if it names a finding, for an SRE if not. Whatever production
has seen of a deploy that did not succeed is rolled back at once. Every function here takes a Run and
what happened, and returns a `Decision`: the Run as it is then, and the messages that this causes.
`fence` is the next number that the Run's Project has free: whoever sends a command takes it.
"""

from datetime import datetime, timedelta

from services.planner.approvals import awaiting_approval, unanswered, unapproved, without_approval
from services.planner.constraints import Releases
from services.planner.cures import cures, resume, way_out
from services.planner.deadlines import (
    ATTEMPTS_MAX,
    answer_within_s,
    awaited,
    first_look,
    retry_delay,
)
from services.planner.masking import awaiting_start
from services.planner.open_commands import map_command
from services.planner.plans import build_candidate, build_plan
from services.planner.run import Decision, Run, unchanged
from services.planner.stages import after, branch_name, cancel_command, stage_command
from shared.contracts.facts import (
    ApplyFacts,
    ChecksFacts,
    DeployFacts,
    Facts,
    MigrateFacts,
    PrepareFacts,
    RecordFacts,
    ReviewFacts,
    RollBackFacts,
)
from shared.contracts.freezes import Freeze
from shared.contracts.refusals import CommandRefused
from shared.contracts.runs import PlanReady, StageRecord
from shared.contracts.stages import Errored, Failed, StageFinished, Succeeded
from shared.contracts.values import StageName
from shared.contracts.version_maps import VersionMap
from shared.deciding import AGREEMENT

ASK_DELAYS_S = (5.0, 15.0, 60.0, 300.0)
"""When the registry is asked again, and how long it may be silent after that before an SRE has to look."""


# --- the stages, one after another ---------------------------------------------------------------


def enter(run: Run, stage: StageName, now: datetime, fence: int, tries: int = 1) -> Decision:
    """Begin a stage, or the next attempt of it; `tries` counts those since somebody last decided."""
    before = run.record_of(stage)
    attempt = before.attempt + 1 if before else 1
    changed = run.with_record(
        StageRecord(stage=stage, attempt=attempt, status="running", started_at=now),
        status="rolling-back" if stage == "roll-back" else "planning" if stage == "review" else "running",
        stage=stage,
        attempt=attempt,
        fence=fence,
        tries=tries,
        blocked_by=None,
        wake_at=first_look(now),
        asked=0,
        awaits_thaw=False,
        deploy_began=run.deploy_began or stage == "deploy",
        branch=branch_name(run.id) if stage == "prepare" else run.branch,
    )
    return Decision(changed, (stage_command(changed, stage, attempt, fence),))


def advance(run: Run, result: StageFinished, now: datetime, fence: int, releases: Releases) -> Decision:
    """A worker has answered."""
    if result.fence != run.fence or run.ended or not run.is_running:
        return unchanged(run)
    outcome = result.outcome
    run = run.with_outcome(outcome, result.finished_at)
    match outcome:
        case Succeeded():
            return _go_on(run, outcome.facts, now, fence, releases)
        case Failed() | Errored() if run.stage == "deploy" and outcome.touched_production:
            reason = f"deploy did not succeed: {outcome.reason}"
            return begin_roll_back(run.with_(backup=outcome.backup), reason, now, fence)
        case Failed():
            return _on_failed(run, outcome, now, fence)
        case Errored() if run.tries < ATTEMPTS_MAX:
            return _retry_later(run, outcome, now)
        case Errored():
            return _park(run, outcome)


def _go_on(run: Run, facts: Facts, now: datetime, fence: int, releases: Releases) -> Decision:
    """A stage has succeeded: keep what it found, and do what comes next."""
    match facts:
        case ReviewFacts():
            return _plan_ready(run, facts, releases)
        case PrepareFacts():
            return enter(run.with_(prepared=facts), "apply", now, fence)
        case ApplyFacts():
            return enter(
                run.with_(applied=facts, base=facts.base, commit=facts.commit), "migrate", now, fence
            )
        case MigrateFacts():
            changed = run.with_(migrated=facts, commit=facts.commit, address=facts.address)
            return enter(changed, "validate", now, fence)
        case ChecksFacts():
            others = tuple(known for known in run.checked if known.stage != facts.stage)
            return go_on_after_checks(run.with_(checked=(*others, facts)), now, fence)
        case DeployFacts():
            changed = run.with_(deployed=facts, deployed_commit=facts.commit, backup=facts.backup)
            return ask_registry(changed.with_(stage="record", attempt=1), now, fence)
        case RecordFacts():
            return Decision(run.with_(address=None).ended_as("succeeded", now))
        case RollBackFacts():
            return _rolled_back(run.with_(proof=facts.proof, address=None), now, fence)


def _plan_ready(run: Run, facts: ReviewFacts, releases: Releases) -> Decision:
    plan = build_plan(run, facts, releases)
    digest = plan.content_digest()
    planned = run.with_(
        status="planned",
        plan=digest,
        plan_document=plan,
        base=facts.head,
        production_schema=facts.production_schema,
    )
    return Decision(awaiting_start(planned), (PlanReady(plan=plan, digest=digest),))


def go_on_after_checks(run: Run, now: datetime, fence: int) -> Decision:
    """All checks of a stage passed, but some may ask for a person's word first."""
    missing = unanswered(run)
    if missing:
        cures = tuple(f"upgradepath run sign-off {run.id} {check}" for check in missing)
        return Decision(run.waiting_for("approver", f"sign-off of {', '.join(missing)}", *cures))
    if run.stage == "validate":
        return enter(run, after("validate"), now, fence)
    if run.stage == "check-workflows" and run.migrated is not None and run.migrated.backup_tried:
        return enter(run, "prove-backup", now, fence)
    proven = run.with_(candidate=build_candidate(run).content_digest())
    return awaiting_approval(proven)


# --- the version map: held before production is touched, recorded after ---------------------------


def begin_deploy(run: Run, now: datetime, fence: int, freeze: Freeze | None) -> Decision:
    """Hold the map, then deploy. While deploys are frozen it waits, and then begins by itself."""
    if freeze is not None:
        return Decision(run.waiting_for_thaw(freeze))
    if not run.holds_map:
        return ask_registry(run, now, fence)
    return enter(run, "deploy", now, fence)


def ask_registry(run: Run, now: datetime, fence: int, asked: int = 0) -> Decision:
    """Send what the Run needs of the registry; asked again with the same fence it is the same command."""
    command = map_command(run, fence)
    wanted = {"HoldVersionMap": "held", "RecordVersionMap": "recorded", "ReleaseVersionMap": "released"}
    what = f"the version map to be {wanted[type(command).__name__]}"
    wake_at = now + timedelta(seconds=ASK_DELAYS_S[min(asked, len(ASK_DELAYS_S) - 1)])
    return Decision(run.waiting_for_registry(what, fence, asked + 1, wake_at), (command,))


def _registry_is_silent(run: Run, now: datetime) -> Decision:
    """Ask again: the question or the answer may be lost. Then an SRE looks; the answer still counts."""
    if run.asked < len(ASK_DELAYS_S):
        return ask_registry(run, now, run.fence, run.asked)
    assert run.blocked_by is not None
    what = f"the registry has not answered, asked {run.asked} times: {run.blocked_by.what}"
    return Decision(run.waiting_for("sre", what, resume(run)).with_(asked=run.asked))


def on_map_held(
    run: Run, version_map: VersionMap, now: datetime, fence: int, freeze: Freeze | None
) -> Decision:
    """The registry holds the map for this Run: production may be written."""
    if version_map.held_by != run.id or not run.waits_for_registry or run.holds_map:
        return unchanged(run)
    held = run.with_(holds_map=True)
    if run.status == "rolling-back":
        return enter(held, "roll-back", now, fence)
    held = without_approval(held)
    if held.approval is None:
        return unapproved(held)
    return begin_deploy(held, now, fence, freeze)


def on_map_let_go(run: Run, version_map: VersionMap, now: datetime, fence: int) -> Decision:
    """The pins are recorded, or the map was released: the last step of a Run that succeeded or not."""
    if not run.holds_map or version_map.held_by is not None or not run.waits_for_registry:
        return unchanged(run)
    free = run.with_(holds_map=False)
    if run.status == "rolling-back":
        return Decision(free.with_(recorded=False).ended_as(run.ending, now))
    return enter(free.with_(recorded=True), "record", now, fence)


def on_map_refused(run: Run, refused: CommandRefused, now: datetime, fence: int) -> Decision:
    """The registry says no: somebody else changed the pins, and a person has to look."""
    if not run.waits_for_registry:
        return unchanged(run)
    if any(refusal.field == AGREEMENT for refusal in refused.refusals):
        return unapproved(run.with_(approval=None))
    reason = "the registry refused: " + "; ".join(refusal.reason for refusal in refused.refusals)
    if run.recorded and not run.holds_map:
        # The way back of a Run that had succeeded never began, so it ends as it did before.
        return enter(run.with_(reason=f"not rolled back: {reason}"), "record", now, fence)
    return Decision(run.waiting_for("maintainer", reason, way_out(run)))


# --- the way back --------------------------------------------------------------------------------


def begin_roll_back(
    run: Run, reason: str, now: datetime, fence: int, ending: str = "rolled-back"
) -> Decision:
    """Stop what is under way and bring everything back to what it was before the Run."""
    sends = (cancel_command(run),) if run.is_running else ()
    stopped = run.stopped(now).with_(status="rolling-back", reason=reason, ending=ending, candidate=None)
    if run.recorded and not run.holds_map:
        onward = ask_registry(stopped.with_(stage="roll-back", attempt=0), now, fence)
    else:
        onward = enter(stopped, "roll-back", now, fence)
    return Decision(onward.run, (*sends, *onward.sends))


def _rolled_back(run: Run, now: datetime, fence: int) -> Decision:
    """The proof is there; let the version map go, if the Run holds it."""
    return ask_registry(run, now, fence) if run.holds_map else Decision(run.ended_as(run.ending, now))


def _on_failed(run: Run, outcome: Failed, now: datetime, fence: int) -> Decision:
    """The answer is no. The Run waits for its maintainer, unless the Project wants it undone."""
    undo = run.registration.definition.on_failure == "roll-back"
    # What fails in `record` is the tidying of staging: no reason to undo what customers use already.
    if undo and run.stage not in {"review", "record", "roll-back"}:
        return begin_roll_back(run, f"{run.stage} failed: {outcome.reason}", now, fence)
    return Decision(run.waiting_for("maintainer", outcome.reason, *cures(run, outcome)))


# --- time and technical errors -------------------------------------------------------------------


def _retry_later(run: Run, outcome: Errored, now: datetime) -> Decision:
    record = run.record_of(run.stage)
    assert record is not None
    waiting = record.with_(status="waiting-for-retry")
    return Decision(run.with_record(waiting, wake_at=now + retry_delay(run)))


def _park(run: Run, outcome: Errored) -> Decision:
    """Tried often enough: who can act on it is asked, an SRE where nothing says who."""
    what = f"{run.stage} errored {run.tries} times: {outcome.reason}"
    who = "maintainer" if outcome.findings else "sre"
    return Decision(run.waiting_for(who, what, *cures(run, outcome)))


def on_timer(run: Run, now: datetime, fence: int, freeze: Freeze | None) -> Decision:
    """A try is due, or somebody has not answered in time, which is an error like any other."""
    if run.stage == "deploy" and run.approval is None and not run.is_running:
        return unapproved(run)
    if run.awaits_thaw:
        return unchanged(run) if freeze is not None else begin_deploy(run, now, fence, freeze)
    if run.ended or run.wake_at is None or run.wake_at > now:
        return unchanged(run)
    if run.waits_for_registry:
        return _registry_is_silent(run, now)
    record = run.record_of(run.stage)
    if record is not None and record.status == "waiting-for-retry":
        if run.stage == "deploy" and freeze is not None:
            return begin_deploy(run, now, fence, freeze)
        return enter(run, run.stage, now, fence, tries=run.tries + 1)
    if (waiting := awaited(run, now)) is not None:
        return Decision(waiting)
    silent = Errored(reason=f"no answer within {answer_within_s(run.stage):g} s")
    recorded = run.with_outcome(silent, now)
    if run.stage == "deploy":
        # Silence says nothing about production: look at the world and undo what is there.
        return begin_roll_back(recorded, f"deploy: {silent.reason}", now, fence)
    decision = _retry_later(recorded, silent, now) if run.tries < ATTEMPTS_MAX else _park(recorded, silent)
    return Decision(decision.run, (cancel_command(run), *decision.sends))
