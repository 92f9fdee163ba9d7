"""A version per Project and one of all releases, to compare with what is remembered; no open commands.

What a Run has open follows from its state.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("projects", sa.Column("version", sa.BigInteger, nullable=False, server_default="1"))
    op.create_table(
        "release_book",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.execute("insert into release_book values (1, 0)")
    op.drop_column("runs", "open_command")
