"""The validator's HTTP door and its wiring: a command in, the report and its logs out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.validator.api import router
from services.validator.app import build
from services.validator.handlers import HANDLERS, run_stage
from services.validator.settings import ValidatorSettings
from shared.clock import utc_now
from shared.contracts.envelope import receive, seal, to_body, to_headers
from shared.contracts.stages import CancelValidatorStage, RunValidatorStage
from shared.contracts.tasks import RecordTask
from shared.contracts.values import Actor
from shared.http import problems
from shared.jobs.handlers import WorkerInbox
from shared.jobs.store import WorkerTransaction
from shared.jobs.worker import Worker
from shared.storage.database import Database
from shared.storage.migrations import migrate_async
from tests.support.keys import PUBLIC_KEYS, VERIFIER, token
from tests.support.proofs import key_settings
from tests.validator.staging_world import RUN, Staging, python

CHECKS: dict[str, dict[str, Any]] = {
    "unit-tests": {"kind": "command", "run": python("print('3 tests')")},
    "users-kept": {"kind": "sql", "query": "select count(*) from users", "expect": "1"},
}


@pytest.fixture
async def reported(postgres: Any, staging: Staging) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the door, after one stage that passed and one that failed."""
    postgres.create_database("validator_door")
    await migrate_async("validator", postgres.url("validator_door"))
    database = Database("validator", postgres.url("validator_door"), WorkerTransaction)

    async def stage(job: Any, task: Any) -> Any:
        return await run_stage(staging.tools, job, task)

    worker = Worker(
        database,
        stage,
        command=RunValidatorStage,
        instance="test",
        slots=2,
        lease_s=15,
        redact=staging.tools.secrets.redact,
    )
    await worker.start()
    inbox = WorkerInbox(database, HANDLERS, worker)
    failing = CHECKS | {"broken": {"kind": "command", "run": python("raise SystemExit('no')")}}
    for fence, checks in ((1, CHECKS), (2, failing)):
        command = RunValidatorStage(
            run_id=RUN,
            project_id="acme",
            attempt=fence,
            fence=fence,
            deadline_s=60,
            project=staging.project(),
            task=staging.task(checks),
        )
        headers = to_headers(seal(command, source="/upgrades/planner", now=utc_now()))
        await inbox.handle_together([receive(headers, to_body(command))])
        await finished(database, fence)
    await worker.stop()
    app = FastAPI()
    app.state.tokens = VERIFIER
    problems.install(app)
    app.include_router(router(database, staging.tools.content), prefix="/validator")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://validator/validator") as client:
        yield client
    await database.close()


async def finished(database: Database[WorkerTransaction], fence: int) -> None:
    async with asyncio.timeout(20):
        while True:
            async with database.transaction() as tx:
                job = await tx.job(RUN, fence)
            if job is not None and job.state == "finished":
                return
            await asyncio.sleep(0.02)


def bearer(role: str = "maintainer", project: str = "acme") -> dict[str, str]:
    actor = Actor.model_validate({"id": "mira@acme.example", "role": role, "projects": [project]})
    return {"Authorization": f"Bearer {token(actor)}"}


async def test_a_run_is_reported_and_its_logs_can_be_read_by_those_who_may(
    reported: httpx.AsyncClient, staging: Staging
) -> None:
    report = (await reported.get(f"/runs/{RUN}", headers=bearer())).raise_for_status().json()
    assert [(job["stage"], job["attempt"], job["state"]) for job in report["jobs"]] == [
        ("validate", 1, "finished"),
        ("validate", 2, "finished"),
    ]
    assert [[(result["name"], result["verdict"]) for result in job["results"]] for job in report["jobs"]] == [
        [("unit-tests", "passed"), ("users-kept", "passed")],
        [("unit-tests", "passed"), ("users-kept", "passed"), ("broken", "failed")],
    ]
    digest = report["jobs"][0]["results"][0]["log"]
    log = await reported.get(f"/runs/{RUN}/logs/{digest}", headers=bearer("sre", "other"))
    assert (log.status_code, log.text) == (200, "3 tests\n")
    assert log.headers["content-type"].startswith("text/plain")

    for path in (f"/runs/{RUN}", f"/runs/{RUN}/logs/{digest}"):
        assert (await reported.get(path)).status_code == 401
        refused = await reported.get(path, headers=bearer(project="beta"))
        assert (refused.status_code, refused.json()["refusals"][0]["field"]) == (404, "run_id")

    foreign = await staging.tools.content.put(b"another run's file")
    missing = await reported.get(f"/runs/{RUN}/logs/{foreign}", headers=bearer())
    assert (missing.status_code, missing.json()["refusals"][0]["field"]) == (404, "digest")

    unknown = await reported.get("/runs/run-ffffffffffff", headers=bearer())
    assert (unknown.status_code, unknown.json()["refusals"][0]["field"]) == (404, "run_id")
    assert (await reported.get("/runs/nonsense", headers=bearer())).status_code == 422


async def test_the_executors_work_is_not_done_here(staging: Staging) -> None:
    task = RecordTask(branch=f"upgradepath/{RUN}", commit=staging.commit)
    with pytest.raises(TypeError, match="executor"):
        await run_stage(staging.tools, staging.job(), task)


async def test_the_service_reads_its_commands_and_nothing_else(postgres: Any, tmp_path: Path) -> None:
    settings = ValidatorSettings(
        database_url=postgres.url("validator"),
        content_url="memory:///",
        token_public_keys=PUBLIC_KEYS,
        work_folder=tmp_path,
        **key_settings("validator"),
    )
    service = build(settings)
    assert set(service.inbox.handlers) == {RunValidatorStage, CancelValidatorStage}
    assert (service.name, len(service.parts)) == ("validator", 2)
    await service.database.close()
