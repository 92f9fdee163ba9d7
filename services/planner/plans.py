"""What a plan is: which Systems move, whether they may, and what the maintainer should know first."""

from collections.abc import Container, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import get_args

from services.planner.breaking import does_it_break
from services.planner.constraints import Releases as Releases
from services.planner.constraints import is_newer, unmet
from services.planner.risks import risk_of
from services.planner.run import Run
from shared.contracts.candidates import Candidate
from shared.contracts.facts import PlannedMigration, ReviewFacts
from shared.contracts.impact import WayDownMark
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.contracts.runs import Answer, Plan, PlannedUpgrade, Review
from shared.contracts.tasks import Move, Upgrade
from shared.contracts.version_maps import Pins
from shared.errors import Reject
from shared.versions import change_type, newest_first, precedence

_CHOICES_SHOWN = 100


def choose_upgrades(
    systems: Mapping[str, str | None], pins: Pins, releases: Releases
) -> tuple[tuple[Upgrade, ...], Pins]:
    """The upgrades in the order in which they are applied, and the pins after them.

    Raises `Reject` with every reason why these Systems cannot move like this.
    """
    refusals: list[Refusal] = []
    targets: dict[str, Release] = {}
    of_systems = _by_system(releases, systems)
    pinned = ", ".join(sorted(pins)[:_CHOICES_SHOWN])
    for system, wanted in systems.items():
        target = _target(system, wanted, pins, of_systems.get(system, {}), pinned)
        if isinstance(target, Refusal):
            refusals.append(target)
        else:
            targets[system] = target
    after = {**pins, **{system: target.version for system, target in targets.items()}}
    refusals += [*unmet(pins, after, releases)] if not refusals else []
    if refusals:
        raise Reject(*refusals)
    upgrades = {
        system: Upgrade(
            system=system,
            from_version=pins[system],
            to_version=target.version,
            from_package=releases[system, pins[system]].package,
            to_package=target.package,
            from_signature=releases[system, pins[system]].signature,
            to_signature=target.signature,
        )
        for system, target in targets.items()
    }
    return tuple(upgrades[system] for system in _order(targets)), after


def _by_system(releases: Releases, systems: Container[str]) -> dict[str, dict[str, Release]]:
    """The releases of these Systems by their versions: gone through once, and not once for each System."""
    found: dict[str, dict[str, Release]] = {}
    for (system, version), release in releases.items():
        if system in systems:
            found.setdefault(system, {})[version] = release
    return found


def _target(
    system: str, wanted: str | None, pins: Pins, known: Mapping[str, Release], choices: str
) -> Release | Refusal:
    """The release to move to, of those that are `known` of the System; `choices` are the pinned Systems."""

    def refusal(reason: str, cure: str, kind: str = "invalid") -> Refusal:
        return Refusal.model_validate(
            {"kind": kind, "reason": reason, "field": f"systems.{system}", "value": wanted, "cure": cure}
        )

    pinned = pins.get(system)
    if pinned is None:
        return refusal(f"the Project does not pin {system}", f"choose among: {choices}")
    if pinned not in known:
        return refusal(
            f"{system} {pinned}, which is pinned, is not known here yet", "try again soon", "conflict"
        )
    offered = [
        release.version
        for release in known.values()
        if release.withdrawn is None and is_newer(release.version, pinned)
    ]
    if wanted is None:
        stable = [version for version in offered if precedence(version).prerelease is None]
        if not stable:
            return refusal(
                f"nothing newer than {system} {pinned} is published", "nothing is to be done", "conflict"
            )
        wanted = newest_first(stable)[0]
    release = known.get(wanted)
    if release is None:
        cure = f"choose among: {', '.join(sorted(offered))}" if offered else "wait until it is published"
        return refusal(f"{system} {wanted} is not published", cure, "not-found")
    if release.withdrawn is not None:
        return refusal(
            f"{system} {wanted} was withdrawn: {release.withdrawn}", "choose another version", "conflict"
        )
    if not is_newer(wanted, pinned):
        return refusal(f"the Project already pins {system} {pinned}", "choose a newer version", "conflict")
    return release


def _order(targets: Mapping[str, Release]) -> tuple[str, ...]:
    """What others require comes first; otherwise by name."""
    graph = {
        system: sorted(other for other in targets[system].requires if other in targets)
        for system in sorted(targets)
    }
    try:
        return tuple(TopologicalSorter(graph).static_order())
    except CycleError:
        return tuple(sorted(targets))  # they need each other, and they move together anyway


