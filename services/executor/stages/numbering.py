"""Which migrations an upgrade brings, and under which names they stand in the Project. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.executor.stages.tools import Packages
from shared.contracts.facts import PlannedMigration
from shared.contracts.stages import Finding
from shared.contracts.values import Digest, SystemName
from shared.errors import Failure

MIGRATIONS = "prisma/migrations"
SOURCE = "source.toml"
_STAMPED = re.compile(r"(?P<stamp>\d{14})_.+")
_FORMAT = "%Y%m%d%H%M%S"


@dataclass(frozen=True)
class Source:
    """A `source.toml`: which migration of which System a folder of the Project is."""

    folder: str
    system: SystemName
    name: str
    checksum: Digest

    @property
    def identity(self) -> tuple[SystemName, str]:
        return (self.system, _identity(self.name))


def write_source(migration: PlannedMigration) -> str:
    """The text of a migration's `source.toml`."""
    return f'system = "{migration.system}"\nname = "{migration.name}"\nchecksum = "{migration.checksum}"\n'


def plan_migrations(
    folders: Iterable[str], sources: Sequence[Source], upgrades: Sequence[Packages]
) -> tuple[PlannedMigration, ...]:
    """The migrations that are not installed yet, in the order of plan and package, stamped after the last.

    Raises `Failure` when an installed one is not what the package says it is.
    """
    known = {source.identity: source for source in sources}
    stamp = max((matched["stamp"] for name in folders if (matched := _STAMPED.fullmatch(name))), default=None)
    planned: list[PlannedMigration] = []
    differing: list[Finding] = []
    for packages in upgrades:
        system = packages.upgrade.system
        for migration in packages.new.migrations:
            there = known.get((system, migration.identity))
            if there is not None:
                if there.checksum != migration.checksum:
                    differing.append(_differs(there))
                continue
            stamp = migration.name[:14] if stamp is None else _after(stamp)
            planned.append(
                PlannedMigration(
                    system=system,
                    name=migration.name,
                    folder=f"{stamp}_{system}_{migration.identity}",
                    checksum=migration.checksum,
                    reversible=migration.down_sql is not None,
                    contracting=packages.new.contracting(migration),
                    sql=migration.sql,
                    down_sql=migration.down_sql,
                )
            )
    if differing:
        raise Failure("a migration is installed otherwise than the package has it", *differing)
    return tuple(planned)


def installed_files(migrations: Iterable[PlannedMigration]) -> Mapping[str, bytes]:
    """The files with which migrations stand in the Project, by their paths."""
    files: dict[str, bytes] = {}
    for migration in migrations:
        folder = f"{MIGRATIONS}/{migration.folder}"
        files[f"{folder}/migration.sql"] = migration.sql.encode()
        files[f"{folder}/{SOURCE}"] = write_source(migration).encode()
        if migration.down_sql is not None:
            files[f"{folder}/down.sql"] = migration.down_sql.encode()
    return files


def _identity(name: str) -> str:
    """A migration's name without its timestamp."""
    return name.partition("_")[2]


def _after(stamp: str) -> str:
    """The timestamp one second later; one that is no date counts on as a number does."""
    try:
        return (datetime.strptime(stamp, _FORMAT) + timedelta(seconds=1)).strftime(_FORMAT)
    except ValueError:
        return f"{int(stamp) + 1:014d}"


def _differs(source: Source) -> Finding:
    return Finding(
        kind="migration",
        subject=source.folder,
        detail=f"{SOURCE} says checksum {source.checksum}, and the new package of {source.system} another",
        cure=f"restore {source.name} as {source.system} published it, or ask who publishes {source.system}",
    )
