"""What people may decide about a Run, and when: everything here refuses with the reason and the cure."""

from datetime import datetime

from services.planner.domain import (
    begin_deploy,
    begin_roll_back,
    enter,
    go_on_after_checks,
    sign_off_subject,
    unanswered,
)
from services.planner.plans import Releases, choose_upgrades
from services.planner.run import Decision, Run
from services.planner.stages import cancel_command
from shared.contracts.freezes import Freeze
from shared.contracts.projects import Project
from shared.contracts.run_words import Approval
from shared.contracts.runs import (
    ApproveCandidate,
    CancelRun,
    RejectCandidate,
    RequestPlan,
    RollBackRun,
    SignOff,
    StartRun,
)
from shared.contracts.values import Actor, RunId, StageName
from shared.contracts.version_maps import Pins, VersionMap
from shared.errors import Reject, conflict, forbidden, invalid

_APPROVED_AFTER = frozenset({"check-workflows", "prove-backup"})
"""The last stages before a deploy; the second is not in every Run."""
_FIXABLE = frozenset({"apply", "migrate", "validate", "check-workflows", "prove-backup", "deploy"})


def request_plan(
    command: RequestPlan,
    run_id: RunId,
    project: Project,
    version_map: VersionMap,
    releases: Releases,
    now: datetime,
    fence: int,
) -> Decision:
    """Open a Run. It reads and changes nothing until somebody opts in."""
    upgrades, after = choose_upgrades(command.systems, version_map.pins, releases)
    run = Run(
        id=run_id,
        project=project.id,
        status="planning",
        stage="review",
        attempt=0,
        fence=fence,
        systems={upgrade.system: upgrade.to_version for upgrade in upgrades},
        pins_before=version_map.pins,
        pins_after=after,
        registration=project,
        upgrades=upgrades,
        requested_by=command.actor.id,
        requested_at=now,
    )
    return enter(run, "review", now, fence)


def start(
    run: Run,
    command: StartRun,
    pins: Pins,
    active: RunId | None,
    releases: Releases,
    now: datetime,
    fence: int,
) -> Decision:
    """Opt in. One Project has one started Run at a time."""
    if run.status != "planned":
        raise wrong_state(run, "start", "only a Run whose plan is ready can be started")
    if active is not None:
        raise conflict(
            f"Project {run.project} has a started Run already: {active}",
            field="project",
            value=run.project,
            cure=f"wait for it, or end it: upgradepath run show {active}",
        )
    if command.plan != run.plan:
        raise conflict(
            "the plan is another one than you name",
            field="plan",
            value=command.plan,
            cure=f"read it again: upgradepath plan show {run.id}; its digest is {run.plan}",
        )
    if pins != run.pins_before:
        raise conflict(
            "the version map has changed since the plan was made",
            field="plan",
            value=command.plan,
            cure="ask for a new plan: upgradepath plan create",
        )
    _refuse_withdrawn(run, releases)
    return enter(run, "prepare", now, fence)


def continue_(run: Run, now: datetime, fence: int, *, copy_again: bool = False) -> Decision:
    """A fix lies on the upgrade branch: prove that commit, from `apply` on, perhaps over rows copied anew."""
    waits = run.status == "waiting" and run.blocked_by is not None
    if not waits or run.stage not in _FIXABLE:
        raise wrong_state(
            run, "continue", "a Run goes on from `apply` when it waits after a failed or proven stage"
        )
    if copy_again and run.registration.definition.staging.data == "seed":
        raise invalid(
            "staging's rows come from a seed file, which is not copied",
            field="copy_again",
            cure=f"correct the seed file on the upgrade branch: upgradepath run continue {run.id}",
        )
    again = run.with_(copy_again=copy_again, staging_copy=None if copy_again else run.staging_copy)
    return enter(unproven(again, "apply"), "apply", now, fence)


def unproven(run: Run, stage: StageName) -> Run:
    """The Run without what this stage and later ones had proven, and without the words given for it."""
    match stage:
        case "prepare" | "apply" | "migrate":
            return run.with_(candidate=None, approval=None, sign_offs=(), checked=(), migrated=None)
        case "validate" | "check-workflows" | "prove-backup":
            checks = ("validate", "check-workflows", "prove-backup")
            kept = checks[: checks.index(stage)]
            return run.with_(
                candidate=None,
                approval=None,
                sign_offs=tuple(word for word in run.sign_offs if word.subject.partition("/")[0] in kept),
                checked=tuple(facts for facts in run.checked if facts.stage in kept),
            )
        case _:
            return run


def retry(run: Run, now: datetime, fence: int, freeze: Freeze | None) -> Decision:
    """The same stage once more, with nothing changed."""
    record = run.record_of(run.stage)
    stuck = record is not None and record.status in {"failed", "errored"}
    if run.ended or not stuck or run.waits_for_registry:
        raise wrong_state(run, "retry", "only a stage that failed or errored can be tried again")
    if run.stage == "deploy" and run.approval is None:
        raise wrong_state(run, "retry", "a deploy needs an approval of its candidate first")
    if run.stage == "deploy":
        return begin_deploy(run, now, fence, freeze)
    return enter(run, run.stage, now, fence)