def build_plan(run: Run, facts: ReviewFacts, releases: Releases) -> Plan:
    """The plan: a pure function of what the review found, so that the same again has the same digest."""
    of_systems = _by_system(releases, {upgrade.system for upgrade in run.upgrades})
    passed = {upgrade.system: _passed(upgrade, of_systems[upgrade.system]) for upgrade in run.upgrades}
    irreversible = tuple(migration.folder for migration in facts.migrations if not migration.reversible)
    review = _answers(facts, passed, irreversible)
    risk, risks = risk_of(facts, (*_unsigned(run.upgrades), *_declared(passed)), irreversible)
    return Plan(
        run_id=run.id,
        project=run.project,
        base=facts.head,
        production_schema=facts.production_schema,
        pins_before=run.pins_before,
        pins_after=run.pins_after,
        upgrades=tuple(
            PlannedUpgrade(
                **dict(upgrade.part(Move)),
                signed=upgrade.to_signature is not None,
                change=change_type(upgrade.from_version, upgrade.to_version),
                summary=releases[upgrade.system, upgrade.to_version].summary,
                notes=facts.notes.get(upgrade.system, ()),
            )
            for upgrade in run.upgrades
        ),
        review=review,
        rules=facts.rules,
        files=facts.files,
        config=facts.config,
        migrations=facts.migrations,
        reversibility=_reversibility(facts.migrations),
        irreversible=irreversible,
        risk=risk,
        risks=risks,
        diff=facts.diff,
        left_alone=facts.left_alone,
    )


def _reversibility(migrations: Iterable[PlannedMigration]) -> WayDownMark:
    """The gravest mark. A migration that is not marked is known only to have a way down or none."""
    marks: set[WayDownMark] = {
        migration.way_down.mark if migration.way_down
        else "reversible" if migration.reversible else "point of no return"
        for migration in migrations
    }  # fmt: skip
    return max(marks, key=get_args(WayDownMark).index, default="reversible")


def _passed(upgrade: Upgrade, known: Mapping[str, Release]) -> tuple[Release, ...]:
    """Every release on the way, newest first; the new one included and the pinned one not."""
    on_the_way = (
        release
        for version, release in known.items()
        if is_newer(version, upgrade.from_version) and not is_newer(version, upgrade.to_version)
    )
    # In no other order than theirs, as the plan's digest must not depend on where they came from.
    return tuple(sorted(on_the_way, key=lambda release: precedence(release.version), reverse=True))


def _answers(
    facts: ReviewFacts, passed: Mapping[str, tuple[Release, ...]], irreversible: tuple[str, ...]
) -> Review:
    declared = tuple(_declared(passed))
    rules = tuple(f"{rule.rule} depends on {', '.join(rule.depends_on)}" for rule in facts.rules)
    required = tuple(
        f"{release.system} {release.version} is required by the Systems Library"
        for releases in passed.values()
        for release in releases
        if release.required
    )
    more = (
        *(
            f"{file.path}: edited by the partner and changed by the upgrade"
            for file in facts.files
            if file.partner_edited
        ),
        *(f"{folder}: no way down, so a second pair of eyes" for folder in irreversible),
        *(f"rule {rule.rule}: test it against the change" for rule in facts.rules),
    )
    return Review(
        breaking=does_it_break(declared, facts),
        workflow_rules=Answer(answer="yes" if rules else "no", because=rules),
        more_tests_or_approvals=Answer(answer="yes" if more else "no", because=more),
        required=Answer(answer="required" if required else "optional", because=required),
    )


def _unsigned(upgrades: Iterable[Upgrade]) -> Iterable[str]:
    for upgrade in upgrades:
        if upgrade.to_signature is None:
            yield f"{upgrade.system} {upgrade.to_version} is not signed by the Systems Library"


def _declared(passed: Mapping[str, tuple[Release, ...]]) -> Iterable[str]:
    for releases in passed.values():
        for release in releases:
            yield from (f"{release.system} {release.version}: {sentence}" for sentence in release.breaking)


def build_candidate(run: Run) -> Candidate:
    """What staging has proven, as one value: whatever of it moves makes another digest."""
    assert run.applied is not None
    assert run.migrated is not None
    assert run.plan is not None
    assert run.production_schema is not None
    return Candidate(
        plan=run.plan,
        base=run.applied.base,
        tree=run.migrated.tree,
        commit=run.migrated.commit,
        migrations=tuple((migration.folder, migration.checksum) for migration in run.migrated.migrations),
        checks=tuple(
            sorted(
                (facts.stage, result.name, result.verdict)
                for facts in run.checked
                for result in facts.results
            )
        ),
        packages=tuple(upgrade.to_package for upgrade in run.upgrades),
        production_schema=run.migrated.production_schema,
    )
