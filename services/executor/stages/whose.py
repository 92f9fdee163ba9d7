"""What in production is the Project's, as the files of a commit and its declaration say."""

from collections.abc import Sequence

from services.executor.clients.migration_files import Migration
from services.executor.domain.whose import Whose, hosting_of
from services.executor.stages.project_tree import migrations_at, schema_files
from shared.clients.git import Git
from shared.contracts.projects import ProjectDefinition


async def whose_at(
    git: Git, tree: str, definition: ProjectDefinition, brought: Sequence[Migration] = ()
) -> Whose:
    """By the migrations and schema files of a commit, and by the migrations that an upgrade brings."""
    history = [*await migrations_at(git, tree, definition.prisma), *brought]
    files = await schema_files(git, tree, definition.prisma)
    hosting = definition.hosting
    return Whose(
        "\n".join([*(each.sql for each in history), *files.values()]),
        frozenset(hosting_of(hosting.schemas, hosting.extensions)),
    )
