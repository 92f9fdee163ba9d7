"""Review: what would the upgrade change? It writes nothing but a diff into the content store."""

from collections.abc import Mapping

from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import schema_digest
from services.executor.clients.reading import read_in_child
from services.executor.stages.agreement import require_pins, require_registered
from services.executor.stages.data_impact import foresee
from services.executor.stages.impact import impacts, read_rules
from services.executor.stages.masks import review_masks
from services.executor.stages.merging import file_changes, merge_all
from services.executor.stages.numbering import (
    SOURCE,
    Source,
    installed_files,
    plan_migrations,
)
from services.executor.stages.own_roles import require_own_roles
from services.executor.stages.production_seen import left_alone, not_made
from services.executor.stages.project_tree import files_below, known_tables, migrations_at, require_whole
from services.executor.stages.readiness import require_postgresql, require_ready
from services.executor.stages.staging import production_url
from services.executor.stages.tools import Packages, Tools
from services.executor.stages.unified_schema import SchemaFiles, new_problems
from services.executor.stages.ways_down import find_ways_down
from services.executor.stages.whose import whose_at
from shared.adopted import read_adopted
from shared.clients.git import Git
from shared.contracts.facts import PlannedMigration, ReviewFacts, VersionNotes
from shared.contracts.projects import PrismaPaths
from shared.contracts.stages import Finding
from shared.contracts.tasks import ReviewTask
from shared.contracts.values import Commit
from shared.declarations import parse_toml
from shared.errors import Failure, Reject
from shared.jobs.job import Job
from shared.packages.package import versions_between
from shared.project_file import VERSION_MAP_FILE, write_version_map


async def run(job: Job, task: ReviewTask, tools: Tools) -> ReviewFacts:
    """Merge in the clone alone and tell what came out; a conflict is a fact here, not a failure."""
    definition = job.project.definition
    git = await tools.git(job)
    head = await _production_head(git, definition.environments.production.branch)
    await require_registered(git, head, job.project)
    await require_pins(git, head, task.pins)
    await require_whole(git, head)
    await require_own_roles(job, tools)
    tools.backups.require_keys(job.project)
    upgrades = [await tools.packages(upgrade) for upgrade in task.upgrades]
    production = production_url(job, tools)
    merged = await merge_all(git, head, upgrades, definition)
    await require_whole(git, merged.tree)
    disputes = {
        conflict.path: f"{system}: {conflict.kind}\n{conflict.hunk}" for system, conflict in merged.conflicts
    }
    if not disputes:
        # Markers in a schema file would be errors themselves.
        for each in await new_problems(SchemaFiles(git, tools, definition.prisma), head, merged.tree):
            disputes[each.file] = "\n".join(filter(None, (disputes.get(each.file), each.message)))
    planned = await _migrations(git, head, upgrades, definition.prisma)
    brought = [Migration(each.folder, each.sql, each.checksum, each.down_sql) for each in planned]
    whose = await whose_at(git, head, definition, brought)
    production_schema = await schema_digest(production, whose)
    await _require_ready(job, tools, git, head, planned)
    known = await known_tables(git, head, definition.prisma)
    foreseen = await foresee(production, planned, known, tools.folder)
    history = await migrations_at(git, head, definition.prisma)
    migrations = await find_ways_down(job, tools, history, foreseen, production_schema, known, whose)
    new_files = installed_files(migrations, definition.prisma.migrations)
    rules = await files_below(git, head, definition.workflows.rules)
    readable = {path: _decoded(path, data) for path, data in rules.items() if path.endswith(".toml")}
    # Of a tree in dispute nobody can say which rules will stand; the Run's own copy is by the head's.
    trees = [head] if disputes else [head, merged.tree]
    masks, weakened = await review_masks(job, tools, git, trees, whose, task.masks)
    return ReviewFacts(
        head=head,
        production_schema=production_schema,
        notes={one.upgrade.system: _notes(one) for one in upgrades},
        files=await file_changes(git, head, merged.tree, upgrades, disputes, definition.prisma),
        config=merged.config,
        migrations=migrations,
        rules=impacts(
            await read_in_child(definition.workflows.rules, read_rules, readable), upgrades, merged.config
        ),
        diff=await tools.content.put(await _diff(git, head, merged.tree, new_files, task)),
        left_alone=await left_alone(production, whose),
        differs=await not_made(job, tools, history, whose),
        masks=masks,
        weaker=weakened,
    )


