"""Which Systems move in one Run, are added or removed: from what to what, of what is published. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from services.planner.constraints import Releases, by_system, is_newer, unmet
from services.planner.together import Asked
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.contracts.tasks import Upgrade
from shared.contracts.version_maps import Pins
from shared.errors import Reject, invalid
from shared.versions import newest_first, precedence

_CHOICES_SHOWN = 100
Kind = Literal["invalid", "not-found", "conflict"]


def choose_upgrades(asked: Asked, pins: Pins, releases: Releases) -> tuple[tuple[Upgrade, ...], Pins]:
    """The upgrades in the order in which they are applied, and the pins after them.

    Raises `Reject` with every reason why these Systems cannot move, be added, or be removed like this.
    Removed ones come last.
    """
    if not asked.systems and not asked.add and not asked.remove:
        cure = "upgradepath plan create PROJECT SYSTEM, or --add SYSTEM, or --remove SYSTEM"
        raise invalid("the request names no System", field="systems", cure=cure)
    found: dict[str, Release | Refusal] = {}
    of_systems = by_system(releases, {*asked.systems, *asked.add, *asked.remove})
    pinned = ", ".join(sorted(pins)[:_CHOICES_SHOWN])
    for system, wanted in asked.systems.items():
        choice = _Choice(asked.project, system, wanted, f"systems.{system}", of_systems.get(system, {}))
        found[system] = _moved(choice, pins.get(system), pinned)
    for system, wanted in asked.add.items():
        choice = _Choice(asked.project, system, wanted, f"add.{system}", of_systems.get(system, {}))
        if not isinstance(found.get(system), Refusal):
            found[system] = _added(choice, pins.get(system))
    gone: dict[str, Release | Refusal] = {}
    for system in dict.fromkeys(asked.remove):
        choice = _Choice(asked.project, system, None, f"remove.{system}", of_systems.get(system, {}))
        gone[system] = _removed(choice, pins.get(system), pinned, moves=system in found)
    refusals = [each for each in (*found.values(), *gone.values()) if isinstance(each, Refusal)]
    targets = {system: each for system, each in found.items() if isinstance(each, Release)}
    kept = {system: version for system, version in pins.items() if system not in gone}
    after = {**kept, **{system: target.version for system, target in targets.items()}}
    refusals += [*unmet(asked, pins, after, releases)] if not refusals else []
    if not after and not refusals:
        refusals.append(_nothing_left(asked))
    if refusals:
        raise Reject(*refusals)
    upgrades = {
        system: _upgrade(releases.get((system, pins.get(system, ""))), target)
        for system, target in targets.items()
    }
    removals = [_upgrade(each, None) for each in gone.values() if isinstance(each, Release)]
    return (*(upgrades[system] for system in _order(targets)), *removals), after


def _nothing_left(asked: Asked) -> Refusal:
    return Refusal(
        kind="invalid",
        reason=f"{asked.project} would pin no System any more",
        field="remove",
        value=", ".join(asked.remove),
        cure="keep one of them, or add another System in the same Run: --add SYSTEM",
    )


def _upgrade(pinned: Release | None, target: Release | None) -> Upgrade:
    """The way from what is `pinned` to `target`: one of them may be nothing."""
    named = target or pinned
    assert named is not None
    return Upgrade(
        system=named.system,
        from_version=pinned.version if pinned else None,
        to_version=target.version if target else None,
        from_package=pinned.package if pinned else None,
        to_package=target.package if target else None,
        from_signature=pinned.signature if pinned else None,
        to_signature=target.signature if target else None,
    )


@dataclass(frozen=True)
class _Choice:
    """One System that was asked for, and its releases that are `known` by their versions."""

    project: str
    system: str
    wanted: str | None
    field: str
    known: Mapping[str, Release]

    def refusal(self, reason: str, cure: str, kind: Kind = "invalid") -> Refusal:
        return Refusal(kind=kind, reason=reason, field=self.field, value=self.wanted, cure=cure)

    def among(self, offered: list[str], nothing: Refusal) -> Release | Refusal:
        """The release that is wanted: of those `offered` the newest stable one, unless one is named."""
        wanted = self.wanted
        if wanted is None:
            stable = [version for version in offered if precedence(version).prerelease is None]
            return self.known[newest_first(stable)[0]] if stable else nothing
        release = self.known.get(wanted)
        if release is None:
            cure = (
                f"choose among: {', '.join(sorted(offered)[:_CHOICES_SHOWN])}"
                if offered
                else "wait until it is published"
            )
            return self.refusal(f"{self.system} {wanted} is not published", cure, "not-found")
        if release.withdrawn is not None:
            reason = f"{self.system} {wanted} was withdrawn: {release.withdrawn}"
            return self.refusal(reason, "choose another version", "conflict")
        return release


def _moved(choice: _Choice, pinned: str | None, choices: str) -> Release | Refusal:
    """The release to move to; `choices` are the pinned Systems."""
    system = choice.system
    if pinned is None:
        there = any(release.withdrawn is None for release in choice.known.values())
        cure = f"add it: upgradepath plan create {choice.project} --add {system}; or choose among: {choices}"
        return choice.refusal(
            f"the Project does not pin {system}", cure if there else f"choose among: {choices}"
        )
    if pinned not in choice.known:
        return choice.refusal(
            f"{system} {pinned}, which is pinned, is not known here yet", "try again soon", "conflict"
        )
    offered = [
        release.version
        for release in choice.known.values()
        if release.withdrawn is None and is_newer(release.version, pinned)
    ]
    nothing = choice.refusal(
        f"nothing newer than {system} {pinned} is published", "nothing is to be done", "conflict"
    )
    target = choice.among(offered, nothing)
    if isinstance(target, Release) and not is_newer(target.version, pinned):
        return choice.refusal(
            f"the Project already pins {system} {pinned}", "choose a newer version", "conflict"
        )
    return target


def _added(choice: _Choice, pinned: str | None) -> Release | Refusal:
    """The release of a System that the Project does not have."""
    system = choice.system
    if pinned is not None:
        cure = f"upgrade it: name {system} among the Systems, and not among those to add"
        return choice.refusal(f"the Project already pins {system} {pinned}", cure, "conflict")
    offered = [release.version for release in choice.known.values() if release.withdrawn is None]
    if not offered:
        cure = f"correct its name, or wait until it is published: upgradepath release list {system}"
        return choice.refusal(f"nothing of {system} is published", cure, "not-found")
    nothing = choice.refusal(
        f"only pre-releases of {system} are published",
        f"name one: --add {system}@{newest_first(offered)[0]}",
        "conflict",
    )
    return choice.among(offered, nothing)


def _removed(choice: _Choice, pinned: str | None, choices: str, *, moves: bool) -> Release | Refusal:
    """The pinned release of a System that leaves the Project; `moves` when the same Run keeps it."""
    system = choice.system
    if pinned is None:
        return choice.refusal(f"the Project does not pin {system}", f"choose among: {choices}")
    if moves:
        cure = f"leave it out of what is upgraded or added, or out of what is removed: {system}"
        return choice.refusal(f"a Run does not both keep and remove {system}", cure)
    if pinned not in choice.known:
        return choice.refusal(
            f"{system} {pinned}, which is pinned, is not known here yet", "try again soon", "conflict"
        )
    return choice.known[pinned]


def _order(targets: Mapping[str, Release]) -> tuple[str, ...]:
    """Required Systems come first; otherwise by name."""
    graph = {
        system: sorted(other for other in targets[system].requires if other in targets)
        for system in sorted(targets)
    }
    try:
        return tuple(TopologicalSorter(graph).static_order())
    except CycleError:
        return tuple(sorted(targets))  # they need each other, and they move together anyway
