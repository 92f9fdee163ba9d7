"""What a Run has asked for and waits for, made from its state alone: asked again, it is the same command."""

from services.planner.approvals import agreement
from services.planner.run import Run
from services.planner.stages import stage_command
from shared.contracts.values import Message
from shared.contracts.version_maps import HoldVersionMap, RecordVersionMap, ReleaseVersionMap


def open_command(run: Run) -> Message | None:
    """The command whose answer the Run awaits, as it was sent; none if it awaits no answer."""
    if run.ended:
        return None
    if run.waits_for_registry:
        return map_command(run, run.fence)
    if run.is_running:
        return stage_command(run, run.stage, run.attempt, run.fence)
    return None


def map_command(run: Run, fence: int) -> HoldVersionMap | RecordVersionMap | ReleaseVersionMap:
    """What a Run needs of the registry next: the map held, then the pins written, or the map let go."""
    undoing = run.status == "rolling-back" or run.stage == "roll-back"
    actor, project = run.last_decider, run.project
    if not run.holds_map:
        pins = run.pins_after if run.recorded else run.pins_before
        return HoldVersionMap(
            actor=actor,
            project=project,
            run_id=run.id,
            fence=fence,
            expected_pins=pins,
            agreement=None if undoing else agreement(run),
        )
    if undoing and not run.recorded:
        return ReleaseVersionMap(actor=actor, project=project, run_id=run.id, fence=fence)
    pins = run.pins_before if undoing else run.pins_after
    return RecordVersionMap(actor=actor, project=project, run_id=run.id, fence=fence, pins=pins)
