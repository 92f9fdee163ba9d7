"""One function per message: load, ask the domain, save."""

from collections.abc import Collection
from functools import partial

from services.planner import choices, deadlines, domain, recovery, undoing
from services.planner.approvals import reconsidered, ruled, rules_for
from services.planner.backups import without_backup
from services.planner.masking import accept_masks, accepting
from services.planner.recovery import FleetState
from services.planner.run import Decision, Run
from services.planner.stages import worker_of
from services.planner.store import PlannerTransaction
from shared.contracts.freezes import Freeze, FreezeDeploys, ThawDeploys
from shared.contracts.projects import Project, ProjectRegistered
from shared.contracts.refusals import CommandRefused
from shared.contracts.releases import ReleasePublished, ReleaseWithdrawn
from shared.contracts.runs import (
    AcceptMasks,
    ApproveCandidate,
    CancelRun,
    ContinueRun,
    RejectCandidate,
    RequestPlan,
    ResumeRun,
    RetryStage,
    RollBackRun,
    RunView,
    SignOff,
    StartRun,
)
from shared.contracts.stages import BackupDeleted, StageBegun, StageFinished
from shared.contracts.values import Actor, Message
from shared.contracts.version_maps import (
    HoldVersionMap,
    RecordVersionMap,
    ReleaseVersionMap,
    VersionMap,
    VersionMapHeld,
    VersionMapRecorded,
    VersionMapReleased,
)
from shared.deciding import policy_digest, rules_digest
from shared.errors import conflict, forbidden
from shared.identity.proofs import ProofRefused
from shared.ids import derived_id, run_id
from shared.messaging.inbox import Handler

OnRun = (
    StartRun
    | AcceptMasks
    | ContinueRun
    | RetryStage
    | SignOff
    | ApproveCandidate
    | RejectCandidate
    | CancelRun
    | RollBackRun
    | ResumeRun
)

_MAP_COMMANDS = frozenset(
    command.type_name() for command in (HoldVersionMap, RecordVersionMap, ReleaseVersionMap)
)
"""What the planner asks of the registry: a refusal of anything else is no answer to it."""


async def request_plan(command: RequestPlan, tx: PlannerTransaction, pools: Collection[str] = ()) -> RunView:
    _authorise(command.actor, command.project)
    project, version_map = await tx.registration(command.project)
    tx.under_policy(policy_digest(project))
    _must_be_pool(project, pools)
    assert tx.cause is not None
    opened = choices.request_plan(
        command,
        run_id(tx.cause.source, tx.cause.id),
        project,
        version_map,
        await tx.releases(),
        tx.now,
        await tx.next_fence(project.id),
        masks=await tx.accepted_masks(project),
    )
    await tx.save(None, opened)
    return opened.run.view()


async def on_run_command(command: OnRun, tx: PlannerTransaction) -> RunView:
    """Every command about a Run that is there."""
    _authorise(command.actor, command.project)
    run = await tx.run(command.run_id, command.project)
    present, _ = await tx.registration(command.project)
    counts = ruled(run, present)
    tx.under_policy(rules_digest(rules_for(counts)))
    decision = await _decide(counts, command, tx)
    await tx.save(run, decision)
    return decision.run.view()


async def _decide(run: Run, command: OnRun, tx: PlannerTransaction) -> Decision:
    now, fence = tx.now, await tx.next_fence(run.project)
    match command:
        case StartRun():
            _, version_map = await tx.registration(run.project)
            active = await tx.active_run(run.project)
            run = accepting(run, command.actor, await tx.accepted_masks(run.registration), now)
            return choices.start(run, command, version_map.pins, active, await tx.releases(), now, fence)
        case AcceptMasks():
            return accept_masks(run, command, now)
        case ContinueRun():
            return choices.continue_(run, command, now, fence)
        case RetryStage():
            return choices.retry(run, command.actor, now, fence, await _freeze(run, tx))
        case SignOff():
            return choices.sign_off(run, command, now, fence)
        case ApproveCandidate():
            return choices.approve(run, command, await tx.releases(), now, fence, await _freeze(run, tx))
        case RejectCandidate():
            return undoing.reject(run, command, now, fence)
        case CancelRun():
            return undoing.cancel(run, command, now, fence)
        case RollBackRun():
            _, version_map = await tx.registration(run.project)
            active = await tx.active_run(run.project)
            return undoing.roll_back(run, command, version_map, active, now, fence)
        case ResumeRun():
            _, version_map = await tx.registration(run.project)
            return recovery.resume(run, command, version_map, now, fence, await _freeze(run, tx))


async def _freeze(run: Run, tx: PlannerTransaction) -> Freeze | None:
    """What forbids a deploy to start; asked only where one might."""
    return (await tx.fleet()).freeze if run.stage in {"check-workflows", "prove-backup", "deploy"} else None


async def on_fleet_command(
    command: FreezeDeploys | ThawDeploys, tx: PlannerTransaction, pools: Collection[str] = ()
) -> FleetState:
    """What concerns every Project."""
    state = await tx.fleet()
    match command:
        case FreezeDeploys():
            changed, sends = recovery.freeze(state, command, tx.now, pools)
        case ThawDeploys():
            changed, sends = recovery.thaw(state, command, tx.now, pools)
    await tx.save_fleet(changed, sends)
    return changed


