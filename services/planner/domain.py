"""What happens to a Run, and what it makes of it.

A Run begins when a maintainer asks for a plan. `review` brings the facts, the plan is shown, and
nothing more happens until somebody opts in. Then the stages follow one another, each proven before the
next: prepare, apply, migrate, validate, check-workflows. What was proven is the candidate, and only an
approver's word for exactly that candidate lets it into production: deploy, record, the end.

A verdict of no (`Failed`) waits for the maintainer. What could not be found out (`Errored`) is tried
again, and then waits for an SRE. Whatever production has seen of a deploy that did not succeed is
rolled back at once. Every function here takes a Run and what happened, and returns a `Decision`: the
Run as it is then, and the messages that this causes. `fence` is the next number that the Run's Project
has free: whoever sends a command takes it, and whatever carries an older one is old news.
"""

from datetime import datetime, timedelta

from services.planner.plans import Releases, build_candidate, build_plan
from services.planner.run import Decision, Run, unchanged
from services.planner.stages import DEADLINES_S, after, branch_name, cancel_command, stage_command
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
from shared.contracts.refusals import CommandRefused
from shared.contracts.runs import PlanReady, StageRecord
from shared.contracts.stages import Errored, Failed, StageFinished, Succeeded
from shared.contracts.values import StageName
from shared.contracts.version_maps import HoldVersionMap, RecordVersionMap, ReleaseVersionMap, VersionMap

ATTEMPTS_MAX = 3
RETRY_DELAYS_S = (2.0, 10.0)
GRACE_S = 60.0
"""How much longer than its worker the planner waits for a stage: a lease may have to run out first."""


# --- the stages, one after another ---------------------------------------------------------------


def enter(run: Run, stage: StageName, now: datetime, fence: int, tries: int = 1) -> Decision:
    """Begin a stage, or the next attempt of it; `tries` counts those since somebody last decided."""
    before = run.record_of(stage)
    attempt = before.attempt + 1 if before else 1
    changed = run.with_(
        status="rolling-back" if stage == "roll-back" else "planning" if stage == "review" else "running",
        stage=stage,
        attempt=attempt,
        fence=fence,
        tries=tries,
        blocked_by=None,
        wake_at=now + timedelta(seconds=DEADLINES_S[stage] + GRACE_S),
        deploy_began=run.deploy_began or stage == "deploy",
        branch=branch_name(run.id) if stage == "prepare" else run.branch,
    )
    command = stage_command(changed, stage, attempt, fence)
    begun = StageRecord(stage=stage, attempt=attempt, status="running", started_at=now)
    return Decision(changed.with_record(begun), (command,))


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
            return _park(run, outcome.reason)


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
            return _record(changed, now, fence)
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
    cures = (f"upgradepath plan show {run.id}", f"upgradepath run start {run.id}")
    waiting = planned.waiting_for("maintainer", "nobody has opted in yet", *cures)
    return Decision(waiting, (PlanReady(plan=plan, digest=digest),))


def go_on_after_checks(run: Run, now: datetime, fence: int) -> Decision:
    """All checks of a stage passed, but some may ask for a person's word first."""
    missing = unanswered(run)
    if missing:
        cures = tuple(f"upgradepath run sign-off {run.id} {check}" for check in missing)
        return Decision(run.waiting_for("approver", f"sign-off of {', '.join(missing)}", *cures))
    if run.stage == "validate":
        return enter(run, after("validate"), now, fence)
    proven = run.with_(candidate=build_candidate(run).content_digest())
    cures = (f"upgradepath run approve {run.id}", f"upgradepath run reject {run.id} --reason …")
    return Decision(proven.waiting_for("approver", "approval of the candidate, to deploy it", *cures))


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
    """What a sign-off is given for: two stages may have a check of the same name."""
    return f"{run.stage}/{check}"


# --- the version map: held before production is touched, recorded after ---------------------------


def hold_map(run: Run, now: datetime, fence: int) -> Decision:
    """Nobody else may change the pins from here on; the answer lets the Run go on."""
    pins = run.pins_after if run.recorded else run.pins_before
    command = HoldVersionMap(
        actor=run.last_decider, project=run.project, run_id=run.id, fence=fence, expected_pins=pins
    )
    return Decision(run.waiting_for_registry("the version map to be held", fence), (command,))


def _record(run: Run, now: datetime, fence: int) -> Decision:
    """Write the pins: the new ones after a deploy, the old ones after the rollback of a recorded Run."""
    pins = run.pins_before if run.status == "rolling-back" else run.pins_after
    changed = run if run.status == "rolling-back" else run.with_(stage="record", attempt=1)
    command = RecordVersionMap(
        actor=run.last_decider, project=run.project, run_id=run.id, fence=fence, pins=pins
    )
    return Decision(changed.waiting_for_registry("the version map to be recorded", fence), (command,))


