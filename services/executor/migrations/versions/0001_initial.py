"""Messages, jobs and the effect journal."""

from shared.storage.migrations import create_job_tables, create_message_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_message_tables()
    create_job_tables()
