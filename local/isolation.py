"""How commands of Projects run on this machine, in a sentence."""

from shared.isolation.choosing import RunnerSettings, choose, why_none


def isolation_here() -> str:
    """`isolated by bubblewrap`, or without, and why. Blocks."""
    settings = RunnerSettings()
    runner = choose(settings)
    if runner.name != "none":
        return f"isolated by {runner.name}"
    reason = "UPGRADES_RUNNER=none" if settings.runner == "none" else why_none(settings)
    return f"WITHOUT isolation, with the rights of this user ({reason})"