def on_map_held(run: Run, version_map: VersionMap, now: datetime, fence: int) -> Decision:
    """The registry holds the map for this Run: production may be written."""
    if version_map.held_by != run.id or not run.waits_for_registry or run.holds_map:
        return unchanged(run)
    held = run.with_(holds_map=True)
    return enter(held, "roll-back" if run.status == "rolling-back" else "deploy", now, fence)


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
    reason = "the registry refused: " + "; ".join(refusal.reason for refusal in refused.refusals)
    if run.recorded and not run.holds_map:
        # The way back of a Run that had succeeded never began, so it ends as it did before.
        return enter(run.with_(reason=f"not rolled back: {reason}"), "record", now, fence)
    way_out = "roll-back" if run.deploy_began else "cancel"
    return Decision(run.waiting_for("maintainer", reason, f"upgradepath run {way_out} {run.id} --reason …"))


# --- the way back --------------------------------------------------------------------------------


def begin_roll_back(
    run: Run, reason: str, now: datetime, fence: int, ending: str = "rolled-back"
) -> Decision:
    """Stop what is under way and bring everything back to what it was before the Run."""
    sends = (cancel_command(run),) if run.is_running else ()
    stopped = run.stopped(now).with_(status="rolling-back", reason=reason, ending=ending, candidate=None)
    if run.recorded and not run.holds_map:
        onward = hold_map(stopped.with_(stage="roll-back", attempt=0), now, fence)
    else:
        onward = enter(stopped, "roll-back", now, fence)
    return Decision(onward.run, (*sends, *onward.sends))


def _rolled_back(run: Run, now: datetime, fence: int) -> Decision:
    """The proof is there; let the version map go, if the Run holds it."""
    if not run.holds_map:
        return Decision(run.ended_as(run.ending, now))
    if run.recorded:
        return _record(run, now, fence)
    command = ReleaseVersionMap(actor=run.last_decider, project=run.project, run_id=run.id, fence=fence)
    return Decision(run.waiting_for_registry("the version map to be released", fence), (command,))


def _on_failed(run: Run, outcome: Failed, now: datetime, fence: int) -> Decision:
    """The answer is no. The Run waits for its maintainer, unless the Project wants it undone."""
    undo = run.registration.definition.on_failure == "roll-back"
    # What fails in `record` is the tidying of staging: no reason to undo what customers use already.
    if undo and run.stage not in {"review", "record", "roll-back"}:
        return begin_roll_back(run, f"{run.stage} failed: {outcome.reason}", now, fence)
    return Decision(run.waiting_for("maintainer", outcome.reason, *_cures(run, outcome)))


def _cures(run: Run, outcome: Failed) -> tuple[str, ...]:
    """What the worker advises, and what may be done anyway."""
    return tuple(dict.fromkeys((*(finding.cure for finding in outcome.findings), *_ways_on(run))))


def _ways_on(run: Run) -> tuple[str, ...]:
    again, fixed = f"upgradepath run retry {run.id}", f"upgradepath run continue {run.id}"
    undo, stop = (f"upgradepath run {verb} {run.id} --reason …" for verb in ("roll-back", "cancel"))
    match run.stage:
        case "review" | "prepare":
            return (again, stop)
        case "record":
            return (again, undo)
        case "roll-back":
            return (again,)
        case _:
            return (fixed, again, undo)


# --- time and technical errors -------------------------------------------------------------------


def _retry_later(run: Run, outcome: Errored, now: datetime) -> Decision:
    delay_s = RETRY_DELAYS_S[min(run.tries, len(RETRY_DELAYS_S)) - 1]
    record = run.record_of(run.stage)
    assert record is not None
    waiting = record.model_copy(update={"status": "waiting-for-retry"})
    return Decision(run.with_record(waiting).with_(wake_at=now + timedelta(seconds=delay_s)))


def _park(run: Run, reason: str) -> Decision:
    what = f"{run.stage} errored {run.tries} times: {reason}"
    return Decision(run.waiting_for("sre", what, *_ways_on(run)))


def on_timer(run: Run, now: datetime, fence: int) -> Decision:
    """A try is due, or a stage has not answered in time, which is an error like any other."""
    if run.ended or run.wake_at is None or run.wake_at > now:
        return unchanged(run)
    record = run.record_of(run.stage)
    if record is not None and record.status == "waiting-for-retry":
        return enter(run, run.stage, now, fence, tries=run.tries + 1)
    silent = Errored(reason=f"no answer within {DEADLINES_S[run.stage] + GRACE_S:g} s")
    recorded = run.with_outcome(silent, now)
    if run.stage == "deploy":
        # Silence says nothing about production: look at the world and undo what is there.
        return begin_roll_back(recorded, f"deploy: {silent.reason}", now, fence)
    decision = (
        _retry_later(recorded, silent, now) if run.tries < ATTEMPTS_MAX else _park(recorded, silent.reason)
    )
    return Decision(decision.run, (cancel_command(run), *decision.sends))
