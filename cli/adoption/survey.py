"""Look at a repository, the Library's releases and production's database; nothing is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cli.adoption.bases import Base
from cli.adoption.history import History, find_migrations
from cli.adoption.place import Place, find_place
from cli.adoption.production import Production, look_at_production
from cli.adoption.schema import Schema, take_apart
from cli.adoption.systems import Published, ReadPackage, by_system, installed, refusal, strangers
from cli.whole import lacking
from services.executor.clients.mask_file import MASKING_FILE, Masks, read_masks
from services.executor.clients.migration_files import Migration, read_migrations
from shared.clients.git import LINKS_AND_FOLDERS, Git
from shared.contracts.projects import ProjectDefinition
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.contracts.values import Commit, SystemName
from shared.contracts.version_maps import Pins
from shared.errors import Reject, invalid, not_found
from shared.packages.package import Package
from shared.project_file import PROJECT_FILE, read_project_file

BRANCH = "adopt-upgradepath"


@dataclass(frozen=True)
class Asked:
    """What the maintainer says: pins that stand whatever drifted, and migrations that are applied."""

    repository: str
    branch: str
    pins: Pins
    applied: Sequence[str]
    database: str | None = field(repr=False)
    prisma: str | None = None
    """Where Prisma's files are, if they are to be found in several places."""
    without: Sequence[SystemName] = ()
    """Systems that are not installed, whatever looks like them."""


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
    place: Place = field(repr=False)
    schema: Schema = field(repr=False)
    """Every schema file as the proposal has it: each System's part in its own."""
    masks: Masks = field(repr=False)
    """The rules of the repository's own file of them."""
    production: Production
    refusals: Sequence[Refusal]

    @property
    def pins(self) -> Pins:
        return {system: package.manifest.version for system, package in self.packages.items()}


async def look(git: Git, asked: Asked, releases: Sequence[Release], package: ReadPackage) -> Survey:
    """Raises `Reject` when there is nothing to adopt; what else stands in the way is in the survey."""
    head, start, proposed = await _branches(git, asked)
    entries = {
        path: entry for path, entry in (await git.paths(start)).items() if entry.mode not in LINKS_AND_FOLDERS
    }
    blobs = await git.blobs([entry.blob for entry in entries.values()])
    files = {path: blobs[entry.blob] for path, entry in entries.items()}
    definition = _declared(files)
    place = find_place(files, asked.prisma, definition.prisma if definition else None)
    published = by_system(releases)
    systems = installed(published, files, asked.pins, asked.without, package)
    refusals = [*await lacking(git, start), *systems.refusals]
    refusals += strangers(asked.pins, asked.applied, systems.found, published)
    if not systems.found and not refusals:
        raise _nothing(published)
    migrations = _migrations(files, place)
    folders = {each.folder: each.sql for each in migrations}
    histories = find_migrations(systems.settled.values(), folders, asked.applied)
    for system, history in histories.items():
        refusals += _lacking(system, history, place.paths.migrations)
    schema = _taken_apart(place, systems.settled)
    masks = _masks(files)
    production = await look_at_production(git, start, asked.database, migrations, schema, masks)
    return Survey(
        head,
        start,
        proposed,
        files,
        systems.settled,
        systems.found,
        histories,
        place,
        schema,
        masks,
        production,
        [*refusals, *production.refusals],
    )


async def _branches(git: Git, asked: Asked) -> tuple[Commit, Commit, Commit | None]:
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


def _declared(files: Mapping[str, bytes]) -> ProjectDefinition | None:
    if PROJECT_FILE not in files:
        return None
    try:
        return read_project_file(files[PROJECT_FILE].decode())
    except UnicodeDecodeError as error:
        cure = f"save {PROJECT_FILE} as UTF-8, and push"
        raise invalid(f"{PROJECT_FILE} cannot be read: {error}", field=PROJECT_FILE, cure=cure) from error


def _migrations(files: Mapping[str, bytes], place: Place) -> tuple[Migration, ...]:
    try:
        return read_migrations(files, place.paths.migrations)
    except UnicodeDecodeError as error:
        raise invalid(
            f"a migration cannot be read: {error}",
            field=place.paths.migrations,
            cure="save migration.sql and down.sql as UTF-8, and push",
        ) from error


def _masks(files: Mapping[str, bytes]) -> Masks:
    if MASKING_FILE not in files:
        return {}
    return read_masks(files[MASKING_FILE].decode(errors="replace"))


def _lacking(system: SystemName, history: History, folder: str) -> Iterator[Refusal]:
    for migration in history.missing:
        name = f"{system}/{migration.name}"
        yield refusal(
            "conflict",
            f"no folder of {folder} stands for {name}: its statements are in none, or another's",
            f"--applied {name}",
            f"if production has what it makes, confirm it: --applied {name}; else bring it: put the package's"
            f" migration.sql into {folder}/{migration.name}, prisma migrate deploy, commit and push",
        )


def _taken_apart(place: Place, settled: Mapping[SystemName, Package]) -> Schema:
    try:
        published = {name: each.schema for name, each in settled.items()}
        return take_apart(place.schema, published, place.paths)
    except ValueError as error:
        cure = "correct the schema file; prisma validate helps"
        raise invalid(f"the schema cannot be read: {error}", field=place.paths.schemas, cure=cure) from error


def _nothing(published: Published) -> Reject:
    known = ", ".join(published) or "none"
    return not_found(
        "none of the Library's Systems is installed in this repository",
        field="repository",
        cure=f"published are: {known}; a System stands in systems/<name>/",
    )
