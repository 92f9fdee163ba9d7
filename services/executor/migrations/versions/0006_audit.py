"""The audit log."""

from shared.storage.migrations import create_audit_tables

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    create_audit_tables()
