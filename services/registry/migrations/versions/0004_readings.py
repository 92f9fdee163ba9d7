"""How often a package was begun to be read, written down before it is."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        "create table readings ("
        " digest varchar not null, actor varchar not null, tries integer not null, file varchar not null,"
        " begun_at timestamptz not null, primary key (digest, actor))"
    )
