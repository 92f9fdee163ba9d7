"""People's decisions about a Run: everything here refuses with the reason and the cure."""

from datetime import datetime

from services.planner.approvals import (
    asked_by,
    awaiting_approval,
    lacking,
    must_be_allowed,
    require_first_word,
    require_sign_offs,
    sign_off_subject,
    unanswered,
)
from services.planner.constraints import Releases
from services.planner.cures import way_out
from services.planner.domain import (
    begin_deploy,
    enter,
    go_on_after_checks,
)
from services.planner.masking import COPYING, require_accepted, require_plan
from services.planner.moves import choose_upgrades
from services.planner.plans import unsigned
from services.planner.run import Decision, Run
from services.planner.together import Asked
from shared.contracts.freezes import Freeze
from shared.contracts.projects import Project
from shared.contracts.run_words import Approval
from shared.contracts.runs import (
    ApproveCandidate,
    ContinueRun,
    RequestPlan,
    SignOff,
    StartRun,
)
from shared.contracts.values import Actor, Digest, RunId, StageName
from shared.contracts.version_maps import Pins, VersionMap
from shared.deciding import may, rules_of
from shared.errors import Reject, conflict, invalid

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
    masks: Digest | None = None,
) -> Decision:
    """Open a Run. It reads and changes nothing until somebody opts in.

    `masks` are the mask rules that its Project accepted last.
    """
    rules = rules_of(project)
    if refusal := may(rules, "start", command.actor):
        raise Reject(refusal)
    asked = Asked(command.systems, command.add, project.id, command.remove)
    upgrades, after = choose_upgrades(asked, version_map.pins, releases)
    run = Run(
        id=run_id,
        project=project.id,
        status="planning",
        stage="review",
        attempt=0,
        fence=fence,
        systems={each.system: each.to_version for each in upgrades if each.to_version is not None},
        removed=tuple(each.system for each in upgrades if each.to_version is None),
        pins_before=version_map.pins,
        pins_after=after,
        registration=project,
        upgrades=upgrades,
        requested_by=command.actor.id,
        requested_at=now,
        rules=rules,
        unsigned=unsigned(upgrades),
        masks_before=masks,
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
    must_be_allowed(run, "start", command.actor)
    if run.status != "planned":
        raise wrong_state(run, "start", "only a Run whose plan is ready can be started")
    if active is not None:
        raise conflict(
            f"Project {run.project} has a started Run already: {active}",
            field="project",
            value=run.project,
            cure=f"wait for it, or end it: upgradepath run show {active}",
        )
    require_plan(run, command.plan)
    if pins != run.pins_before:
        raise conflict(
            "the version map has changed since the plan was made",
            field="plan",
            value=command.plan,
            cure="ask for a new plan: upgradepath plan create",
        )
    _refuse_withdrawn(run, releases)
    return enter(asked_by(run, command.actor), "prepare", now, fence)


def continue_(run: Run, command: ContinueRun, now: datetime, fence: int) -> Decision:
    """A fix lies on the upgrade branch: prove that commit, from `apply` on, perhaps over rows copied anew."""
    must_be_allowed(run, "start", command.actor)
    copy_again = command.copy_again
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
    require_accepted(run)
    again = asked_by(run, command.actor).with_(
        copy_again=copy_again, staging_copy=None if copy_again else run.staging_copy
    )
    return enter(unproven(again, "apply"), "apply", now, fence)


def unproven(run: Run, stage: StageName) -> Run:
    """The Run without what this stage and later ones had proven, and without the words given for it."""
    match stage:
        case "prepare" | "apply" | "migrate":
            return run.with_(
                candidate=None, approval=None, approvals=(), sign_offs=(), checked=(), migrated=None
            )
        case "validate" | "check-workflows" | "prove-backup":
            checks = ("validate", "check-workflows", "prove-backup")
            kept = checks[: checks.index(stage)]
            return run.with_(
                candidate=None,
                approval=None,
                approvals=(),
                sign_offs=tuple(word for word in run.sign_offs if word.subject.partition("/")[0] in kept),
                checked=tuple(facts for facts in run.checked if facts.stage in kept),
            )
        case _:
            return run


def retry(run: Run, actor: Actor, now: datetime, fence: int, freeze: Freeze | None) -> Decision:
    """The same stage once more, with nothing changed."""
    if run.stage != "roll-back":
        must_be_allowed(run, "start", actor)
    record = run.record_of(run.stage)
    stuck = record is not None and record.status in {"failed", "errored"}
    if run.ended or not stuck or run.waits_for_registry:
        raise wrong_state(run, "retry", "only a stage that failed or errored can be tried again")
    if run.stage == "deploy" and run.approval is None:
        raise wrong_state(run, "retry", "a deploy needs an approval of its candidate first")
    if run.stage == "deploy":
        return begin_deploy(run, now, fence, freeze)
    if run.stage in COPYING:
        require_accepted(run)
    return enter(run, run.stage, now, fence)


def sign_off(run: Run, command: SignOff, now: datetime, fence: int) -> Decision:
    """A person's answer to a sign-off check; it counts for the commit that is in staging now."""
    must_be_allowed(run, "sign_off", command.actor)
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
    """An approver's word for exactly this candidate: the last that is needed lets it into production."""
    must_be_allowed(run, "approve", command.actor)
    awaits_approval(run, "approve")
    if command.candidate != run.candidate:
        raise conflict(
            "the candidate is another one than you approve",
            field="candidate",
            value=command.candidate,
            cure=f"look at it again: upgradepath run show {run.id}; its digest is {run.candidate}",
        )
    _refuse_withdrawn(run, releases)
    require_sign_offs(run)
    require_first_word(run, command.actor)
    word = Approval(by=command.actor.id, at=now, subject=command.candidate, remark=command.remark)
    heard = run.with_(approvals=(*run.approvals, word))
    if lacking(heard):
        return awaiting_approval(heard)
    return begin_deploy(heard.with_(approval=word, stage="deploy", attempt=0), now, fence, freeze)


def awaits_approval(run: Run, verb: str) -> None:
    """Raise `Reject` unless a candidate waits for its approvals."""
    waits = run.blocked_by is not None and run.blocked_by.who == "approver" and run.status == "waiting"
    if not waits or run.candidate is None or run.stage not in _APPROVED_AFTER:
        raise wrong_state(run, verb, "there is no candidate that awaits an approval")


def _refuse_withdrawn(run: Run, releases: Releases) -> None:
    for system, version in run.systems.items():
        release = releases[system, version]
        if release.withdrawn is not None:
            raise conflict(
                f"{system} {version} was withdrawn: {release.withdrawn}",
                field="run_id",
                value=run.id,
                cure=f"end it: {way_out(run)}, and plan another version",
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
