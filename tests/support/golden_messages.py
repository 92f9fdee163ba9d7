"""One realistic example of every message: written once as golden files, and frozen from then on.

`python -m tests.support.golden_messages` writes those that are missing, and never one that is there.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared.contracts.audit import NO_ENTRY, AuditDetail, AuditEntry, AuditHead, AuditRecorded, AuditRefusal
from shared.contracts.documents import file_name
from shared.contracts.facts import CheckResult
from shared.contracts.freezes import DeploysFrozen, DeploysThawed, FreezeDeploys, HoldDeploys, ThawDeploys
from shared.contracts.notifications import Notification, NotificationClosed, NotificationReady
from shared.contracts.policies import Policy, Word
from shared.contracts.projects import Project, ProjectRegistered, RegisterProject
from shared.contracts.registrations import ConfirmRegistration, Proposal, RegistrationProposed
from shared.contracts.releases import PublishRelease, ReleasePublished, ReleaseWithdrawn, WithdrawRelease
from shared.contracts.runs import (
    AcceptMasks,
    ApproveCandidate,
    CancelRun,
    ContinueRun,
    PlanReady,
    RejectCandidate,
    RequestPlan,
    ResumeRun,
    RetryStage,
    RollBackRun,
    RunChanged,
    SignOff,
    StartRun,
)
from shared.contracts.stages import (
    BackupDeleted,
    Errored,
    Failed,
    Finding,
    RunExecutorStage,
    RunValidatorStage,
)
from shared.contracts.values import Actor, Message
from shared.contracts.version_maps import ReleaseVersionMap, VersionMapHeld, VersionMapReleased
from tests.support.planner_examples import (
    MIRA,
    NOON,
    OTTO,
    PINS,
    PROJECT,
    SRE,
    at_work,
    digest,
    project,
    release,
)
from tests.support.planner_world import World, refused

GOLDEN = Path(__file__).resolve().parents[1] / "contracts" / "golden"
LENA = Actor(id="lena@library.example", role="library")
Named = tuple[str, Message]


def examples() -> dict[str, Message]:
    """By file name: `<Type>.v1.json`, and `<Type>.v1.<what is special>.json` beside it."""
    found: dict[str, Message] = {}
    for variant, message in (
        *_journey(),
        *_adding(),
        *_removing(),
        *_of_operators(),
        *_of_people(),
        *_of_the_registry(),
        *_of_workers(),
        *_of_the_audit_log(),
    ):
        plain = file_name(type(message))
        found.setdefault(plain, message)
        if variant:
            found.setdefault(plain.replace(".json", f".{variant}.json"), message)
    return found


def write(folder: Path = GOLDEN) -> list[str]:
    """Write what is missing; the names of what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = {name: message for name, message in examples().items() if not (folder / name).exists()}
    for name, message in missing.items():
        text = message.model_dump_json(by_alias=True, indent=2)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    return sorted(missing)


def _journey() -> Iterator[Named]:
    """A whole Run that deploys, is recorded, and is rolled back in the end."""
    world = World()
    run_id = world.tell(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None})).id
    on: dict[str, Any] = {"actor": MIRA, "project": PROJECT, "run_id": run_id}
    while True:
        run = world.run(run_id)
        if (command := world.stage_command(run_id)) is not None:
            result = world.result(command)
            yield f"{command.task.stage}-succeeded", result
            said: Message = result
        elif world.to_registry:
            world.registry_works()
            yield "", world.from_registry[0]
            said = world.from_registry.pop(0)
        elif run.status == "planned":
            said = StartRun(**on, plan=run.plan)
        elif run.status == "succeeded":
            said = RollBackRun(**on, reason="customers cannot sign in", restore_backup=True)
        elif run.ended:
            break
        elif run.candidate is not None:
            said = ApproveCandidate(**on, candidate=run.candidate, remark="the staging app looks right")
        else:
            said = SignOff(**on, check="partner-sign-off", remark="as agreed on Monday")
        yield "", said
        world.tell(said)
    yield from _sent(world)


