"""What people may decide against a Run: reject its candidate, cancel it, roll it back."""

from datetime import datetime

from services.planner.approvals import must_be_allowed, rules_for
from services.planner.choices import awaits_approval, wrong_state
from services.planner.domain import begin_roll_back
from services.planner.run import Decision, Run
from services.planner.stages import cancel_command
from shared.contracts.runs import CancelRun, RejectCandidate, RollBackRun
from shared.contracts.values import RunId
from shared.contracts.version_maps import VersionMap
from shared.deciding import may
from shared.errors import Reject, conflict


def reject(run: Run, command: RejectCandidate, now: datetime, fence: int) -> Decision:
    """Not this candidate: undo what was prepared. Who asked for it may change their mind."""
    if refusal := may(rules_for(run), "approve", command.actor):
        raise Reject(refusal)
    awaits_approval(run, "reject")
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
    """Undo the Run, at any stage, and also after its end as long as nothing has followed it.

    Before production has seen anything of it, every maintainer may.
    """
    if run.deploy_began or run.recorded or command.restore_backup:
        must_be_allowed(run, "roll_back", command.actor)
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
