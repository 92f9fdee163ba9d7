"""Those who pin a version come in order, so that a release reaches them share by share."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.drop_index("pins_by_version", "pins")
    op.create_index("pins_by_version", "pins", ["system", "version", "project"])