async def _production_head(git: Git, branch: str) -> Commit:
    head = await git.head(branch)
    if head is None:
        finding = Finding(
            kind="project-file",
            subject=branch,
            detail="the repository has no such branch, and production is said to run from it",
            cure="push the branch, or register the Project again with the branch that production runs from",
        )
        raise Failure(f"there is no branch {branch}", finding)
    return head


def _notes(packages: Packages) -> tuple[VersionNotes, ...]:
    new, upgrade = packages.new, packages.upgrade
    if upgrade.to_version is None:
        return ()
    return tuple(
        VersionNotes(
            version=version,
            changelog=new.changelog[version],
            migration_notes=new.migration_notes.get(version, ""),
        )
        for version in versions_between(new, upgrade.from_version, upgrade.to_version)
    )


async def _migrations(
    git: Git, head: Commit, upgrades: list[Packages], prisma: PrismaPaths
) -> tuple[PlannedMigration, ...]:
    parent, adopted = prisma.migrations, prisma.adopted_file
    files = await files_below(git, head, parent)
    folders = {folder for path in files if "/" in (folder := path.removeprefix(f"{parent}/"))}
    declared = {path: files[path] for path in files if path.endswith(f"/{SOURCE}") or path == adopted}
    sources = await read_in_child(parent, read_sources, declared, adopted)
    return plan_migrations({each.partition("/")[0] for each in folders}, sources, upgrades)


def read_sources(files: Mapping[str, bytes], adopted_file: str) -> list[Source]:
    """Where the Project's migrations came from. Raises `Failure` for the first file that cannot be read."""
    sources = [_source(path, data) for path, data in files.items() if path.endswith(f"/{SOURCE}")]
    return [*sources, *_adopted(files, adopted_file)]


def _adopted(files: Mapping[str, bytes], path: str) -> list[Source]:
    """What the Project had before its first Run."""
    if path not in files:
        return []
    try:
        adopted = read_adopted(_decoded(path, files[path]), path)
    except Reject as error:
        raise _unreadable(path, str(error)) from None
    return [Source(each.folder or path, each.system, each.name, each.checksum) for each in adopted]


async def _require_ready(
    job: Job, tools: Tools, git: Git, head: Commit, planned: tuple[PlannedMigration, ...]
) -> None:
    """Nothing is planned that production could not take: the maintainer hears it before anything is done."""
    prisma = job.project.definition.prisma
    await require_postgresql(git, head, prisma)
    brought = [
        Migration(each.folder, each.sql, each.checksum, each.down_sql, prisma.migrations) for each in planned
    ]
    history = [*await migrations_at(git, head, prisma), *brought]
    run = [each.folder for each in planned]
    await require_ready(production_url(job, tools), history, run, where="production")


def _source(path: str, data: bytes) -> Source:
    try:
        values = parse_toml(_decoded(path, data), file=path)
        return Source(path.split("/")[-2], *(str(values[key]) for key in ("system", "name", "checksum")))
    except (Reject, KeyError) as error:
        raise _unreadable(
            path, f"{error} is missing" if isinstance(error, KeyError) else str(error)
        ) from None


def _decoded(path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(path, str(error)) from None


def _unreadable(path: str, detail: str) -> Failure:
    cure = f"restore {path} on production's branch, and request a new plan"
    return Failure(
        f"{path} cannot be read", Finding(kind="project-file", subject=path, detail=detail, cure=cure)
    )


async def _diff(
    git: Git, head: Commit, merged: str, migrations: Mapping[str, bytes], task: ReviewTask
) -> bytes:
    """The whole change: the merge, what migrate will install and what deploy will pin."""
    gone = {upgrade.system for upgrade in task.upgrades if upgrade.to_version is None}
    moved = {each.system: each.to_version for each in task.upgrades if each.to_version is not None}
    pins = {system: version for system, version in (task.pins | moved).items() if system not in gone}
    before = await git.show(head, VERSION_MAP_FILE)
    map_file = await read_in_child(VERSION_MAP_FILE, write_version_map, pins, before)
    changes = dict(migrations) | {VERSION_MAP_FILE: map_file.encode()}
    return (await git.diff(head, await git.tree_with(merged, changes))).encode()
