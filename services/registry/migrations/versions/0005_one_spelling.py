"""One repository has one spelling: those that were registered are named as they are now told apart.

Of two Projects that have the same one already, the first keeps it.
"""

import sqlalchemy as sa
from alembic import op

from shared.repository_urls import repository_identity

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    connection = op.get_bind()
    owners: dict[str, str] = {}
    registered = sa.text(
        "select id, registered->'project'->>'repository' from projects"
        " where repository is not null order by id"
    )
    for project, repository in connection.execute(registered):
        if (identity := repository_identity(repository)) is not None:
            owners.setdefault(identity, project)
    connection.execute(sa.text("update projects set repository = null"))
    claim = sa.text("update projects set repository = :repository where id = :id")
    for identity, project in owners.items():
        connection.execute(claim, {"repository": identity, "id": project})
