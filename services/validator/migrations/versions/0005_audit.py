"""The audit log."""

from shared.storage.migrations import create_audit_tables

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    create_audit_tables()