def _adding() -> Iterator[Named]:
    """A plan that adds a System: it moves from nothing."""
    world = World()
    added = release("audit-system", "1.0.0")
    world.known[added.system, added.version] = added
    asked = RequestPlan(
        actor=MIRA, project=PROJECT, systems={"auth-system": None}, add={"audit-system": None}
    )
    yield "adding", asked
    run_id = world.tell(asked).id
    command = world.stage_command(run_id)
    assert command is not None
    yield "review-adding", command
    world.tell(world.result(command))
    yield "adding", next(message for message in world.sent if isinstance(message, PlanReady))


def _removing() -> Iterator[Named]:
    """A plan that removes a System: it moves to nothing."""
    world = World()
    asked = RequestPlan(actor=MIRA, project=PROJECT, systems={}, remove=("quote-engine",))
    yield "removing", asked
    run_id = world.tell(asked).id
    yield "removing", next(message for message in world.sent if isinstance(message, RunChanged))
    command = world.stage_command(run_id)
    assert command is not None
    yield "review-removing", command
    world.tell(world.result(command))
    yield "removing", next(message for message in world.sent if isinstance(message, PlanReady))


def _sent(world: World) -> Iterator[Named]:
    changes = [message for message in world.sent if isinstance(message, RunChanged)]
    yield "", changes[-1]
    for message in world.sent:
        if isinstance(message, RunChanged):
            yield message.run.status, message
        elif isinstance(message, RunExecutorStage | RunValidatorStage):
            yield message.task.stage, message
        else:
            yield "", message


def _of_operators() -> Iterator[Named]:
    """What follows from an SRE's word; and a Run's whole state, in its first event and in a later one."""
    world = World()
    world.tell(FreezeDeploys(actor=SRE, reason="the database moves tonight"))
    world.tell(ThawDeploys(actor=SRE, reason="it has moved"))
    run_id = world.tell(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None})).id
    on: dict[str, Any] = {"project": PROJECT, "run_id": run_id}
    for step in range(4):
        command = world.stage_command(run_id)
        assert command is not None
        world.tell(world.result(command))
        if step == 0:
            world.tell(StartRun(**on, actor=MIRA, plan=world.run(run_id).plan))
    world.tell(ResumeRun(**on, actor=SRE, from_stage="migrate", reason="its worker's machine is gone"))
    for message in world.sent:
        if isinstance(message, DeploysFrozen | DeploysThawed):
            yield "", message
        elif isinstance(message, HoldDeploys):
            yield "" if message.freeze else "thawed", message
    resumed = world.stage_command(run_id)
    assert resumed is not None
    world.tell(at_work(resumed, NOON))
    changes = [message for message in world.sent if isinstance(message, RunChanged)]
    yield "opened", changes[0]
    yield "resumed", changes[-2]
    yield "begun", changes[-1]


def _of_people() -> Iterator[Named]:
    on: dict[str, Any] = {"actor": MIRA, "project": PROJECT, "run_id": "run-1b9d6bcd4f21"}
    yield "", RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": "1.3.0", "quote-engine": None})
    yield "", ContinueRun(**on)
    yield "", AcceptMasks(**{**on, "actor": MIRA}, plan=digest("plan"), remark="the label names nobody")
    yield "", RetryStage(**{**on, "actor": SRE})
    yield "", RejectCandidate(**on, reason="not before the weekend")
    yield "", CancelRun(**on, reason="planned for the wrong Project")
    yield "", PublishRelease(actor=LENA, system="auth-system", version="1.3.0", package=digest("package"))
    signed = PublishRelease(
        actor=LENA,
        system="auth-system",
        version="1.3.0",
        package=digest("package"),
        signature=digest("envelope"),
    )
    yield "signed", signed
    yield "", WithdrawRelease(actor=LENA, system="auth-system", version="1.3.0", reason="it leaks sessions")
    resumed = ResumeRun(**{**on, "actor": SRE}, from_stage="migrate", reason="its worker's machine is gone")
    yield "", resumed
    yield "", FreezeDeploys(actor=SRE, reason="the database moves tonight")
    yield "", ThawDeploys(actor=SRE, reason="it has moved")
    yield "", RegisterProject(actor=MIRA, project=_registered(), pins=PINS)
    yield "policy", RegisterProject(actor=OTTO, project=_by_two(), pins=PINS, propose=True)
    yield "", ConfirmRegistration(actor=MIRA, project=PROJECT, change=digest("proposal"))


