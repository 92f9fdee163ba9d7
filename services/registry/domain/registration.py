"""Whether a Project may be registered like this."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from shared.contracts.folding import folded
from shared.contracts.projects import Environment, Project
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.contracts.version_maps import Pins
from shared.deciding import impossible
from shared.project_file import faults
from shared.repository_urls import BadRepository, RepositoryRules, read_repository
from shared.versions import newest_first, satisfies

Releases = Mapping[str, Mapping[str, Release]]
"""The releases by System and version, withdrawn ones among them."""


def unfit(project: Project, rules: RepositoryRules) -> tuple[Refusal, ...]:
    """What is wrong with a Project as such; `rules` say which repositories are taken."""
    return (
        *_unfit(project),
        *_unfit_repository(project.repository, rules),
        *_unfit_secrets(project),
        *impossible(project),
        *(each.with_(field=f"project.definition.{each.field}") for each in faults(project.definition)),
    )


def taken_repository() -> Refusal:
    """The refusal of a repository that another Project has. It does not say which."""
    return _refusal(
        "another Project has this repository, and a repository belongs to one Project",
        "project.repository",
        None,
        "register your own repository; if this one is yours, ask an SRE to move the other Project",
        "conflict",
    )


def unfit_pins(pins: Pins, releases: Releases) -> tuple[Refusal, ...]:
    """What is wrong with a Project's first pins: unknown versions, constraints that they do not satisfy."""
    return folded([*_unpublished(pins, releases), *_unsatisfied(pins, releases)])


def moved_pins(project: str, pins: Pins, recorded: Pins) -> tuple[Refusal, ...]:
    """Refusals of pins that a registration would change."""
    return tuple(
        _refusal(
            f"{system} is {recorded.get(system, 'not')} pinned, and pins change by a Run only",
            f"pins.{system}",
            pins.get(system),
            f"register with {recorded[system]} and request a plan for the change"
            if system in recorded
            else f"leave {system} out, and add it by a Run: upgradepath plan create {project} --add {system}",
            "conflict",
        )
        for system in sorted({*pins, *recorded})
        if pins.get(system) != recorded.get(system)
    )


def _unfit(project: Project) -> Iterator[Refusal]:
    definition = project.definition
    if definition.id != project.id:
        yield _refusal(
            f"upgradepath.toml is of {definition.id}, not of {project.id}", "project.definition.id",
            definition.id, f"register it as {definition.id}, or correct `id` in upgradepath.toml",
        )  # fmt: skip
    if not project.approvers or any(not approver.strip() for approver in project.approvers):
        yield _refusal(
            "somebody must be able to approve, and an approver has a name", "project.approvers", None,
            "name at least one approver by the id in their token",
        )  # fmt: skip
    environments = definition.environments
    if environments.staging.database == environments.production.database:
        yield _refusal(
            "staging would work on production's database", "project.definition.environments.staging.database",
            environments.staging.database, "give staging a secret of its own",
        )  # fmt: skip
    branch = environments.production.branch
    if branch.startswith("upgradepath/"):
        yield _refusal(
            "branches under upgradepath/ belong to Runs", "project.definition.environments.production.branch",
            branch, "name the branch that production runs from, for instance main",
        )  # fmt: skip


def _unfit_repository(repository: str, rules: RepositoryRules) -> Iterator[Refusal]:
    try:
        read_repository(repository, rules)
    except BadRepository as error:
        # Its value is never repeated: a refusal is kept and shown, and a password may be in it.
        yield _refusal(error.reason, "project.repository", None, f"name what `git clone` takes: {error.cure}")


def _unfit_secrets(project: Project) -> Iterator[Refusal]:
    """Names mean this Project's own secrets; beginning with its own word, they also read so."""
    environments = project.definition.environments
    own = project.id.split("-")[0]
    production = environments.production.database
    named = [
        *_named("environments.production", environments.production),
        *_named("environments.staging", environments.staging),
    ]
    if project.definition.credential is not None:
        named.append(("credential", project.definition.credential))
    for place, text in named:
        field, name = f"project.definition.{place}", text.removeprefix("secret:")
        if name.split("-")[0] != own:
            yield _refusal(
                f"{text} does not begin with {own}, the first word of {project.id}: it reads as another's",
                field, text, f"call it secret:{own}-…, and keep its value under {project.id}",
            )  # fmt: skip
        if place.startswith("environments.staging.variables") and text == production:
            yield _refusal(
                "staging never gets production's database", field, text, "give staging a secret of its own"
            )


def _named(place: str, environment: Environment) -> Iterator[tuple[str, str]]:
    yield f"{place}.database", environment.database
    for variable, text in environment.variables.items():
        if text.startswith("secret:"):
            yield f"{place}.variables.{variable}", text


def _unpublished(pins: Pins, releases: Releases) -> Iterator[Refusal]:
    for system, version in pins.items():
        known = releases.get(system, {})
        if version in known:
            continue
        if known:
            reason, cure = f"{system} {version} is not published", f"published are {_listed(known)}"
        else:
            reason, cure = f"nothing of {system} is published", "correct its name, or publish it first"
        yield _refusal(reason, f"pins.{system}", version, cure, "not-found")


def _unsatisfied(pins: Pins, releases: Releases) -> Iterator[Refusal]:
    for system, version in pins.items():
        release = releases.get(system, {}).get(version)
        for other, constraint in release.requires.items() if release else ():
            pinned = pins.get(other)
            if pinned is None:
                yield _refusal(
                    f"{system} {version} requires {other} {constraint}, which is not pinned",
                    f"pins.{other}", None, f"pin {other} {constraint} too",
                )  # fmt: skip
            elif not satisfies(pinned, constraint):
                yield _refusal(
                    f"{system} {version} requires {other} {constraint}, but {pinned} is pinned",
                    f"pins.{other}", pinned, f"pin a version of {other} that is {constraint}",
                )  # fmt: skip


def _listed(versions: Iterable[str]) -> str:
    ranked = newest_first(versions)
    return ", ".join(ranked[:5]) + (" and older ones" if len(ranked) > 5 else "")


def _refusal(
    reason: str,
    field: str,
    value: str | None,
    cure: str,
    kind: Literal["invalid", "not-found", "conflict"] = "invalid",
) -> Refusal:
    return Refusal(kind=kind, reason=reason, field=field, value=value, cure=cure)
