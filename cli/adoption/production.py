"""Production's database beside the repository: its history, its schema and its columns; only read."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from cli.adoption.masks import Proposal
from cli.adoption.samples import propose_masks
from cli.adoption.schema import Schema
from cli.adoption.systems import refusal
from services.executor.clients import migrations
from services.executor.clients.mask_file import MASKING_FILE, Masks, UnfitMasks
from services.executor.clients.masking import unmasked
from services.executor.clients.migration_files import Migration
from services.executor.clients.migration_table import reading
from services.executor.clients.prisma import Model, read_models
from services.executor.clients.prisma_8 import ledger_of
from shared.clients.git import Git
from shared.contracts.refusals import Refusal
from shared.contracts.stages import Finding
from shared.contracts.values import Commit
from shared.errors import Reject, invalid
from shared.prisma.engine import EngineError
from shared.prisma.migrating import diff_from_database
from shared.prisma.parser import InvalidSchema, PrismaSchema
from shared.prisma.unified import unify
from shared.sql.script import read_statements

_CUT = 400


@dataclass(frozen=True)
class Production:
    """What the database shows. `models` have the rules that stand, `proposals` are for columns without one.

    `differences` are what the database lacks, or has beyond, of what the schema files describe.
    """

    models: Sequence[Model] = ()
    proposals: Sequence[Proposal] = ()
    differences: Sequence[str] = ()
    refusals: Sequence[Refusal] = field(default=())


async def look_at_production(
    git: Git,
    commit: Commit,
    database: str | None,
    history: Sequence[Migration],
    schema: Schema,
    masks: Masks,
) -> Production:
    """Where production differs from the repository. Raises `Reject` when it cannot be asked."""
    if database is None:
        return Production()
    try:
        ledger = await ledger_of(database)
        if ledger is not None:
            return Production(refusals=[refusal("invalid", ledger.detail, ledger.subject, ledger.cure)])
        drift = await migrations.unfit(database, history, ())
        cures = await _from_history(git, commit, database, history)
        models = read_models(schema, masks=masks)
        proposals = await propose_masks(database, models)
    except UnfitMasks as error:
        cure = f"correct {MASKING_FILE} and push: a rule stands there or in the schema"
        raise invalid(str(error), field=MASKING_FILE, cure=cure) from error
    except (asyncpg.PostgresError, ValueError) as error:
        raise invalid(
            f"production's database or the schema cannot be read: {error}",
            field="--database",
            cure="give the URL that production's app uses, and a schema that prisma validate accepts",
        ) from error
    refused = [
        refusal("conflict", each.detail, each.subject, cures.get(each.subject, each.cure)) for each in drift
    ]
    return Production(models, proposals, await _differences(database, schema), refused)


async def still_unmasked(database: str, schema: Schema, masks: Masks) -> Sequence[Finding]:
    """Everything for which a masked copy would be refused under these rules; no row is read."""
    return await unmasked(database, read_models(schema, masks=masks))


async def _from_history(
    git: Git, commit: Commit, database: str, history: Sequence[Migration]
) -> Mapping[str, str]:
    """By folder, how to bring back the script that ran, where the repository's own past has it."""
    by_folder = {each.folder: each for each in history}
    async with reading(database) as table:
        rows = [row for row in await table.rows() if row.applied]
    wanted = {
        row.name: row.checksum
        for row in rows
        if row.name not in by_folder or not by_folder[row.name].ran_as(row.checksum)
    }
    if not wanted:
        return {}
    parent = history[0].parent if history else ""
    cures: dict[str, str] = {}
    for logged in reversed(await git.log(None, commit)):
        listed = await git.paths(logged.commit, parent)
        for name in wanted.keys() - cures.keys():
            path = f"{parent}/{name}/migration.sql"
            if path not in listed:
                continue
            blob = (await git.blobs([listed[path].blob]))[listed[path].blob]
            ran = Migration(name, blob.decode(errors="replace"), hashlib.sha256(blob).hexdigest())
            if ran.ran_as(wanted[name]):
                cures[name] = (
                    f"git checkout {logged.commit} -- {path}, commit and push; what was changed since belongs"
                    " into a new migration"
                )
        if cures.keys() == wanted.keys():
            break
    return cures


async def _differences(database: str, schema: Schema) -> Sequence[str]:
    """Each statement that would make production what the schema files describe, cut to a line."""
    try:
        unified = await unify(PrismaSchema(), schema)
        missing = await diff_from_database(database, unified.files)
    except InvalidSchema as error:
        raise invalid(
            f"Prisma refuses the schema: {'; '.join(map(str, error.problems))}",
            field="schema",
            cure="correct it until prisma validate accepts it, and push",
        ) from error
    except (EngineError, Reject) as error:
        return [f"they could not be compared: {error}"]
    return [" ".join(statement.text.split())[:_CUT] for statement in read_statements(missing)]