def _of_the_registry() -> Iterator[Named]:
    published = release(
        "auth-system",
        "2.0.0-rc.1",
        requires={"notifications-system": ">=0.3,<0.5"},
        breaking=("sessions end at midnight",),
        required=True,
    )
    yield "", ReleasePublished(release=published, revision=7, change="major")
    yield "signed", ReleasePublished(release=published, revision=7, change="major")
    withdrawn = published.model_copy(update={"withdrawn": "it leaks sessions"})
    yield "", ReleaseWithdrawn(release=withdrawn, revision=8)
    yield "", ProjectRegistered(project=_registered(), revision=3)
    words = (Word(by=MIRA.id, at=NOON), Word(by=SRE.id, role="sre", at=NOON))
    yield "policy", ProjectRegistered(project=_by_two(), revision=4, changed_by=words)
    proposal = Proposal(
        digest=digest("proposal"),
        project=_by_two(),
        base=3,
        changes=("approvers", "policy"),
        proposed=Word(by=OTTO.id, at=NOON),
        words=words[:1],
        needed=2,
    )
    yield "", RegistrationProposed(proposal=proposal)
    notification = Notification(
        project=PROJECT,
        system="auth-system",
        version="1.3.0",
        pinned="1.2.0",
        change="minor",
        what_changed=("1.3.0: users have a status", "1.2.1: fewer mails"),
        migration_required=True,
        required=True,
        breaking=("sessions end at midnight",),
        supersedes=("1.2.1",),
        notified_at=NOON,
        signed=True,
    )
    yield "signed", NotificationReady(notification=notification, revision=4)
    yield "", NotificationReady(notification=notification, revision=4)
    closed = notification.model_copy(update={"state": "withdrawn", "reason": "it leaks sessions"})
    yield "", NotificationClosed(notification=closed, revision=5)
    let_go = ReleaseVersionMap(actor=MIRA, project=PROJECT, run_id="run-1b9d6bcd4f21", fence=12)
    yield "", let_go
    held = World().truth.model_copy(update={"revision": 5, "held_by": "run-1b9d6bcd4f21"})
    yield "", VersionMapHeld(version_map=held)
    yield "fenced", VersionMapHeld(version_map=held, fence=12)
    yield "", VersionMapReleased(version_map=held.model_copy(update={"revision": 6, "held_by": None}))
    yield "", refused(let_go)


def _of_the_audit_log() -> Iterator[Named]:
    """One decision and one refused try, chained."""
    decided: dict[str, Any] = {"at": NOON, "role": "maintainer", "what": "ApproveCandidate"}
    decided |= {"subject": PROJECT, "project": PROJECT, "run": "run-1b9d6bcd4f21", "log": "planner"}
    first = AuditEntry(
        **decided,
        who=MIRA.id,
        origin="http 192.0.2.7",
        message="approve-0001",
        digest=digest("candidate"),
        policy=digest("policy"),
        details=(AuditDetail(name="remark", value="the staging app looks right"),),
        verdict="accepted",
        seq=1,
        previous=NO_ENTRY,
    )
    why = AuditRefusal(kind="forbidden", reason="eve may not decide for Project acme-portal", field="actor")
    refused_try = AuditEntry(
        **decided,
        who="eve@other.example",
        origin="upgrades.run.commands.v1/2/17",
        verdict="refused",
        refusals=(why,),
        seq=2,
        previous=first.content_digest(),
    )
    head = AuditHead(
        log="planner",
        seq=2,
        hash=refused_try.content_digest(),
        at=NOON.isoformat(),
        kid="planner",
        signature="0" * 128,
    )
    yield "", AuditRecorded(entries=(first, refused_try), head=head)


