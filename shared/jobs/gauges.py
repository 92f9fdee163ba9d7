"""What a worker tells of its jobs: how many wait or run, and for how long."""

from collections.abc import Iterable

from prometheus_client.core import Metric
from sqlalchemy import text

from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database
from shared.telemetry.metrics import Gauges, gauge

_OPEN_JOBS = text(
    "select state, stage, count(*), extract(epoch from now() - min(coalesce(started_at, accepted_at))) "
    "from jobs where state in ('queued', 'leased') group by state, stage"
)


def open_jobs(database: Database[WorkerTransaction]) -> Gauges:
    """Jobs that are queued or leased, per stage, and the age of the oldest of each."""

    async def ask() -> Iterable[Metric]:
        async with database.engine.connect() as connection:
            rows = (await connection.execute(_OPEN_JOBS)).all()
        labels = ("service", "state", "stage")
        counts: dict[tuple[str, ...], float] = {}
        ages_s: dict[tuple[str, ...], float] = {}
        for state, stage, count, age_s in rows:
            counts[database.service, state, stage] = float(count)
            ages_s[database.service, state, stage] = float(age_s)
        return (
            gauge("jobs", "Jobs that are queued or leased.", labels, counts),
            gauge(
                "job_age_seconds",
                "Since the oldest was accepted, or began if it is leased.",
                labels,
                ages_s,
            ),
        )

    return ask
