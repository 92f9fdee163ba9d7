"""Look at a repository, the Library's releases and production's database; nothing is written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import asyncpg

from cli.adoption import bases
from cli.adoption.bases import Base
from cli.adoption.history import History, find_migrations
from cli.adoption.schema import Schema, schema_files, take_apart
from cli.whole import lacking
from services.executor.clients import migrations
from services.executor.clients.masking import unmasked
from services.executor.clients.migration_files import FOLDER, read_migrations
from services.executor.clients.prisma import read_models
from shared.clients.git import Git
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.contracts.stages import Finding
from shared.contracts.values import Commit, SystemName, Version
from shared.contracts.version_maps import Pins
from shared.errors import Reject, invalid, not_found
from shared.packages.package import Package
from shared.versions import newest_first

BRANCH = "adopt-upgradepath"
_LOCK_FILE = "prisma/migrations/migration_lock.toml"


@dataclass(frozen=True)
class Asked:
    """What the maintainer says: pins that stand whatever drifted, and migrations that are applied."""

    repository: str
    branch: str
    pins: Pins
    applied: Sequence[str]
    database: str | None = field(repr=False)


@dataclass(frozen=True)
class Survey:
    """What is there. `start` is what the proposal goes onto: its own branch, else production's."""

    head: Commit
    start: Commit
    proposed: Commit | None
    files: Mapping[str, bytes] = field(repr=False)
    packages: Mapping[SystemName, Package] = field(repr=False)
    """The release that each System is pinned to, as far as that is settled."""
    candidates: Mapping[SystemName, Sequence[Base]]
    histories: Mapping[SystemName, History]
    schema: Schema = field(repr=False)
    """Every schema file as the proposal has it: each System's part in its own."""
    unmasked: Sequence[Finding]
    refusals: Sequence[Refusal]

    @property
    def pins(self) -> Pins:
        return {system: package.manifest.version for system, package in self.packages.items()}


async def look(
    git: Git, asked: Asked, releases: Sequence[Release], package: Callable[[Release], Package]
) -> Survey:
    """Raises `Reject` when there is nothing to adopt; what else stands in the way is in the survey."""
    head, start, proposed = await _place(git, asked)
    entries = await git.paths(start)
    blobs = await git.blobs([entry.blob for entry in entries.values() if entry.mode != "160000"])
    files = {path: blobs[entry.blob] for path, entry in entries.items() if entry.blob in blobs}
    _require_prisma(files, asked.repository)

    published = _by_system(releases)
    refusals = await lacking(git, start)
    found: dict[SystemName, list[Base]] = {}
    settled: dict[SystemName, Package] = {}
    for system, versions in published.items():
        packages = {version: package(release) for version, release in _telling(system, versions, files)}
        if not bases.is_there(system, files):
            refusals += _elsewhere(list(packages.values()), files)
            continue
        found[system] = bases.candidates(packages.values(), files)
        version, refused = _settle(system, found[system], asked.pins.get(system))
        refusals += refused
        if version is not None:
            settled[system] = packages[version]
    refusals += _strangers(asked, found, published)
    if not found and not refusals:
        raise _nothing(published)
    folders = {each.folder: each.sql for each in read_migrations(files)}
    histories = {system: find_migrations(each, folders, asked.applied) for system, each in settled.items()}
    refusals += [refusal for system, history in histories.items() for refusal in _lacking(system, history)]
    schema = _taken_apart(files, settled)
    open_masks, drift = await _database(asked, files, schema)
    return Survey(
        head, start, proposed, files, settled, found, histories, schema, open_masks, [*refusals, *drift]
    )


async def _place(git: Git, asked: Asked) -> tuple[Commit, Commit, Commit | None]:
    head = await git.head(asked.branch)
    if head is None:
        raise not_found(
            f"{asked.repository} has no branch {asked.branch}",
            field="--branch",
            value=asked.branch,
            cure="name the branch that production runs from",
        )
    proposed = await git.head(BRANCH)
    if proposed is not None and not await git.is_ancestor(head, proposed):
        if await git.is_ancestor(proposed, head):
            return head, head, proposed
        raise invalid(
            f"the branch {BRANCH} does not contain the head of {asked.branch}",
            field="repository",
            value=BRANCH,
            cure=f"merge {asked.branch} into {BRANCH} and push, or delete {BRANCH}",
        )
    return head, proposed or head, proposed


def _require_prisma(files: Mapping[str, bytes], repository: str) -> None:
    schema = schema_files(files)
    if not schema or not any(path.startswith(FOLDER + "/") for path in files):
        raise invalid(
            "this is no Prisma project with migrations",
            field="repository",
            value=repository,
            cure="it needs prisma/schema.prisma or prisma/schema/*.prisma, and prisma/migrations;"
            " prisma migrate diff makes a first migration of a database that has none",
        )
    lock = files.get(_LOCK_FILE, b'provider = "postgresql"').decode(errors="replace")
    if '"postgresql"' not in lock:
        raise invalid(
            "its migrations are not for PostgreSQL", field=_LOCK_FILE, cure="only PostgreSQL is upgraded"
        )


