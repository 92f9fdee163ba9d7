"""Cures that let a Run that waits go on: commands that are accepted as they stand."""

from services.planner.run import Run
from shared.contracts.stages import Errored, Failed


def cures(run: Run, outcome: Failed | Errored) -> tuple[str, ...]:
    """The worker's advice, and after it the ways on that are open anyway."""
    return tuple(dict.fromkeys((*(finding.cure for finding in outcome.findings), *ways_on(run))))


def ways_on(run: Run) -> tuple[str, ...]:
    """The commands that are open at the stage at which it stands."""
    again, fixed = f"upgradepath run retry {run.id}", f"upgradepath run continue {run.id}"
    match run.stage:
        case "review" | "prepare":
            return (again, way_out(run))
        case "record":
            return (again, _undo(run))
        case "roll-back":
            return (again,)
        case _:
            return (fixed, again, _undo(run))


def way_out(run: Run) -> str:
    """The command that ends it: what may have written production is undone, and not just cancelled."""
    if run.deploy_began or run.recorded:
        return _undo(run)
    return f"upgradepath run cancel {run.id} --reason …"


def _undo(run: Run) -> str:
    return f"upgradepath run roll-back {run.id} --reason …"


def resume(run: Run) -> str:
    """An SRE's own way on."""
    return f"upgradepath replay resume {run.id} --reason …"
