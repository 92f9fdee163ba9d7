"""A job is its command's inbox."""

from shared.jobs.migrations import let_the_job_be_its_inbox

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    let_the_job_be_its_inbox()
