"""The executor's HTTP door and wiring: what it did, told to those who may know."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.executor.api import router
from services.executor.app import build
from services.executor.handlers import run_stage
from services.executor.settings import ExecutorSettings
from services.executor.stages.tools import Tools
from shared.clients.content import ContentStore
from shared.clients.secrets import Secrets
from shared.contracts.facts import Facts
from shared.contracts.freezes import HoldDeploys
from shared.contracts.projects import Project
from shared.contracts.stages import CancelExecutorStage, Finding, RunExecutorStage
from shared.contracts.tasks import ChecksTask
from shared.contracts.values import Actor
from shared.http import problems
from shared.jobs.job import Job
from shared.jobs.journal import LeaseJournal
from tests.jobs.job_world import COMMIT, DONE, RUN, World, project, record
from tests.support.backups import backups
from tests.support.keys import PUBLIC_KEYS, VERIFIER, token
from tests.support.proofs import key_settings


def bearer(role: str = "maintainer", project: str = "acme") -> dict[str, str]:
    actor = Actor.model_validate({"id": "mira@acme.example", "role": role, "projects": [project]})
    return {"Authorization": f"Bearer {token(actor)}"}


async def nothing_is_missing(_: Project) -> list[Finding]:
    return []


async def test_jobs_and_effects_of_a_run_are_told(world: World) -> None:
    async def stage(job: Job, task: object) -> Facts:
        async with job.journal.effect("push", "main", production=True) as say:
            await say("half of main")
        return DONE

    await world.worker(stage)
    await world.deliver(record())
    await world.answers()
    app = FastAPI()
    app.state.tokens = VERIFIER
    problems.install(app)
    app.include_router(router(world.database, nothing_is_missing))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://executor") as client:
        report = (await client.get(f"/runs/{RUN}", headers=bearer())).raise_for_status().json()
        (job,), (effect,) = report["jobs"], report["effects"]
        assert (job["stage"], job["state"], job["outcome"]["kind"]) == ("record", "finished", "succeeded")
        assert (effect["name"], effect["production"], effect["done_at"] is not None) == ("push", True, True)
        assert effect["detail"] == "half of main"
        assert (await client.get(f"/runs/{RUN}", headers=bearer("sre", "other"))).status_code == 200
        assert (await client.get(f"/runs/{RUN}")).status_code == 401
        assert (await client.get(f"/runs/{RUN}", headers=bearer(project="beta"))).status_code == 404
        assert (await client.get("/runs/run-ffffffffffff", headers=bearer())).status_code == 404


async def test_checks_are_not_done_here(world: World, tmp_path: Path) -> None:
    await world.deliver(record())
    row = await world.lease("executor@one", 60)
    journal = LeaseJournal(world.database, row)
    job = Job(RUN, project(), "validate", 1, 1, 1, 60.0, journal)
    tools = Tools(ContentStore("memory:///"), Secrets(None, {}), tmp_path, backups())
    task = ChecksTask.model_validate({"stage": "validate", "commit": COMMIT, "address": None, "checks": {}})
    with pytest.raises(TypeError, match="validator"):
        await run_stage(tools, job, task)


async def test_the_service_reads_its_commands_and_nothing_else(postgres: Any, tmp_path: Path) -> None:
    settings = ExecutorSettings(
        database_url=postgres.url("executor"),
        content_url="memory:///",
        token_public_keys=PUBLIC_KEYS,
        work_folder=tmp_path,
        **key_settings("executor"),
    )
    service = build(settings)
    assert set(service.inbox.handlers) == {RunExecutorStage, CancelExecutorStage, HoldDeploys}
    assert (service.name, len(service.parts)) == ("executor", 6)
    await service.database.close()
