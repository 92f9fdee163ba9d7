"""A repository belongs to one Project. Of two that have the same one already, the first keeps it."""

import sqlalchemy as sa
from alembic import op

from shared.repository_urls import repository_identity

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("projects", sa.Column("repository", sa.String, nullable=True))
    connection = op.get_bind()
    owners: dict[str, str] = {}
    registered = sa.text("select id, registered->'project'->>'repository' from projects order by id")
    for project, repository in connection.execute(registered):
        if (identity := repository_identity(repository)) is not None:
            owners.setdefault(identity, project)
    claim = sa.text("update projects set repository = :repository where id = :id")
    for identity, project in owners.items():
        connection.execute(claim, {"repository": identity, "id": project})
    op.create_unique_constraint("projects_repository_key", "projects", ["repository"])
