"""Commands are stored without being compressed."""

from shared.jobs.migrations import keep_commands_as_they_are

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    keep_commands_as_they_are()
