"""What an adoption found, proposed and did, as a document."""

from typing import Any

from cli.adoption.bases import Base
from cli.adoption.history import How
from cli.adoption.proposal import Changes, Masking, unmade_commands
from cli.adoption.survey import Survey
from shared.adopted import Adopted
from shared.contracts.projects import PrismaPaths, ProjectDefinition
from shared.contracts.refusals import Refusal
from shared.contracts.stages import Finding
from shared.contracts.values import Commit, Contract, SystemName
from shared.contracts.version_maps import Pins


class BaseFound(Contract):
    """One release against the files that are there."""

    version: str
    same: int
    edited: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    said: str
    signed: bool = True

    @classmethod
    def of(cls, base: Base) -> "BaseFound":
        return cls(
            version=base.version,
            same=base.same,
            edited=base.edited,
            missing=base.missing,
            added=base.added,
            said=str(base),
            signed=base.signed,
        )


class MigrationFound(Contract):
    """One migration of a System, where it is, and how that is known."""

    migration: Adopted
    how: How


class Adoption(Contract):
    """`refusals` stand in the way of a proposal, `missing_commands` of registering, `unmasked` of a Run."""

    project: str
    pins: Pins
    systems: dict[SystemName, tuple[BaseFound, ...]]
    migrations: tuple[MigrationFound, ...]
    changed: tuple[str, ...]
    missing_commands: tuple[str, ...]
    unmasked: tuple[Finding, ...]
    differences: tuple[str, ...] = ()
    """What production would need to be as the schema files say."""
    prisma: PrismaPaths = PrismaPaths()
    proposed_masks: int = 0
    missing: tuple[Finding, ...] = ()
    """What Runs will need and do not have: it stands in the way of registering, too."""
    refusals: tuple[Refusal, ...]
    proposal: Commit | None = None
    registered: dict[str, Any] | None = None


def adoption_of(
    survey: Survey, definition: ProjectDefinition, changed: Changes, masking: Masking, commit: Commit | None
) -> Adoption:
    """What was found, as a document; `commit` is the proposal's, where it was pushed."""
    return Adoption(
        project=definition.id,
        pins=survey.pins,
        systems={name: tuple(map(BaseFound.of, bases)) for name, bases in survey.candidates.items()},
        migrations=tuple(
            MigrationFound(migration=each.migration, how=each.how)
            for history in survey.histories.values()
            for each in history.found
        ),
        changed=tuple(sorted(changed)),
        missing_commands=tuple(unmade_commands(definition, survey.files)),
        unmasked=tuple(masking.open),
        differences=tuple(survey.production.differences),
        prisma=survey.place.paths,
        proposed_masks=masking.proposed,
        refusals=tuple(survey.refusals),
        proposal=commit,
    )
