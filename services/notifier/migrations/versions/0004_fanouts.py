"""A Release is told share by share, each in its own transaction: how far that has come."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "fanouts",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("system", sa.String, nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("cause", sa.JSON, nullable=False),
        sa.Column("after_version", sa.String, nullable=False),
        sa.Column("after_project", sa.String, nullable=False),
    )
