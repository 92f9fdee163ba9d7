"""The largest that each service is given or asked for, while its loop runs on.

The services are built as their processes build them.
Each test would catch a list, a page or a handler that goes through all of it at once.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.executor.app import build as build_executor
from services.executor.settings import ExecutorSettings
from services.notifier.app import build as build_notifier
from services.notifier.settings import NotifierSettings
from services.planner.app import build as build_planner
from services.planner.settings import PlannerSettings
from services.processes import COLLECT_AFTER_OBJECTS
from services.registry.app import build as build_registry
from services.registry.settings import RegistrySettings
from services.validator.app import build as build_validator
from services.validator.settings import ValidatorSettings
from shared.application import Service, web_application
from shared.clock import utc_now
from shared.contracts.facts import CheckResult, FileChange
from shared.contracts.releases import ReleasePublished
from shared.contracts.runs import RequestPlan
from shared.contracts.stages import Failed, Finding, StageFinished, Succeeded
from shared.garbage import imports_left_alone
from tests.conftest import ServiceDatabase
from tests.security.test_loop_stalls import no_stall
from tests.support.keys import PUBLIC_KEYS, bearer
from tests.support.planner_examples import MIRA, PROJECT, SRE, release, review_facts
from tests.support.planner_service import PlannerService
from tests.support.proofs import key_settings

RUN = "run-000000000000"
_LARGE = 800_000
"""Bytes of a message that fits, but for little."""
_BUILD: dict[str, tuple[Callable[[Any], Service], type[Any]]] = {
    "registry": (build_registry, RegistrySettings),
    "notifier": (build_notifier, NotifierSettings),
    "planner": (build_planner, PlannerSettings),
    "executor": (build_executor, ExecutorSettings),
    "validator": (build_validator, ValidatorSettings),
}


@asynccontextmanager
async def _built(name: str, url: str, folder: Path) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    build, settings = _BUILD[name]
    service = build(
        settings(
            database_url=url,
            content_url="memory:///",
            token_public_keys=PUBLIC_KEYS,
            work_folder=folder,
            **key_settings(name),
        )
    )
    transport = httpx.ASGITransport(app=web_application([service]))
    headers = bearer(SRE)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as http:
        with imports_left_alone(COLLECT_AFTER_OBJECTS):
            yield service, http
    await service.database.close()


async def _read(http: httpx.AsyncClient, path: str) -> Any:
    answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_planner_makes_a_plan_of_the_largest_review(
    service_database: ServiceDatabase, tmp_path: Path
) -> None:
    async with _built("planner", await service_database("planner"), tmp_path) as (service, http):
        planner = PlannerService(service.database)
        await planner.knows()
        run = await planner.ask(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None}))
        files = tuple(FileChange(path=f"systems/{number:0150}", change="added") for number in range(3_000))
        facts = review_facts("auth-system").model_copy(update={"files": files})
        assert len(facts.model_dump_json()) > 600_000
        async with no_stall():
            await planner.answered(run.id, Succeeded(facts=facts))
        async with no_stall():
            assert len((await _read(http, f"/planner/runs/{run.id}/plan"))["plan"]["files"]) == 3_000
            assert len(await _read(http, "/planner/runs")) == 1


@pytest.mark.parametrize("name", ["validator", "executor"])
async def test_a_worker_shows_a_run_of_the_largest_answers(
    service_database: ServiceDatabase, tmp_path: Path, name: str
) -> None:
    results = tuple(
        CheckResult(name=f"check-{number}", kind="sql", verdict="failed", detail="x" * 500, duration_ms=1)
        for number in range(_LARGE // 1_000)
    )
    outcome = Failed(
        reason="all failed",
        findings=(Finding(kind="check", subject="a", detail="x" * (_LARGE // 2), cure="b"),),
        results=results,
    )
    answer = StageFinished(
        run_id=RUN, project_id="acme", stage="validate", attempt=1, fence=1, outcome=outcome, worker="w",
        started_at=utc_now(), finished_at=utc_now(),
    )  # fmt: skip
    async with _built(name, await service_database(name), tmp_path) as (service, http):
        async with service.database.transaction() as tx:
            await tx.fetch(
                "insert into jobs (run_id, fence, project_id, stage, attempt, state, generation, command,"
                " cause, result, accepted_at) select $1, n, 'acme', 'validate', n, 'finished', 1, '{}', '{}',"
                " $2::text::json, now() from generate_series(1, 12) n",
                *(RUN, answer.model_dump_json()),
            )
        async with no_stall():
            assert (await _read(http, f"/{name}/runs/{RUN}"))["next"]
            if name == "validator":
                missing = await http.get(f"/validator/runs/{RUN}/logs/{'0' * 64}")
                assert missing.status_code == 404


async def test_the_registry_lists_the_largest_releases(
    service_database: ServiceDatabase, tmp_path: Path
) -> None:
    large = release("auth-system", "1.0.0").model_copy(update={"breaking": ("x" * 100,) * (_LARGE // 100)})
    event = ReleasePublished(release=large, revision=1, change="minor")
    async with _built("registry", await service_database("registry"), tmp_path) as (service, http):
        async with service.database.transaction() as tx:
            await tx.fetch(
                "insert into releases (system, version, published, defaults, defines, changelog,"
                " migration_notes) select 'auth-system', '1.' || n || '.0', $1::text::json, '{}', '[]', '', "
                "'' from generate_series(1, 8) n",
                event.model_dump_json(),
            )
        async with no_stall():
            answer = await http.get("/registry/releases")
            assert (answer.status_code, len(answer.json())) == (200, 1)


async def test_the_notifier_compares_a_whole_library(
    service_database: ServiceDatabase, tmp_path: Path
) -> None:
    many = [release("auth-system", f"1.{number}.0") for number in range(150)]
    async with _built("notifier", await service_database("notifier"), tmp_path) as (service, http):
        async with service.database.transaction() as tx:
            await tx.fetch(
                "insert into known_releases (system, version, release)"
                " select 'auth-system', v, r::json from unnest($1::text[], $2::text[]) as n (v, r)",
                [one.version for one in many],
                [one.model_dump_json() for one in many],
            )
            await tx.fetch(
                "insert into pins (project, system, version)"
                " select 'portal-' || replace(v, '.', '-'), 'auth-system', v"
                " from unnest($1::text[]) as n (v)",
                [one.version for one in many],
            )
        async with no_stall():
            assert len(await _read(http, "/notifier/outdated")) == 100
