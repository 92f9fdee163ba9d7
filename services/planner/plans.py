"""The Systems that move, as a plan tells them: first what the maintainer should know."""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from services.planner.breaking import does_it_break
from services.planner.constraints import Releases as Releases
from services.planner.constraints import by_system, is_newer
from services.planner.risks import risk_of
from services.planner.run import Run
from shared.contracts.candidates import Candidate
from shared.contracts.facts import Answer, PlannedMigration, Review, ReviewFacts
from shared.contracts.impact import WayDownMark
from shared.contracts.notifications import ChangeType
from shared.contracts.releases import Release
from shared.contracts.runs import Plan, PlannedUpgrade
from shared.contracts.tasks import Move, Upgrade, new_packages
from shared.versions import change_type, precedence


def build_plan(run: Run, facts: ReviewFacts, releases: Releases) -> Plan:
    """The plan: a pure function of what the review found, so that the same again has the same digest."""
    of_systems = by_system(releases, {upgrade.system for upgrade in run.upgrades})
    passed = {upgrade.system: _passed(upgrade, of_systems[upgrade.system]) for upgrade in run.upgrades}
    irreversible = tuple(migration.folder for migration in facts.migrations if not migration.reversible)
    review = _answers(facts, passed, irreversible)
    grave = (*_unsigned(run.upgrades), *_declared(passed))
    known = (*_unsigned_bases(run.upgrades), *_left_behind(run.upgrades))
    risk, risks = risk_of(facts, grave, irreversible, known)
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
                signed=upgrade.to_version is None or upgrade.to_signature is not None,
                from_signed=upgrade.from_package is None or upgrade.from_signature is not None,
                change=_change(upgrade),
                summary=_summary(upgrade, releases),
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
        masks=facts.masks,
        weaker=facts.weaker,
    )


def _change(upgrade: Upgrade) -> ChangeType | Literal["added", "removed"]:
    before, after = upgrade.from_version, upgrade.to_version
    if before is None:
        return "added"
    return "removed" if after is None else change_type(before, after)


def _summary(upgrade: Upgrade, releases: Releases) -> str:
    if upgrade.to_version is None:
        return "Its files and settings go; its tables stay, with its part of the schema"
    return releases[upgrade.system, upgrade.to_version].summary


def _reversibility(migrations: Iterable[PlannedMigration]) -> WayDownMark:
    """The gravest mark. A migration that is not marked is known only to have a way down or none."""
    marks: set[WayDownMark] = {
        migration.way_down.mark if migration.way_down
        else "reversible" if migration.reversible else "point of no return"
        for migration in migrations
    }  # fmt: skip
    return max(marks, key=get_args(WayDownMark).index, default="reversible")


def _passed(upgrade: Upgrade, known: Mapping[str, Release]) -> tuple[Release, ...]:
    """Every release on the way, newest first; the new one included and the pinned one not.

    An added or removed System has none: no version of it is replaced by one that could break anything.
    """
    pinned, target = upgrade.from_version, upgrade.to_version
    if pinned is None or target is None:
        return ()
    on_the_way = (
        release
        for version, release in known.items()
        if is_newer(version, pinned) and not is_newer(version, target)
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


def unsigned(upgrades: Iterable[Upgrade]) -> tuple[str, ...]:
    """The packages of a Run, pinned and new, that no signature proves."""
    packages = [
        (each.system, version, signature)
        for each in upgrades
        for version, signature in (
            (each.from_version, each.from_signature),
            (each.to_version, each.to_signature),
        )
    ]
    return tuple(
        f"{system} {version}"
        for system, version, signature in packages
        if version is not None and signature is None
    )


def _unsigned(upgrades: Iterable[Upgrade]) -> Iterable[str]:
    for upgrade in upgrades:
        if upgrade.to_version is not None and upgrade.to_signature is None:
            yield f"{upgrade.system} {upgrade.to_version} is not signed by the Systems Library"


def _unsigned_bases(upgrades: Iterable[Upgrade]) -> Iterable[str]:
    for upgrade in upgrades:
        if upgrade.from_package is not None and upgrade.from_signature is None:
            yield (
                f"{upgrade.system} {upgrade.from_version}, which is pinned now, is not signed: an executor"
                f" uses it only if it is allowed there by its digest, {upgrade.from_package}"
            )


def _left_behind(upgrades: Iterable[Upgrade]) -> Iterable[str]:
    for upgrade in upgrades:
        if upgrade.to_version is None:
            yield f"{upgrade.system} leaves: its tables stay with their rows; no release changes them again"


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
        packages=new_packages(run.upgrades),
        production_schema=run.migrated.production_schema,
    )
