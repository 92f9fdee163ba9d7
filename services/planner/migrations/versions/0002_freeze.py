"""Whether deploys are frozen, and which Runs wait for the thaw."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "fleet", sa.Column("id", sa.String, primary_key=True), sa.Column("state", sa.JSON, nullable=False)
    )
    op.add_column("runs", sa.Column("awaits_thaw", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("runs_that_await_thaw", "runs", ["id"], postgresql_where=sa.text("awaits_thaw"))
