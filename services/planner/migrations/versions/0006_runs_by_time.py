"""Lists of all Projects' Runs are read in pages, newest first."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("runs_by_time", "runs", ["requested_at", "id"])
