"""The plan that would work where the one that was asked for breaks a constraint. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from shared.contracts.releases import Release
from shared.contracts.version_maps import Pins
from shared.versions import newest_first, precedence, satisfies

Releases = Mapping[tuple[str, str], Release]
"""Every release that the planner knows, by (System, version)."""

_ROUNDS = 20
"""As many Systems one cure brings in; a longer chain is followed refusal by refusal."""


@dataclass(frozen=True)
class Asked:
    """The Systems that a Run shall move, add and remove; a version of none means the newest."""

    systems: Mapping[str, str | None]
    add: Mapping[str, str | None] = field(default_factory=dict)
    project: str = "PROJECT"
    remove: Sequence[str] = ()


def broken(after: Pins, releases: Releases) -> Iterator[tuple[str, str, str]]:
    """Every (System, other System, constraint on it) that the pins `after` do not satisfy."""
    for system, version in after.items():
        release = releases.get((system, version))
        for other, constraint in (release.requires if release else {}).items():
            found = after.get(other)
            if found is None or not satisfies(found, constraint):
                yield system, other, constraint


def working_command(asked: Asked, pins: Pins, after: Pins, releases: Releases) -> str | None:
    """The command that asks for the same and for what that requires besides; none where nothing fits."""
    wanted = dict(after)
    fixed = {system for system, version in {**asked.systems, **asked.add}.items() if version is not None}
    fixed.update(asked.remove)
    for _ in range(_ROUNDS):
        gap = next(broken(wanted, releases), None)
        if gap is None:
            return _command(asked, pins, wanted)
        _, other, _ = gap
        fit = None if other in fixed else _newest_fit(other, pins.get(other), wanted, releases)
        if fit is None or fit == wanted.get(other):
            return None
        wanted[other] = fit
    return None


def _newest_fit(system: str, pinned: str | None, wanted: Pins, releases: Releases) -> str | None:
    """The newest version of a System, no older than the pinned one, that all others are content with."""
    constraints = [
        constraint
        for other, version in wanted.items()
        if (release := releases.get((other, version))) is not None
        for needed, constraint in release.requires.items()
        if needed == system
    ]
    fit = [
        version
        for (name, version), release in releases.items()
        if name == system
        and release.withdrawn is None
        and precedence(version).prerelease is None
        and (pinned is None or precedence(version) > precedence(pinned))
        and all(satisfies(version, constraint) for constraint in constraints)
    ]
    return newest_first(fit)[0] if fit else None


def _command(asked: Asked, pins: Pins, wanted: Pins) -> str:
    moved = {system for system in wanted if wanted[system] != pins.get(system)}
    words = [f"{system}@{wanted[system]}" for system in wanted if system in moved and system in pins]
    words += [f"--remove {system}" for system in asked.remove]
    words += [f"--add {system}@{wanted[system]}" for system in wanted if system not in pins]
    return f"upgradepath plan create {asked.project} {' '.join(words)}"
