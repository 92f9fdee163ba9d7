"""What an SRE may decide: that a Run which is stuck goes on, and that no deploy starts anywhere."""

from collections.abc import Iterable
from datetime import datetime

from services.planner.choices import unproven, wrong_state
from services.planner.domain import ask_registry, begin_deploy, enter, on_map_held, on_map_let_go
from services.planner.masking import COPYING, require_accepted
from services.planner.run import Decision, Run
from services.planner.stages import STAGES, cancel_command
from shared.contracts.freezes import (
    DeploysFrozen,
    DeploysThawed,
    Freeze,
    FreezeDeploys,
    HoldDeploys,
    ThawDeploys,
)
from shared.contracts.run_words import Resumption
from shared.contracts.runs import ResumeRun
from shared.contracts.values import Actor, Contract, Message, StageName
from shared.contracts.version_maps import VersionMap
from shared.errors import forbidden


class FleetState(Contract):
    """Whether deploys are frozen, and how often that has changed."""

    freeze: Freeze | None = None
    revision: int = 0


def resume(
    run: Run, command: ResumeRun, version_map: VersionMap, now: datetime, fence: int, freeze: Freeze | None
) -> Decision:
    """Go on from the present stage or an earlier one behind a new fence: whatever is under way is superseded.

    Once production may have been written only the stage that stands there can go on; the way back is a
    rollback, which undoes what was written.
    """
    _only_sre(command.actor, "resume a Run")
    if run.ended or run.status == "planned":
        raise wrong_state(run, "resume", "nothing of it is under way")
    stage = command.from_stage or run.stage
    _refuse_unreachable(run, stage)
    if stage == "deploy" and run.is_running and freeze is not None:
        raise wrong_state(run, "resume", "deploys are frozen, and one that is under way goes on by itself")
    if stage in COPYING:
        require_accepted(run)
    word = Resumption(by=command.actor.id, at=now, stage=stage, reason=command.reason)
    told = run.with_(resumptions=(*run.resumptions, word))
    if run.waits_for_registry:
        return _answered_or_asked(told, version_map, now, fence, freeze)
    sends = (cancel_command(run),) if run.is_running else ()
    fresh = unproven(told.stopped(now), stage)
    onward = _onward(fresh, stage, now, fence, freeze)
    return Decision(onward.run, (*sends, *onward.sends))


def _onward(run: Run, stage: StageName, now: datetime, fence: int, freeze: Freeze | None) -> Decision:
    if stage == "deploy":
        return begin_deploy(run, now, fence, freeze)
    if stage == "record" and run.holds_map:
        # The registry had refused the pins: a Run that ended without them would hold the map for ever.
        return ask_registry(run, now, fence)
    return enter(run, stage, now, fence)


def _answered_or_asked(
    run: Run, version_map: VersionMap, now: datetime, fence: int, freeze: Freeze | None
) -> Decision:
    """The answer may have been heard of when the Run did not wait for it; else ask anew."""
    heard = on_map_held if version_map.held_by is not None else None
    decision = (
        heard(run, version_map, now, fence, freeze) if heard else on_map_let_go(run, version_map, now, fence)
    )
    return ask_registry(run, now, fence) if decision.run == run else decision


def _refuse_unreachable(run: Run, stage: StageName) -> None:
    if stage == run.stage and not run.waits_for_registry:
        if stage == "deploy" and run.approval is None:
            raise wrong_state(run, "resume", "a deploy needs an approval of its candidate first")
        return
    if run.waits_for_registry:
        if stage != run.stage:
            raise wrong_state(run, "resume", "it waits for the registry: leave out --from to ask again")
        return
    if run.stage not in STAGES or stage not in STAGES or STAGES.index(stage) > STAGES.index(run.stage):
        raise wrong_state(run, f"resume from {stage}", "it has not come to that stage")
    if stage == "review":
        raise wrong_state(run, "resume from review", "its plan is made: ask for a new one instead")
    if run.stage == "record" or (run.stage == "deploy" and run.is_running):
        raise wrong_state(run, f"resume from {stage}", "production may have been written: use roll-back")


def freeze(
    state: FleetState, command: FreezeDeploys, now: datetime, pools: Iterable[str] = ()
) -> tuple[FleetState, tuple[Message, ...]]:
    """No deploy starts from now on. Frozen is frozen: the first word stands."""
    _only_sre(command.actor, "freeze deploys")
    if state.freeze is not None:
        return state, ()
    now_frozen = Freeze(by=command.actor.id, reason=command.reason, since=now)
    revision = state.revision + 1
    frozen = FleetState(freeze=now_frozen, revision=revision)
    return frozen, (DeploysFrozen(freeze=now_frozen, revision=revision), *holds(frozen, (None, *pools)))


def holds(state: FleetState, pools: Iterable[str | None]) -> tuple[HoldDeploys, ...]:
    """What each of these pools' executors are told of the fleet; none are the common ones."""
    return tuple(HoldDeploys(freeze=state.freeze, revision=state.revision, pool=pool) for pool in pools)


def thaw(
    state: FleetState, command: ThawDeploys, now: datetime, pools: Iterable[str] = ()
) -> tuple[FleetState, tuple[Message, ...]]:
    """Deploys may start again; the Runs that wait for it are woken by the timers."""
    _only_sre(command.actor, "thaw deploys")
    if state.freeze is None:
        return state, ()
    thawed = FleetState(revision=state.revision + 1)
    said = DeploysThawed(by=command.actor.id, reason=command.reason, at=now, revision=thawed.revision)
    return thawed, (said, *holds(thawed, (None, *pools)))


def _only_sre(actor: Actor, what: str) -> None:
    if actor.role != "sre":
        raise forbidden(
            f"{actor.id} ({actor.role}) may not {what}", value=actor.role, cure="ask an SRE of the platform"
        )
