"""What would let a Run that waits go on: commands that are accepted as they stand."""

from services.planner.run import Run
from shared.contracts.stages import Errored, Failed


def cures(run: Run, outcome: Failed | Errored) -> tuple[str, ...]:
    """What the worker advises, and what may be done anyway."""
    return tuple(dict.fromkeys((*(finding.cure for finding in outcome.findings), *ways_on(run))))


def ways_on(run: Run) -> tuple[str, ...]:
    """What may be done about the stage at which it stands."""
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


def resume(run: Run) -> str:
    """An SRE's own way on."""
    return f"upgradepath replay resume {run.id} --reason …"
