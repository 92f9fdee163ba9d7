"""The gate: what a package must keep of what was published before it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from services.registry.domain.declared import (
    configuration,
    defined_names,
    misspelt_masks,
    types_of,
)
from services.registry.domain.history import changed_history, late_migrations, orders_of
from shared.contracts.folding import folded
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.packages.globs import matching
from shared.packages.package import CHANGELOG, MANIFEST, NOTES, SCHEMA, Package
from shared.prisma.blocks import Unreadable
from shared.prisma.mask_words import RULES
from shared.versions import change_type, newest_first, precedence

Change = Literal["patch", "minor", "major", "first"]


@dataclass(frozen=True)
class Published:
    """A Release, and what its package declared that later ones are held to."""

    release: Release
    defaults: Mapping[str, str]
    """The type of every configuration default, by its dotted key."""


@dataclass(frozen=True)
class Library:
    """What was published before, as far as it matters to one System's package."""

    releases: tuple[Published, ...] = ()
    """This System's, withdrawn ones among them: a Project may still carry what they brought."""
    systems: frozenset[str] = frozenset()
    """Every System that has a Release."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """By model, the other System whose newest Release defines it."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """By other System, the digest of its newest Release's package."""
    offered: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By other System, the packages' digests of all Releases that are not withdrawn, by version."""
    carried: frozenset[str] = frozenset()
    """The versions of this System that some Project pins."""


@dataclass(frozen=True)
class Judgement:
    """The package may be published if there is no refusal."""

    change: Change
    refusals: tuple[Refusal, ...]
    late: tuple[Refusal, ...] = ()
    """The refusals that fall if applying the late migrations late makes the same schema."""
    orders: tuple[tuple[str, ...], ...] = ()
    """The package's migrations in each order in which some Project would get them, its own order first."""
    advice: tuple[Refusal, ...] = ()
    """A publisher should know it, though it stops no publish."""


def misnamed(package: Package, system: str, version: str) -> tuple[Refusal, ...]:
    """Refusals of a package that is not what the command says it is."""
    said = {"name": (package.system, system), "version": (package.manifest.version, version)}
    return tuple(
        Refusal(
            kind="invalid",
            reason=f"the package's {key} is {inside}, the command says {asked}",
            field=f"{MANIFEST}: {key}",
            value=inside,
            cure=f"publish it as {inside}, or write {asked} into {MANIFEST} and pack it again",
        )
        for key, (inside, asked) in said.items()
        if inside != asked
    )


def judge(package: Package, library: Library) -> Judgement:
    """Everything for which this package would be refused now, and how much it changes.

    What was withdrawn and is pinned by nobody binds nobody: the next Release may correct it.
    """
    # PostgreSQL's parser takes a tenth of the registry's memory: it comes with the first package.
    from services.registry.domain.advice import advice_beside, advice_on
    from services.registry.domain.steps import unsafe_steps

    earlier = _earlier(package.manifest.version, library)
    standing = [one for one in earlier if one.withdrawn is None or one.version in library.carried]
    before = standing[0] if standing else None
    stable = next((one for one in standing if not precedence(one.version).prerelease), None)
    change: Change = "first" if stable is None else change_type(stable.version, package.manifest.version)
    refusals = (
        *_order(package.manifest.version, library),
        *_breaking(package, change, stable),
        *_changelog(package, earlier),
        *changed_history(package, before, stable if change == "patch" else None),
        *unsafe_steps(package, before),
        *_defaults(package, library, before),
        *_requires(package, library),
        *_overwrite(package),
        *_models(package, library),
    )
    # A script that cannot be read is told by whoever reads it, in the same words.
    late = late_migrations(package, before)
    orders = orders_of(package, standing) if late else ()
    known = (one.defaults for one in library.releases if before and one.release.version == before.version)
    beside = advice_beside(package, next(known, {}), library.offered)
    # What nobody has published at all is refused for that.
    advice = (*advice_on(package, before), *(beside if not refusals else ()))
    return Judgement(change, folded(dict.fromkeys(refusals)), late, orders, advice)


def _earlier(version: str, library: Library) -> list[Release]:
    """This System's releases below `version`, the newest first."""
    below = {
        one.release.version: one.release
        for one in library.releases
        if precedence(one.release.version) < precedence(version)
    }
    return [below[number] for number in newest_first(below)]


