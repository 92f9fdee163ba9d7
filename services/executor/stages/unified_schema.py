"""The one schema that all of a Project's fragments make: judged by Prisma, and made by the migrations."""

import logging
from dataclasses import dataclass

from services.executor.clients.migration_files import Migration
from services.executor.clients.reading import unreadable
from services.executor.clients.scripts import statements_of
from services.executor.stages.project_tree import SCHEMA_CURE, schema_files
from services.executor.stages.tools import Tools
from shared.clients.git import Git
from shared.contracts.projects import PrismaPaths
from shared.contracts.stages import Finding
from shared.contracts.values import Commit
from shared.errors import Failure, Reject, Retry
from shared.jobs.job import Job
from shared.prisma.migrating import diff_from_database, diff_from_migrations
from shared.prisma.ownership import Unified
from shared.prisma.parser import InvalidSchema, Problem
from shared.prisma.unified import unify
from shared.prisma.wasm import Panicked

log = logging.getLogger(__name__)

_SHOWN_CHARACTERS_MAX = 4000


@dataclass(frozen=True)
class SchemaFiles:
    """A Project's schema files in any of its commits."""

    git: Git
    tools: Tools
    prisma: PrismaPaths


async def new_problems(files: SchemaFiles, base: Commit, tree: str) -> tuple[Problem, ...]:
    """Every error and dispute of the fragments in `tree` that `base` has not, too."""
    found = await _problems(files, tree)
    known = {(each.file, each.message) for each in await _problems(files, base)} if found else set()
    return tuple(each for each in found if (each.file, each.message) not in known)


async def require_one_schema(files: SchemaFiles, base: Commit, tree: str, *, cure: str) -> None:
    """Raise `Failure` when the upgrade makes the fragments no valid schema, with the places."""
    problems = await new_problems(files, base, tree)
    if problems:
        raise Failure(
            "the schema files together are no valid schema",
            *(Finding(kind="conflict", subject=each.file, detail=str(each), cure=cure) for each in problems),
        )


@dataclass(frozen=True)
class Proof:
    """What is to be proven: the schema of `commit`. `before` are the migrations that production has."""

    files: SchemaFiles
    commit: Commit
    before: tuple[Migration, ...]


async def require_made_by_migrations(job: Job, proof: Proof, replayed_url: str) -> None:
    """Raise `Failure` when the migrations, replayed in the database, do not make the commit's schema.

    What production's own files and migrations disagree on already is not the upgrade's to mend; neither are
    files of production's that Prisma refuses.
    """
    files = proof.files
    head = await files.git.head(job.project.definition.environments.production.branch)
    try:
        unified = await _unified(files, proof.commit)
    except InvalidSchema as invalid:
        new = invalid.problems if head is None else await new_problems(files, head, proof.commit)
        if new:
            raise unreadable(files.prisma.schemas, "; ".join(map(str, new)), SCHEMA_CURE) from invalid
        log.warning("%s: Prisma refuses production's own schema files, so nothing is proven", job.run_id)
        return
    if unified is None:
        return
    try:
        missing = await _statements(await diff_from_database(replayed_url, unified.files))
    except Panicked as panicked:
        raise unreadable(
            "prisma/schema", f"Prisma's engine broke down: {panicked}", SCHEMA_CURE
        ) from panicked
    if not missing:
        return
    known = set() if head is None else await _known_before(proof, head, replayed_url)
    left = [statement for statement in missing if statement not in known]
    if left:
        text = "\n".join(left)
        shown = (
            text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + "\n… (and more)"
        )
        finding = Finding(
            kind="migration",
            subject=files.prisma.schemas,
            detail=f"The migrations would still have to do this to make the schema of the files:\n{shown}",
            cure="correct the migrations or the schema files of the branch, so that both say the same",
        )
        raise Failure("the migrations do not make the schema that the files describe", finding)


async def _unified(files: SchemaFiles, tree: str) -> Unified | None:
    texts = await schema_files(files.git, tree, files.prisma)
    if not texts:
        return None
    try:
        return await unify(files.tools.prisma, texts)
    except Reject as rejected:
        # A package that cannot be fetched now may be there next time; its cure is for whoever operates us.
        raise Retry("; ".join(f"{each.reason} ({each.cure})" for each in rejected.refusals)) from rejected


async def _problems(files: SchemaFiles, tree: str) -> tuple[Problem, ...]:
    try:
        await _unified(files, tree)
    except InvalidSchema as invalid:
        return invalid.problems
    return ()


async def _known_before(proof: Proof, head: Commit, server: str) -> set[str]:
    """What production's migrations do not make of its own schema files."""
    try:
        unified = await _unified(proof.files, head)
    except InvalidSchema:
        return set()
    if unified is None:
        return set()
    migrations = {each.folder: each.sql for each in proof.before}
    return {*await _statements(await diff_from_migrations(server, migrations, unified.files))}


async def _statements(sql: str) -> list[str]:
    """Without comments and layout, so that the same statement is the same wherever it stands."""
    return [f"{each.text};" for each in await statements_of("prisma/schema", sql)]
