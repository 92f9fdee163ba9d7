"""By which rules a copy would be masked, and whether somebody who may has accepted them."""

from collections.abc import Collection, Sequence

from services.executor.clients.mask_columns import described, followed
from services.executor.clients.mask_weakening import (
    Masks,
    both,
    document,
    masks_of,
    read_document,
    weaker,
)
from services.executor.clients.postgres import foreign_schemas, session
from services.executor.clients.prisma import Model
from services.executor.domain.whose import Whose
from services.executor.stages.project_tree import models_at
from services.executor.stages.staging import production_url
from services.executor.stages.tools import Tools
from shared.clients.git import Git
from shared.contracts.stages import Finding
from shared.contracts.values import Commit, Digest
from shared.errors import Failure, Reject
from shared.jobs.job import Job


async def review_masks(
    job: Job, tools: Tools, git: Git, trees: Sequence[Commit], whose: Whose, before: Digest | None
) -> tuple[Digest | None, tuple[str, ...]]:
    """The document of the rules at these trees, production's first, and in what they mask less than `before`.

    The first copy of a Run is made by the first tree's rules, a later one by those that the upgrade brings.
    None where staging has a seed file: nothing of production's rows is copied.
    """
    definition = job.project.definition
    if definition.staging.data == "seed":
        return None, ()
    models = [await models_at(git, tree, definition.prisma) for tree in trees]
    async with session(production_url(job, tools)) as connection:
        foreign = await foreign_schemas(connection, whose)
        columns, references = await described(connection, foreign)
    rules: dict[tuple[str, str, str], str | None] = {}
    found: list[Masks] = []
    for each in models:
        # What the upgrade no longer names keeps its rule until its columns are gone.
        rules = rules | {key: rule for key, rule in said_by(each).items() if rule is not None}
        found.append(masks_of(columns, followed(rules, columns, references)))
    baseline = await _kept(tools, before)
    lines = dict.fromkeys(line for masks in found for line in weaker(masks, baseline))
    together = found[0]
    for masks in found[1:]:
        together = both(together, masks)
    return await tools.content.put(document(together)), tuple(lines)


def said_by(models: Collection[Model]) -> dict[tuple[str, str, str], str | None]:
    """The rule of each column that the models name."""
    return {
        (model.schema, model.table, each.column): each.mask
        for model in models
        for each in model.fields
        if each.column is not None
    }


async def _kept(tools: Tools, digest: Digest | None) -> Masks | None:
    """The rules accepted before; nothing where their document is lost, so that all is asked again."""
    if digest is None:
        return None
    try:
        return read_document(await tools.content.get(digest))
    except (Reject, ValueError, TypeError):
        return None


async def accepted_masks(tools: Tools, digest: Digest | None) -> Masks:
    """The rules that were accepted with the Run's start. Raises Failure when none were."""
    masks = await _kept(tools, digest)
    if masks is None:
        raise Failure(
            "nobody has accepted by which rules production's rows are masked",
            Finding(
                kind="project-file",
                subject="mask rules",
                detail="The plan does not say them, or what it said is no longer stored.",
                cure="cancel the Run and request a new plan: it shows the rules, and who accepts them",
            ),
        )
    return masks
