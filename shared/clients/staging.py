"""Where a Run's staging database is: every Run has its own, on the server of staging's secret."""

import hashlib

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


def staging_owner(project: str, repository: str, run_id: RunId, fence: int) -> str:
    """What stands on a Run's staging database: whose it is, and since which fence."""
    return f"{_signature(project, repository)} {run_id} {fence}"


def earlier_run(whose: str, project: str, repository: str, fence: int) -> RunId | None:
    """The Run of this Project, begun before `fence`, that has written `whose`; none when it was not."""
    signature, _, rest = whose.rpartition(" run-")
    run, _, written = rest.partition(" ")
    if signature != _signature(project, repository) or not written.isdigit() or int(written) >= fence:
        return None
    return f"run-{run}"


def _signature(project: str, repository: str) -> str:
    return f"upgradepath {project} {hashlib.sha256(repository.encode()).hexdigest()[:16]}"
