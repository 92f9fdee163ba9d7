"""Time for code that has no transaction: handlers use the database's clock instead (`tx.now`)."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)