def _by_system(releases: Sequence[Release]) -> dict[SystemName, dict[Version, Release]]:
    systems: dict[SystemName, dict[Version, Release]] = {}
    for release in releases:
        systems.setdefault(release.system, {})[release.version] = release
    return dict(sorted(systems.items()))


def _telling(
    system: SystemName, versions: Mapping[Version, Release], files: bases.Files
) -> Iterator[tuple[Version, Release]]:
    """Every release of a System that is there; of another the newest is enough to find it elsewhere."""
    for version in newest_first(versions):
        yield version, versions[version]
        if not bases.is_there(system, files):
            return


def _elsewhere(packages: Sequence[Package], files: bases.Files) -> list[Refusal]:
    found = [bases.elsewhere(package, files) for package in packages]
    return [
        _refusal(
            "conflict",
            f"{each.system} is in {each.folder}, where no upgrade would find it",
            each.folder,
            f"git mv {each.folder.rstrip('/')} {bases.folder_of(each.system).rstrip('/')}, correct what"
            " refers to it, push, and adopt again",
        )
        for each in found
        if each is not None
    ]


def _settle(
    system: SystemName, found: Sequence[Base], pin: Version | None
) -> tuple[Version | None, list[Refusal]]:
    """The version, once it is certain or confirmed; else why it is not."""
    if pin is not None:
        known = {base.version for base in found}
        if pin in known:
            return pin, []
        cure = f"published are {', '.join(newest_first(known))}"
        return None, [_refusal("not-found", f"{system} {pin} is not published", "--pin", cure, pin)]
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
    return None, [_refusal("conflict", reason, f"--pin {system}", cure)]


def _strangers(
    asked: Asked,
    found: Mapping[SystemName, object],
    published: Mapping[SystemName, Mapping[Version, Release]],
) -> Iterator[Refusal]:
    """Pins and migrations that the maintainer names and nobody knows."""
    for system, version in asked.pins.items():
        if system not in found:
            cure = f"{bases.folder_of(system)} is not in the repository: leave the pin out, or install it"
            yield _refusal("not-found", f"{system} is not installed", "--pin", cure, f"{system}={version}")
    names = {
        f"{system}/{migration.name}"
        for system in found
        for release in published[system].values()
        for migration in release.migrations
    }
    for name in asked.applied:
        if name not in names:
            cure = "write --applied SYSTEM/MIGRATION with the names that are shown"
            yield _refusal("not-found", "no installed System has this migration", "--applied", cure, name)


def _lacking(system: SystemName, history: History) -> Iterator[Refusal]:
    for migration in history.missing:
        name = f"{system}/{migration.name}"
        yield _refusal(
            "conflict",
            f"no folder of prisma/migrations has the statements of {name}",
            f"--applied {name}",
            f"if production has what it makes, confirm it: --applied {name}; else pin an older {system}",
        )


async def _database(
    asked: Asked, files: Mapping[str, bytes], schema: Schema
) -> tuple[Sequence[Finding], list[Refusal]]:
    """The columns without a mask rule, and where production's history differs from the repository's."""
    if asked.database is None:
        return (), []
    try:
        drift = await migrations.unfit(asked.database, read_migrations(files), ())
        masks = await unmasked(asked.database, read_models(schema))
    except (asyncpg.PostgresError, ValueError) as error:
        raise invalid(
            f"production's database or the schema cannot be read: {error}",
            field="--database",
            cure="give the URL that production's app uses, and a schema that prisma validate accepts",
        ) from error
    return masks, [_refusal("conflict", each.detail, each.subject, each.cure) for each in drift]


def _taken_apart(files: Mapping[str, bytes], settled: Mapping[SystemName, Package]) -> Schema:
    try:
        return take_apart(schema_files(files), {name: each.schema for name, each in settled.items()})
    except ValueError as error:
        cure = "correct the schema file; prisma validate helps"
        raise invalid(f"the schema cannot be read: {error}", field="prisma/schema", cure=cure) from error


def _nothing(published: Mapping[SystemName, object]) -> Reject:
    known = ", ".join(published) or "none"
    return not_found(
        "none of the Library's Systems is installed in this repository",
        field="repository",
        cure=f"published are: {known}; a System stands in systems/<name>/",
    )


def _refusal(
    kind: Literal["invalid", "not-found", "conflict"],
    reason: str,
    where: str,
    cure: str,
    value: str | None = None,
) -> Refusal:
    return Refusal(kind=kind, reason=reason, field=where, value=value, cure=cure)
