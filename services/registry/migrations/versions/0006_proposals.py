"""Changes of a registration that wait for approvers' words."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "proposals",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("proposal", sa.JSON, nullable=False),
    )
