"""Constraints between Systems, and how a Project goes on that an upgrade would break one of."""

from collections.abc import Container, Iterable

from services.planner.together import Asked, broken, working_command
from services.planner.together import Releases as Releases
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.contracts.version_maps import Pins
from shared.versions import newest_first, precedence

_SHOWN = 3


def is_newer(version: str, than: str) -> bool:
    return precedence(version) > precedence(than)


def by_system(releases: Releases, systems: Container[str]) -> dict[str, dict[str, Release]]:
    """The releases of these Systems by their versions: gone through once, and not once for each System."""
    found: dict[str, dict[str, Release]] = {}
    for (system, version), release in releases.items():
        if system in systems:
            found.setdefault(system, {})[version] = release
    return found


def unmet(asked: Asked, pins: Pins, after: Pins, releases: Releases) -> Iterable[Refusal]:
    """Every constraint between Systems that the pins `after` the upgrade would break."""
    gaps = [*broken(after, releases)]
    command = working_command(asked, pins, after, releases) if gaps else None
    for system, other, constraint in gaps:
        found = after.get(other)
        have = f"{other} {found}" if found else f"no {other}"
        if other in asked.remove:
            cure = f"keep {other}, or remove {system} in the same Run: --remove {system}"
        elif found is not None:
            cure = f"plan {other} together with it, at a version that is {constraint}"
        elif command is not None:
            cure = f"add {other} to the Project in the same Run"
        else:
            cure = (
                f"no {other} that fits can be added, as none is published:"
                f" {_without(system, other, pins.get(system), releases)}"
            )
        yield Refusal(
            kind="conflict",
            reason=f"{system} {after[system]} requires {other} {constraint}, and there would be {have}",
            field=f"systems.{other}",
            value=found,
            cure=cure if command is None else f"{cure}: {command}",
        )


def _without(system: str, other: str, pinned: str | None, releases: Releases) -> str:
    """How a Project goes on that does not have the other System, and cannot get it."""
    fit = [
        release.version
        for (name, _), release in releases.items()
        if name == system
        and release.withdrawn is None
        and other not in release.requires
        and (pinned is None or is_newer(release.version, pinned))
        and precedence(release.version).prerelease is None
    ]
    if not fit:
        return f"ask the Library for a version of {system} that does not require {other}"
    return (
        f"choose a version of {system} that does not require {other}: {', '.join(newest_first(fit)[:_SHOWN])}"
    )