def _of_workers() -> Iterator[Named]:
    """Verdicts of no, and both ways to stop a stage."""
    world = World()
    run_id = world.tell(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None})).id
    command = world.stage_command(run_id)
    assert command is not None
    conflict = Finding(
        kind="conflict",
        subject="systems/auth-system/signin.py",
        detail="both sides changed lines 12 to 19",
        cure=f"resolve it on the branch upgradepath/{run_id}, push, and: upgradepath run continue {run_id}",
    )
    result = CheckResult(
        name="sign-in-page",
        kind="http",
        verdict="failed",
        detail="500 instead of 200",
        duration_ms=31,
        log=digest("log"),
    )
    failed = Failed(
        reason="one file conflicts",
        findings=(conflict,),
        results=(result,),
        touched_production=True,
        backup=digest("backup"),
    )
    yield "", at_work(command, NOON)
    yield "failed", world.result(command, failed)
    errored = Errored(reason="no route to host", touched_production=True, backup=digest("backup"))
    yield "errored", world.result(command, errored)
    gone_at = NOON + timedelta(days=30, hours=1)
    yield (
        "",
        BackupDeleted(
            run_id=run_id,
            project_id=command.project_id,
            backup=digest("backup"),
            made_at=NOON,
            deleted_at=gone_at,
            kept_days=30,
        ),
    )
    yield from _stopped()


def _stopped() -> Iterator[Named]:
    for steps in (0, 4):
        world = World()
        run_id = world.tell(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None})).id
        on: dict[str, Any] = {"actor": MIRA, "project": PROJECT, "run_id": run_id}
        for step in range(steps):
            command = world.stage_command(run_id)
            assert command is not None
            world.tell(world.result(command))
            if step == 0:
                world.tell(StartRun(**on, plan=world.run(run_id).plan))
        world.tell(CancelRun(**on, reason="planned for the wrong Project"))
        yield from (("", message) for message in world.sent if type(message).__name__.startswith("Cancel"))


def _registered() -> Project:
    """A registration with a check of every kind."""
    plain = project("roll-back").model_dump(mode="json", by_alias=True)
    definition = plain["definition"]
    definition["staging"] = {"data": "seed", "seed": "tests/seed.sql"}
    definition["checks"]["validate"] |= {
        "unit-tests": {"kind": "command", "run": ["python", "-m", "unittest"], "deadline_s": 30},
        "users-kept": {"kind": "sql", "query": "select count(*) from users", "expect": "3"},
        "quiet-log": {"kind": "log", "absent": ["Traceback", "ERROR"]},
        "wrong-password": {"kind": "http", "path": "/signin", "method": "POST", "body": "a=b", "status": 403},
    }
    return Project.model_validate(plain)


def _by_two() -> Project:
    """A registration that needs two approvers of three, with a list for every act."""
    policy = Policy(
        approvals=2,
        sign_off_by_others=True,
        emergency=False,
        start=(OTTO.id,),
        sign_off=(MIRA.id, OTTO.id),
        approve=(MIRA.id, "olga@acme.example"),
        roll_back=(MIRA.id, OTTO.id),
        change=(MIRA.id, "olga@acme.example"),
        weaken_masks=(MIRA.id,),
    )
    approvers = (MIRA.id, OTTO.id, "olga@acme.example")
    return _registered().model_copy(update={"approvers": approvers, "policy": policy})


if __name__ == "__main__":
    print("\n".join(write()))