async def on_stage_finished(result: StageFinished, tx: PlannerTransaction) -> None:
    run = await tx.run(result.run_id, result.project_id)
    _must_be_worker(run, result, tx)
    releases = await tx.releases() if result.stage == "review" else {}
    fence = await tx.next_fence(run.project)
    await tx.save(run, domain.advance(run, result, tx.now, fence, releases))


async def on_stage_begun(word: StageBegun, tx: PlannerTransaction) -> None:
    run = await tx.run(word.run_id, word.project_id)
    _must_be_worker(run, word, tx)
    await tx.save(run, deadlines.on_begun(run, word, tx.now))


async def on_backup_deleted(word: BackupDeleted, tx: PlannerTransaction) -> None:
    run = await tx.run(word.run_id, word.project_id)
    _must_be_worker(run, word, tx)
    await tx.save(run, without_backup(run, word))


async def on_release(event: ReleasePublished | ReleaseWithdrawn, tx: PlannerTransaction) -> None:
    await tx.keep_release(event.release, event.revision)


async def on_project_registered(event: ProjectRegistered, tx: PlannerTransaction) -> None:
    await tx.keep_project(event.project, event.revision)
    active = await tx.active_run(event.project.id)
    present = (await tx.known_project(event.project.id)).project
    if active is None or present is None:
        return
    run = await tx.run(active, event.project.id)
    await tx.save(run, reconsidered(run, present))


async def on_version_map(
    event: VersionMapRecorded | VersionMapHeld | VersionMapReleased, tx: PlannerTransaction
) -> None:
    project = event.version_map.project
    if not await tx.keep_map(event.version_map):
        return  # old news
    active = await tx.active_run(project)
    if active is None:
        return
    run = await tx.run(active, project)
    await tx.save(run, await _on_map(run, event.version_map, tx))


async def _on_map(run: Run, version_map: VersionMap, tx: PlannerTransaction) -> Decision:
    fence = await tx.next_fence(run.project)
    if version_map.held_by is not None:
        present, _ = await tx.registration(run.project)
        run = ruled(run, present)
        return domain.on_map_held(run, version_map, tx.now, fence, await _freeze(run, tx))
    return domain.on_map_let_go(run, version_map, tx.now, fence)


async def on_refused(event: CommandRefused, tx: PlannerTransaction) -> None:
    """The registry refused a command; it is ours if a started Run waits for just that answer."""
    if event.command not in _MAP_COMMANDS:
        return
    active = await tx.active_run(event.subject)
    if active is None:
        return
    run = await tx.run(active, event.subject)
    if event.command_id != derived_id(event.command, f"{run.id}/{run.fence}"):
        return
    await tx.save(run, domain.on_map_refused(run, event, tx.now, await tx.next_fence(run.project)))


async def on_timer(run_id: str, project: str, tx: PlannerTransaction) -> None:
    """A Run's timer has come."""
    run = await tx.run(run_id, project)
    present, _ = await tx.registration(project)
    await tx.save(
        run,
        domain.on_timer(ruled(run, present), tx.now, await tx.next_fence(project), await _freeze(run, tx)),
    )


def _must_be_worker(
    run: Run, answer: StageFinished | StageBegun | BackupDeleted, tx: PlannerTransaction
) -> None:
    """Raises `ProofRefused` unless that worker answers to which the stage was sent."""
    worker = worker_of(run, answer.stage)
    proven_by = tx.cause.proven_by if tx.cause else None
    if proven_by != worker:
        raise ProofRefused(f"{answer.stage} of {run.id} is for {worker} to answer, and not for {proven_by}")


def _must_be_pool(project: Project, pools: Collection[str]) -> None:
    """A command to a topic that nobody has made would keep everything that is sent after it waiting."""
    pool = project.definition.pool
    if pool is not None and pool not in pools:
        raise conflict(
            f"there is no worker pool {pool}, which {project.id} names",
            field="pool",
            value=pool,
            cure=f"an SRE runs `upgradepath topics create --pool {pool}` and adds it to the planner's"
            " UPGRADES_POOLS; or name another pool in upgradepath.toml",
        )


def _authorise(actor: Actor, project: str) -> None:
    if not actor.may_act_for(project):
        raise forbidden(
            f"{actor.id} ({actor.role}) may not decide for Project {project}",
            value=actor.id,
            cure="a maintainer of the Project may",
        )


def handlers(pools: Collection[str]) -> dict[type[Message], Handler]:
    """The planner's handlers in a system with these worker pools."""
    return {
        **HANDLERS,
        RequestPlan: partial(request_plan, pools=pools),
        FreezeDeploys: partial(on_fleet_command, pools=pools),
        ThawDeploys: partial(on_fleet_command, pools=pools),
    }


HANDLERS: dict[type[Message], Handler] = {
    RequestPlan: request_plan,
    **dict.fromkeys(
        (
            StartRun,
            AcceptMasks,
            ContinueRun,
            RetryStage,
            SignOff,
            ApproveCandidate,
            RejectCandidate,
            CancelRun,
            RollBackRun,
            ResumeRun,
        ),
        on_run_command,
    ),
    StageBegun: on_stage_begun,
    StageFinished: on_stage_finished,
    BackupDeleted: on_backup_deleted,
    ReleasePublished: on_release,
    ReleaseWithdrawn: on_release,
    ProjectRegistered: on_project_registered,
    VersionMapRecorded: on_version_map,
    VersionMapHeld: on_version_map,
    VersionMapReleased: on_version_map,
    CommandRefused: on_refused,
    FreezeDeploys: on_fleet_command,
    ThawDeploys: on_fleet_command,
}
