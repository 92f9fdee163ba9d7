"""What an adoption found, proposed and did, as a document."""

from typing import Any

from cli.adoption.bases import Base
from cli.adoption.history import How
from shared.adopted import Adopted
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

    @classmethod
    def of(cls, base: Base) -> "BaseFound":
        return cls(
            version=base.version,
            same=base.same,
            edited=base.edited,
            missing=base.missing,
            added=base.added,
            said=str(base),
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
    refusals: tuple[Refusal, ...]
    proposal: Commit | None = None
    registered: dict[str, Any] | None = None
