"""Constraints between Systems, and how a Project goes on that an upgrade would break one of."""

from collections.abc import Iterable, Mapping

from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.contracts.version_maps import Pins
from shared.versions import newest_first, precedence, satisfies

_SHOWN = 3
Releases = Mapping[tuple[str, str], Release]
"""Every release that the planner knows, by (System, version)."""


def is_newer(version: str, than: str) -> bool:
    return precedence(version) > precedence(than)


def unmet(pins: Pins, after: Pins, releases: Releases) -> Iterable[Refusal]:
    """Every constraint between Systems that the pins `after` the upgrade would break."""
    for system, version in after.items():
        release = releases.get((system, version))
        for other, constraint in (release.requires if release else {}).items():
            found = after.get(other)
            if found is not None and satisfies(found, constraint):
                continue
            have = f"{other} {found}" if found else f"no {other}"
            cure = f"plan {other} together with it, at a version that is {constraint}"
            if found is None:
                cure = f"a Run adds no System: {_without(system, other, pins[system], releases)}"
            yield Refusal(
                kind="conflict",
                reason=f"{system} {version} requires {other} {constraint}, and there would be {have}",
                field=f"systems.{other}",
                value=found,
                cure=cure,
            )


def _without(system: str, other: str, pinned: str, releases: Releases) -> str:
    """How a Project goes on that does not have the other System, and gets it by no Run."""
    fit = [
        release.version
        for (name, _), release in releases.items()
        if name == system
        and release.withdrawn is None
        and other not in release.requires
        and is_newer(release.version, pinned)
        and precedence(release.version).prerelease is None
    ]
    if not fit:
        return f"ask the Library for a version of {system} that does not require {other}"
    return (
        f"choose a version of {system} that does not require {other}: {', '.join(newest_first(fit)[:_SHOWN])}"
    )
