"""Commands are stored without being compressed."""

from shared.jobs.migrations import keep_commands_as_they_are

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    keep_commands_as_they_are()
