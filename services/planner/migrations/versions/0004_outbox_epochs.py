"""The outbox knows which of its rows a relay has in memory."""

from shared.storage.migrations import let_commits_be_sent_from_memory

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    let_commits_be_sent_from_memory()