def sign_off(run: Run, command: SignOff, now: datetime, fence: int) -> Decision:
    """A person's answer to a sign-off check; it counts for the commit that is in staging now."""
    _only_approvers(run, command.actor)
    missing = unanswered(run) if run.status == "waiting" else ()
    if command.check not in missing:
        raise invalid(
            f"{run.id} does not wait for a sign-off of {command.check!r}",
            field="check",
            value=command.check,
            cure=f"it waits for: {', '.join(missing) or 'none'}",
        )
    if not command.accepted:
        what = f"{command.actor.id} did not sign off {command.check}: {command.remark or 'no remark'}"
        cures = (f"upgradepath run continue {run.id}", f"upgradepath run roll-back {run.id} --reason …")
        return Decision(run.waiting_for("maintainer", what, *cures))
    word = Approval(
        by=command.actor.id, at=now, subject=sign_off_subject(run, command.check), remark=command.remark
    )
    return go_on_after_checks(run.with_(sign_offs=(*run.sign_offs, word)), now, fence)


def approve(
    run: Run,
    command: ApproveCandidate,
    releases: Releases,
    now: datetime,
    fence: int,
    freeze: Freeze | None,
) -> Decision:
    """An approver's word for exactly this candidate: the Run may write to production."""
    _only_approvers(run, command.actor)
    _awaits_approval(run, "approve")
    if command.candidate != run.candidate:
        raise conflict(
            "the candidate is another one than you approve",
            field="candidate",
            value=command.candidate,
            cure=f"look at it again: upgradepath run show {run.id}; its digest is {run.candidate}",
        )
    _refuse_withdrawn(run, releases)
    word = Approval(by=command.actor.id, at=now, subject=command.candidate, remark=command.remark)
    return begin_deploy(run.with_(approval=word, stage="deploy", attempt=0), now, fence, freeze)


def reject(run: Run, command: RejectCandidate, now: datetime, fence: int) -> Decision:
    """Not this candidate: undo what was prepared."""
    _only_approvers(run, command.actor)
    _awaits_approval(run, "reject")
    return begin_roll_back(run, f"rejected by {command.actor.id}: {command.reason}", now, fence)


def cancel(run: Run, command: CancelRun, now: datetime, fence: int) -> Decision:
    """Stop, as long as production has not been written."""
    if run.deploy_began or run.recorded or run.status == "rolling-back" or run.ended:
        raise wrong_state(run, "cancel", "production may have been written: use roll-back")
    if run.waits_for_registry:
        raise wrong_state(run, "cancel", "the registry is about to answer: wait for it, then roll back")
    reason = f"cancelled by {command.actor.id}: {command.reason}"
    if run.record_of("prepare") is None:
        sends = (cancel_command(run),) if run.is_running else ()
        return Decision(run.stopped(now).with_(reason=reason).ended_as("cancelled", now), sends)
    return begin_roll_back(run, reason, now, fence, ending="cancelled")


def roll_back(
    run: Run, command: RollBackRun, version_map: VersionMap, active: RunId | None, now: datetime, fence: int
) -> Decision:
    """Undo the Run, at any stage, and also after its end as long as nothing has followed it."""
    reason = f"rolled back by {command.actor.id}: {command.reason}"
    consenting = run.with_(restore_backup=command.restore_backup)
    if run.status == "succeeded":
        if active is not None or version_map.run_id != run.id:
            raise conflict(
                f"{run.id} is not the last thing that happened to {run.project}",
                field="run_id",
                value=run.id,
                cure=f"roll back {active or version_map.run_id} first",
            )
        return begin_roll_back(consenting.with_(ended_at=None), reason, now, fence)
    stuck = run.blocked_by is not None
    begun = run.record_of("prepare") is not None and not run.ended
    if not begun or (run.status == "rolling-back" and not stuck):
        raise wrong_state(run, "roll back", "there is nothing to undo")
    if run.waits_for_registry or (run.stage == "record" and not stuck):
        raise wrong_state(run, "roll back", "the registry is about to answer: wait for it, then roll back")
    return begin_roll_back(
        consenting, reason, now, fence, ending=run.ending if run.status == "rolling-back" else "rolled-back"
    )


def _only_approvers(run: Run, actor: Actor) -> None:
    if actor.id not in run.registration.approvers:
        raise forbidden(
            f"{actor.id} is no approver of Project {run.project}",
            value=actor.id,
            cure=f"ask one of: {', '.join(run.registration.approvers)}",
        )


def _awaits_approval(run: Run, verb: str) -> None:
    waits = run.blocked_by is not None and run.blocked_by.who == "approver" and run.status == "waiting"
    if not waits or run.candidate is None or run.stage not in _APPROVED_AFTER:
        raise wrong_state(run, verb, "there is no candidate that awaits an approval")


def _refuse_withdrawn(run: Run, releases: Releases) -> None:
    for upgrade in run.upgrades:
        release = releases[upgrade.system, upgrade.to_version]
        if release.withdrawn is not None:
            raise conflict(
                f"{upgrade.system} {upgrade.to_version} was withdrawn: {release.withdrawn}",
                field="run_id",
                value=run.id,
                cure=f"cancel it: upgradepath run cancel {run.id}, and plan another version",
            )


def wrong_state(run: Run, verb: str, why: str) -> Reject:
    """The refusal of what a Run in this state cannot do; the cures are what it waits for."""
    cures = run.blocked_by.cures if run.blocked_by else ()
    return conflict(
        f"cannot {verb} {run.id}, which is {run.status} at {run.stage}: {why}",
        field="run_id",
        value=run.id,
        cure="; ".join(cures) or f"upgradepath run show {run.id}",
    )
