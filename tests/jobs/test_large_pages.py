"""Large rows come on several pages: nobody waits for all of them at once."""

import asyncio
import gc
import json
import time

import httpx
from fastapi import FastAPI
from sqlalchemy import text

from services.executor.api import router
from shared.contracts.projects import Project
from shared.contracts.stages import Finding
from shared.http import problems
from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database
from tests.jobs.job_world import RUN, project
from tests.support.keys import VERIFIER, bearer
from tests.support.planner_examples import SRE

JOBS = 12
LARGE = 800_000
STALL_S_MAX = 0.1
_INSERT = (
    "insert into jobs (run_id, fence, project_id, stage, attempt, state, generation, accepted_at, command,"
    " cause, result) select :run, n, :project, 'review', n, 'finished', 1, now(), '{}', '{}',"
    " cast(:result as json) from generate_series(1, :jobs) as n"
)


async def _nothing(_: Project) -> list[Finding]:
    return []


async def test_a_run_with_large_answers_is_read_in_pages_and_stalls_nobody(
    database: Database[WorkerTransaction],
) -> None:
    """A dozen retries of a stage that has much to say held the executor's loop for seconds."""
    finding = {"kind": "check", "subject": "a", "detail": "x" * 1000, "cure": "b"}
    outcome = {"kind": "failed", "reason": "no", "findings": [finding] * (LARGE // 1000)}
    about = {"run_id": RUN, "project_id": project().id, "stage": "review", "attempt": 1, "fence": 1}
    moment = "2026-03-01T12:00:00Z"
    result = {**about, "outcome": outcome, "worker": "w", "started_at": moment, "finished_at": moment}
    async with database.transaction() as tx:
        given = {"run": RUN, "project": project().id, "result": json.dumps(result), "jobs": JOBS}
        await tx.session.execute(text(_INSERT), given)
    app = FastAPI()
    app.state.tokens = VERIFIER
    problems.install(app)
    app.include_router(router(database, _nothing), prefix="/executor")
    target, stalls = f"/executor/runs/{RUN}", [0.0]
    seen: list[int] = []

    async def beat() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            stalls.append(time.thread_time() - before)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=bearer(SRE)) as http:
        # What is loaded and compiled at the first request is of no interest.
        assert (await http.get("/executor/runs/run-000000000000")).status_code == 404
        assert (await http.get(target, params={"limit": 1})).status_code == 200
        # As a service does at its start: all that the tests have loaded is not looked through again.
        gc.collect()
        gc.freeze()
        beating = asyncio.create_task(beat())
        after: str | None = None
        while after is not None or not seen:
            answer = await http.get(target, params={"limit": 200} | ({"after": after} if after else {}))
            seen += [each["fence"] for each in answer.json()["jobs"]]
            after = answer.json()["next"]
            assert len(answer.content) < 2 << 20
        beating.cancel()
        gc.unfreeze()
    assert seen == list(range(1, JOBS + 1))
    assert max(stalls) < STALL_S_MAX
