"""Which of the Library's Systems a repository has, in which version; what is not certain is asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cli.adoption import bases
from cli.adoption.bases import Base
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.contracts.values import SystemName, Version
from shared.contracts.version_maps import Pins
from shared.packages.package import Package
from shared.versions import newest_first

Published = Mapping[SystemName, Mapping[Version, Release]]
ReadPackage = Callable[[Release], Package]


@dataclass
class Installed:
    """The releases against the files, the packages that are settled, and what is open."""

    found: dict[SystemName, list[Base]] = field(default_factory=dict)
    settled: dict[SystemName, Package] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)


def by_system(releases: Sequence[Release]) -> dict[SystemName, dict[Version, Release]]:
    """The releases by System and version."""
    systems: dict[SystemName, dict[Version, Release]] = {}
    for release in releases:
        systems.setdefault(release.system, {})[release.version] = release
    return dict(sorted(systems.items()))


def installed(
    published: Published, files: bases.Files, pins: Pins, without: Sequence[SystemName], package: ReadPackage
) -> Installed:
    """What lies below each System's own folder; `without` names those that are not installed, on a word."""
    result = Installed()
    absent: dict[SystemName, Package] = {}
    for system, versions in published.items():
        if system in without:
            continue
        if bases.is_there(system, files):
            packages = {version: package(versions[version]) for version in newest_first(versions)}
            result.found[system] = [
                replace(base, signed=versions[base.version].signature is not None)
                for base in bases.candidates(packages.values(), files)
            ]
            version, refused = _settle(system, result.found[system], pins.get(system))
            result.refusals += refused
            if version is not None:
                result.settled[system] = packages[version]
        elif (newest := _newest(versions)) is not None:
            absent[system] = package(newest)
    result.refusals += _elsewhere(published, absent, result.settled, files)
    return result


def _newest(versions: Mapping[Version, Release]) -> Release | None:
    """The newest release that nobody took back: it is enough to find a System in another folder."""
    standing = [version for version in newest_first(versions) if versions[version].withdrawn is None]
    return versions[standing[0]] if standing else None


def _elsewhere(
    published: Published,
    absent: Mapping[SystemName, Package],
    settled: Mapping[SystemName, Package],
    files: bases.Files,
) -> Iterator[Refusal]:
    known = {**absent, **settled}
    digests = {system: bases.digests_of(package) for system, package in known.items()}
    for system, package in absent.items():
        of_others = frozenset().union(*(each for other, each in digests.items() if other != system))
        found = bases.elsewhere(package, files, published.keys(), of_others)
        if found is not None:
            yield refusal(
                "conflict",
                f"{system} is in {found.folder or 'the root'}, where no upgrade would find it",
                found.folder or ".",
                f"{found.moves}; correct what refers to it, commit, push, and adopt again;"
                f" or, if this is no installation of it: --without {system}",
            )


def _settle(
    system: SystemName, found: Sequence[Base], pin: Version | None
) -> tuple[Version | None, list[Refusal]]:
    """The version, once it is certain or confirmed; else why it is not."""
    if pin is not None:
        known = {base.version for base in found}
        if pin in known:
            return pin, []
        cure = f"published are {', '.join(newest_first(known))}"
        return None, [refusal("not-found", f"{system} {pin} is not published", "--pin", cure, pin)]
    sure = bases.certain(found)
    if sure is not None:
        return sure.version, []
    best = found[0]
    if best.exact:
        alike = ", ".join(base.version for base in found if base.exact)
        reason = f"{system}: the files are those of {alike} alike"
    else:
        reason = f"no release is installed as it was published; the most alike is {best}"
    cure = f"say which it is: --pin {system}={best.version}; --dry-run shows every file that drifted"
    return None, [refusal("conflict", reason, f"--pin {system}", cure)]


def strangers(
    pins: Pins, applied: Sequence[str], found: Mapping[SystemName, object], published: Published
) -> Iterator[Refusal]:
    """Pins and migrations that the maintainer names and nobody knows."""
    for system, version in pins.items():
        if system not in found:
            cure = f"{bases.folder_of(system)} is not in the repository: leave the pin out, or install it"
            yield refusal("not-found", f"{system} is not installed", "--pin", cure, f"{system}={version}")
    names = {
        f"{system}/{migration.name}"
        for system in found
        for release in published[system].values()
        for migration in release.migrations
    }
    for name in applied:
        if name not in names:
            cure = "write --applied SYSTEM/MIGRATION with the names that are shown"
            yield refusal("not-found", "no installed System has this migration", "--applied", cure, name)


def refusal(
    kind: Literal["invalid", "not-found", "conflict"],
    reason: str,
    where: str,
    cure: str,
    value: str | None = None,
) -> Refusal:
    """A refusal of the adoption, with the others that are there."""
    return Refusal(kind=kind, reason=reason, field=where, value=value, cure=cure)
