"""Where a Run's staging database is: every Run has its own, on the server of staging's secret."""

from shared.clients.database_urls import database_of, with_database
from shared.contracts.values import RunId

# PostgreSQL cuts longer names off in silence, and two Runs would then share a database.
_NAME_BYTES_MAX = 63


def staging_database_name(secret_url: str, run_id: RunId) -> str:
    """`<database of the secret's URL>_<run id with - as _>`; a long database name is cut, the run id never.

    Raises `ValueError` when the URL names no database.
    """
    database = database_of(secret_url)
    if not database:
        raise ValueError("staging's database URL names no database; it must end in /<database>")
    suffix = "_" + run_id.replace("-", "_")
    kept = database.encode()[: _NAME_BYTES_MAX - len(suffix)].decode(errors="ignore")
    return kept + suffix


def staging_database_url(secret_url: str, run_id: RunId) -> str:
    """The URL behind staging's secret with the Run's own database in place of the one that it names."""
    return with_database(secret_url, staging_database_name(secret_url, run_id))