def _order(version: str, library: Library) -> Iterator[Refusal]:
    """A version is new, and higher than all others, unless it is a patch of an older minor line."""
    number = precedence(version)
    published = [one.release.version for one in library.releases]
    where = f"{MANIFEST}: version"
    if number.build is not None:
        yield _refusal(
            "a version with build metadata has no order among the others", where, version,
            "leave out what follows the +",
        )  # fmt: skip
    if any(precedence(one) == number for one in published):
        yield _refusal(
            f"{version} is published already, and a Release never changes", where, version,
            "raise the version", kind="conflict",
        )  # fmt: skip
        return
    line = newest_first(one for one in published if precedence(one).to_tuple()[:2] == number.to_tuple()[:2])
    stable = [one for one in published if not precedence(one).prerelease]
    newest = line or newest_first(stable)
    if newest and number < precedence(newest[0]):
        highest = newest_first(published)[0]
        yield _refusal(
            f"{version} is lower than {newest[0]}, which is published", where, version,
            f"choose a version above {highest}, or a patch above the newest one of an older minor line",
            kind="conflict",
        )  # fmt: skip


def _breaking(package: Package, change: Change, stable: Release | None) -> Iterator[Refusal]:
    manifest = package.manifest
    if stable is None:
        return
    may_break = change == "major" or (change == "minor" and precedence(stable.version).major == 0)
    if manifest.breaking and not may_break:
        number = precedence(stable.version)
        cure = number.bump_minor() if number.major == 0 else number.bump_major()
        yield _refusal(
            f"it breaks what is there, but is only a {change} after {stable.version}",
            f"{MANIFEST}: breaking", manifest.version, f"publish it as {cure}, or do not break it",
        )  # fmt: skip
    if change == "major" and not manifest.breaking and not package.migration_notes[manifest.version].strip():
        yield _refusal(
            f"a major version after {stable.version} says nowhere why it is one",
            f"{MANIFEST}: breaking", manifest.version,
            f"list what breaks in `breaking`, or explain it in {NOTES} under {manifest.version}",
        )  # fmt: skip


def _changelog(package: Package, earlier: list[Release]) -> Iterator[Refusal]:
    """Every Project must be able to read what changed since the version that it pins."""
    for release in earlier:
        # What led to a release is told under the release itself.
        if release.version not in package.changelog and not precedence(release.version).prerelease:
            yield _refusal(
                f"{CHANGELOG} has lost the heading of {release.version}, which is published",
                CHANGELOG, release.version, f"add `## {release.version}` again with its text",
            )  # fmt: skip


def _defaults(package: Package, library: Library, before: Release | None) -> Iterator[Refusal]:
    if before is None or package.manifest.breaking:
        return
    defaults = next(one.defaults for one in library.releases if one.release is before)
    for key, kind in types_of(package.manifest.config).items():
        known = defaults.get(key, kind)
        if known != kind:
            yield _refusal(
                f"the default of {key} was of type {known} in {before.version} and is {kind} now",
                f"{MANIFEST}: config.{key}", key,
                "keep its type, or take a new key, or say in `breaking` that it changes",
            )  # fmt: skip


def _requires(package: Package, library: Library) -> Iterator[Refusal]:
    for system in package.manifest.requires:
        if system not in library.systems:
            yield _refusal(
                f"it requires {system}, of which nothing is published", f"{MANIFEST}: requires.{system}",
                system, f"publish {system} first, or correct its name",
                kind="not-found",
            )  # fmt: skip


def _overwrite(package: Package) -> Iterator[Refusal]:
    patterns = package.manifest.files.overwrite
    useful = matching(patterns, package.files)
    for pattern in patterns:
        if pattern not in useful:
            yield _refusal(
                f"{pattern} matches no file under files/", f"{MANIFEST}: files.overwrite", pattern,
                "correct the pattern, or remove it",
            )  # fmt: skip


def _models(package: Package, library: Library) -> Iterator[Refusal]:
    try:
        defines, configures = defined_names(package.schema), configuration(package.schema)
    except Unreadable as error:
        yield _refusal(
            f"line {error.line}: {error.message}", SCHEMA, error.message, "close it with a } of its own line"
        )
        return
    for line, place, word in misspelt_masks(package.schema):
        yield _refusal(
            f"line {line}: {word or 'nothing'} is no mask rule", SCHEMA, place, f"use {', '.join(RULES)}"
        )
    for block in configures:
        yield _refusal(
            f"{block} is the Project's to say",
            SCHEMA,
            block,
            "leave it out; main.prisma of the Project has it",
        )
    for name in defines:
        owner = library.owners.get(name)
        if owner is not None:
            yield _refusal(
                f"{name} is defined by {owner}", SCHEMA, name,
                f"write `/// @extends {owner}` above it to add fields, or give it another name",
                kind="conflict",
            )  # fmt: skip


def _refusal(
    reason: str,
    field: str,
    value: str,
    cure: str,
    *,
    kind: Literal["invalid", "not-found", "conflict"] = "invalid",
) -> Refusal:
    return Refusal(kind=kind, reason=reason, field=field, value=value, cure=cure)
