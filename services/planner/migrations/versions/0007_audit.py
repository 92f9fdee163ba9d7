"""The audit log."""

from shared.storage.migrations import create_audit_tables

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    create_audit_tables()
