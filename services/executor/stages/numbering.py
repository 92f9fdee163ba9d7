"""Which migrations an upgrade brings, and under which names they stand in the Project. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.executor.stages.tools import Packages
from shared.contracts.facts import PlannedMigration
from shared.contracts.folding import folded_findings
from shared.contracts.stages import Finding
from shared.contracts.values import Digest, SystemName
from shared.errors import Failure
from shared.packages.package import Package

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
        return (self.system, self.name)


def write_source(migration: PlannedMigration) -> str:
    """The text of a migration's `source.toml`."""
    return f'system = "{migration.system}"\nname = "{migration.name}"\nchecksum = "{migration.checksum}"\n'


def plan_migrations(
    folders: Iterable[str], sources: Sequence[Source], upgrades: Sequence[Packages]
) -> tuple[PlannedMigration, ...]:
    """The migrations that are not installed yet, in the order of plan and package, stamped after the last.

    Raises `Failure` with every installed one that is edited, missing or renamed in its package, and every
    new one that the package puts before an installed one.
    """
    known = {source.identity: source for source in sources}
    stamp = max((matched["stamp"] for name in folders if (matched := _STAMPED.fullmatch(name))), default=None)
    by_system: dict[SystemName, list[Source]] = {}
    for source in sources:
        by_system.setdefault(source.system, []).append(source)
    planned: list[PlannedMigration] = []
    differing: list[Finding] = []
    for packages in upgrades:
        system = packages.upgrade.system
        if packages.upgrade.to_version is None:
            # What it has installed stays, as the tables do that it made.
            continue
        differing += _differing(by_system.get(system, []), packages.new)
        for migration in packages.new.migrations:
            if (system, migration.name) in known:
                continue
            stamp = _first(migration.name) if stamp is None else _after(stamp)
            planned.append(
                PlannedMigration(
                    system=system,
                    name=migration.name,
                    folder=f"{stamp}_{system}_{migration.title}",
                    checksum=migration.checksum,
                    reversible=migration.down_sql is not None,
                    contracting=packages.new.contracting(migration),
                    sql=migration.sql,
                    down_sql=migration.down_sql,
                )
            )
    if differing:
        what = "a migration is installed otherwise than the package has it"
        raise Failure(what, *folded_findings(differing))
    return tuple(planned)


def installed_files(migrations: Iterable[PlannedMigration], parent: str) -> Mapping[str, bytes]:
    """The files with which migrations stand in the Project, by their paths below `parent`."""
    files: dict[str, bytes] = {}
    for migration in migrations:
        folder = f"{parent}/{migration.folder}"
        files[f"{folder}/migration.sql"] = migration.sql.encode()
        files[f"{folder}/{SOURCE}"] = write_source(migration).encode()
        if migration.down_sql is not None:
            files[f"{folder}/down.sql"] = migration.down_sql.encode()
    return files


def _first(name: str) -> str:
    """The timestamp of the first migration of a Project that has none."""
    return name[:14] if _STAMPED.fullmatch(name) else datetime.min.replace(year=2000).strftime(_FORMAT)


def _after(stamp: str) -> str:
    """The timestamp one second later; one that is no date counts on as a number does."""
    try:
        return (datetime.strptime(stamp, _FORMAT) + timedelta(seconds=1)).strftime(_FORMAT)
    except ValueError:
        return f"{int(stamp) + 1:014d}"


def _differing(installed: Sequence[Source], package: Package) -> Iterator[Finding]:
    """Where the package does not tell the same history as what was installed from earlier ones."""
    has = {migration.name: migration for migration in package.migrations}
    names = {source.name for source in installed}
    last = max(names, default="")
    ask = f"ask who publishes {package.system} to correct it"
    # The first of each: whoever wrote this package may have renamed thousands.
    twins = {one.checksum: one.name for one in reversed(package.migrations) if one.name not in names}
    for source in installed:
        there = has.get(source.name)
        if there is not None and there.checksum != source.checksum:
            detail = f"{SOURCE} says checksum {source.checksum}, and the new package has another"
            yield _finding(source.folder, detail, f"restore {source.name} as it was published, or {ask}")
        elif there is None:
            twin = twins.get(source.checksum)
            told = "has it no more" if twin is None else f"calls it {twin}, and would apply it again"
            yield _finding(source.folder, f"The new package {told}: it was {source.name}.", ask)
    for name in has:
        # Where the package has what is installed, its publisher has tried that the late one may come late.
        if name not in names and name < last and last not in has:
            detail = f"{name} of the new package stands before {last}, which is installed already."
            yield _finding(name, detail, f"{ask}: it needs a later timestamp")


def _finding(subject: str, detail: str, cure: str) -> Finding:
    return Finding(kind="migration", subject=subject, detail=detail, cure=cure)
