"""What the planner tells of its Runs: where each one stands, for how long, and for whom it waits."""

from collections.abc import Iterable

from prometheus_client.core import Metric
from sqlalchemy import text

from services.planner.store import PlannerTransaction
from shared.storage.database import Database
from shared.telemetry.metrics import Gauges, gauge

_OPEN_RUNS = text(
    "select status, coalesce(run->>'stage', ''),"
    # A freeze says who froze deploys, and nobody need help: the run goes on with the thaw.
    " case when awaits_thaw then 'thaw' else coalesce(run->'blocked_by'->>'who', '') end, count(*), "
    "extract(epoch from now() - "
    "min(coalesce((run->'stages'->-1->'begun'->>'at')::timestamptz,"
    " (run->'stages'->-1->>'started_at')::timestamptz, requested_at))) "
    "from runs, lateral (select told::json->'run' as run) as seen where not ended group by 1, 2, 3"
)


def open_runs(database: Database[PlannerTransaction]) -> Gauges:
    """Runs that have not ended, by status, stage and whom they wait for; how long the oldest stands there."""

    async def ask() -> Iterable[Metric]:
        async with database.engine.connect() as connection:
            rows = (await connection.execute(_OPEN_RUNS)).all()
        labels = ("status", "stage", "waits_for")
        return (
            gauge(
                "runs", "Runs that have not ended.", labels, {tuple(row[:3]): float(row[3]) for row in rows}
            ),
            gauge(
                "run_stage_age_seconds",
                "Since the oldest of them began its stage.",
                labels,
                {tuple(row[:3]): float(row[4]) for row in rows},
            ),
        )

    return ask
