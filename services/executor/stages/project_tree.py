"""What a commit of a Project's repository holds for the database, and a checkout to run commands in."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from services.executor.clients.losses import Tables
from services.executor.clients.mask_file import MASKING_FILE, Masks, UnfitMasks, read_masks
from services.executor.clients.migration_files import Migration, read_migrations
from services.executor.clients.prisma import Model, read_models
from services.executor.clients.reading import read_in_child, unreadable
from shared.clients.git import LINKS_AND_FOLDERS, Git
from shared.contracts.projects import PrismaPaths
from shared.contracts.stages import Finding
from shared.contracts.values import Commit
from shared.errors import Failure, Reject
from shared.isolation.scratch import temporary_folder
from shared.reading.twice import read_twice

RUN_TRAILER = "Upgradepath-Run"
MASKING_CURE = f"correct {MASKING_FILE} on production's branch: a rule stands there or in the schema"
SCHEMA_CURE = "correct the schema file; prisma validate helps"


def kept_ref(run_id: str) -> str:
    """The ref that keeps a Run's commits when its branch is gone.

    One that ended like the branch, refs/upgradepath/<run>, would make the branch's name ambiguous, and Git
    would refuse the maintainer's push of a fix.
    """
    return f"refs/upgradepath/kept/{run_id}"


async def files_below(git: Git, tree: str, prefix: str) -> dict[str, bytes]:
    """Path to bytes of every file below a folder; links and other repositories' commits are no files."""
    listed = await git.paths(tree, prefix)
    entries = {path: entry for path, entry in listed.items() if entry.mode not in LINKS_AND_FOLDERS}
    blobs = await git.blobs([entry.blob for entry in entries.values()])
    return {path: blobs[entry.blob] for path, entry in entries.items()}


async def migrations_at(git: Git, tree: str, prisma: PrismaPaths) -> tuple[Migration, ...]:
    """The Project's migrations in Prisma's order. Raises Failure for a script that is no UTF-8."""
    files = await files_below(git, tree, prisma.migrations)
    try:
        return await asyncio.to_thread(read_migrations, files, prisma.migrations)
    except UnicodeDecodeError as error:
        raise unreadable(prisma.migrations, str(error), "save migration.sql and down.sql as UTF-8") from error


async def schema_files(git: Git, tree: str, prisma: PrismaPaths) -> dict[str, str]:
    """Path to text of every schema file. Raises Failure for one that is no UTF-8."""
    files = await files_below(git, tree, prisma.schemas) | await files_below(git, tree, prisma.single)
    try:
        return {path: data.decode() for path, data in files.items() if prisma.is_schema(path)}
    except UnicodeDecodeError as error:
        raise unreadable(prisma.schemas, str(error), SCHEMA_CURE) from error


async def models_at(git: Git, tree: str, prisma: PrismaPaths) -> tuple[Model, ...]:
    """The models of every schema file with their mask rules. Raises Failure for what cannot be read."""
    return await _read(await schema_files(git, tree, prisma), await _masks_at(git, tree), prisma)


async def _read(files: Mapping[str, str], masks: Masks, prisma: PrismaPaths) -> tuple[Model, ...]:
    try:
        return await read_in_child(prisma.schemas, read_models, files, masks=masks)
    except UnfitMasks as error:
        raise unreadable(MASKING_FILE, str(error), MASKING_CURE) from error
    except ValueError as error:
        raise unreadable(prisma.schemas, str(error), SCHEMA_CURE) from error


async def _masks_at(git: Git, tree: str) -> Masks:
    """The rules that the Project keeps in a file of their own; none without it."""
    data = await git.show(tree, MASKING_FILE)
    if data is None:
        return {}
    try:
        return await read_twice(MASKING_FILE, read_masks, data.decode())
    except UnicodeDecodeError as error:
        raise unreadable(MASKING_FILE, str(error), f"save {MASKING_FILE} as UTF-8") from error
    except Reject as rejected:
        detail = "; ".join(f"{each.field}: {each.reason}" for each in rejected.refusals)
        raise unreadable(MASKING_FILE, detail, rejected.refusals[0].cure) from rejected


async def tables_at(git: Git, tree: str, prisma: PrismaPaths) -> Tables:
    """The tables and columns that the code of a commit knows."""
    return {
        (model.schema, model.table): frozenset(
            each.column for each in model.fields if each.column is not None
        )
        for model in await _read(await schema_files(git, tree, prisma), {}, prisma)
    }


async def known_tables(git: Git, tree: str, prisma: PrismaPaths) -> Tables | None:
    """The same; none when the schema files cannot be read, and nobody can say what the code knows."""
    try:
        return await tables_at(git, tree, prisma)
    except Failure:
        return None


@asynccontextmanager
async def checkout(git: Git, commit: Commit, scratch: Path, *, whole: bool = True) -> AsyncIterator[Path]:
    """A folder with the commit's files, gone afterwards: what lives on has made its own copy.

    Raises `Failure` where it would lack what a clone has, unless it need not be `whole`.
    """
    if whole:
        await require_whole(git, commit)
    async with temporary_folder(scratch, "checkout") as folder:
        # Below the one that is private: a command may copy the mode of its own to where others read.
        files = folder / "files"
        await git.export(commit, files)
        yield files


async def require_whole(git: Git, tree: str) -> None:
    """Raise `Failure` for files that a clone has otherwise than a checkout: submodules, LFS, filters."""
    if found := await git.lacking(tree):
        raise Failure(
            "a checkout of the repository would not have what a clone has",
            *(
                Finding(
                    kind="project-file", subject=each.paths[0], detail=f"{each.reason}: {each.named}",
                    cure=f"{each.cure}; commit and push it, and try again",
                )
                for each in found
            ),
        )  # fmt: skip
