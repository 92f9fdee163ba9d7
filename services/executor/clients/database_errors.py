"""What a stage answers when a Project's database refused it and nothing else was made of that."""

import asyncpg

from services.executor.clients.postgres import words
from services.executor.domain.sqlstates import Place, finding_of, verdict_of
from shared.errors import Failure, Retry

_PLACES: dict[str, Place] = {"prepare": "copy", "roll-back": "restore"}
"""Where a stage meets a database with statements of our own."""


def answer(error: asyncpg.PostgresError, stage: str) -> Failure | Retry | None:
    """A verdict for the Project's maintainer, or another try first; none for a database of our own."""
    at = getattr(error, "upgradepath_at", None)
    if at is None:
        return None
    place = _PLACES.get(stage, "probe")
    reason = f"the database {at} refuses what {stage} asks of it: {words(error)}"
    finding = finding_of(error.sqlstate, place, f"database {at}", reason)
    if verdict_of(error.sqlstate, place).passes:
        return Retry(reason, finding)
    return Failure(reason, finding)
