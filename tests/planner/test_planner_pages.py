"""Lists in pages: own rows are found behind any number of others', and a cursor is what a list gave."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI

from services.planner.api import router
from shared.clients.content import ContentStore
from shared.contracts.values import Actor
from shared.http import problems
from shared.http.guard import Guard
from shared.http.limits import Slots
from shared.http.pages import PAGE_ROWS, PAGE_ROWS_MAX
from shared.settings import HttpSettings
from tests.support.keys import VERIFIER, bearer
from tests.support.planner_examples import MIRA, PROJECT, SRE
from tests.support.planner_service import PlannerService

OTHERS = 250
EVE = Actor(id="eve@other.example", role="maintainer", projects=("other",))


@pytest.fixture
async def http(planner: PlannerService) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.state.tokens = VERIFIER
    problems.install(app)
    routes = router(planner.inbox, planner.database, ContentStore("memory:///"), Slots(2, 1))
    app.include_router(routes, prefix="/planner")
    app.add_middleware(Guard, settings=HttpSettings())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def pages(http: httpx.AsyncClient, actor: Actor, path: str, **query: Any) -> list[list[Any]]:
    """Every page of the list, by following what each says."""
    found = []
    while True:
        answer = await http.get(path, params=query, headers=bearer(actor))
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        if "next" not in answer.links:
            return found
        query = {
            name: values[0] for name, values in parse_qs(urlsplit(answer.links["next"]["url"]).query).items()
        }


async def _crowd(planner: PlannerService, own: int) -> list[str]:
    """Own Runs, the oldest first, and many newer ones of others."""
    ids = [(await planner.planned()).id for _ in range(own)]
    async with planner.database.transaction() as tx:
        await tx.fetch(
            "insert into runs (id, project, status, started, ended, revision, requested_at, awaits_thaw,"
            " told, origin) select 'run-' || lpad(to_hex(n), 12, '0'), 'other', status, false, true, 1,"
            " now() + interval '1 hour', false, replace(told, $2, 'run-' || lpad(to_hex(n), 12, '0')), origin"
            " from runs, generate_series(1, $1::int) n where id = $2",
            OTHERS,
            ids[0],
        )
    return ids


async def test_own_runs_are_found_behind_those_of_others(
    planner: PlannerService, http: httpx.AsyncClient
) -> None:
    """Catches a list that is cut first and filtered then."""
    ids = await _crowd(planner, 3)
    [mine] = await pages(http, MIRA, "/planner/runs")
    assert [run["id"] for run in mine] == ids[::-1]
    assert await pages(http, EVE, "/planner/runs", project=PROJECT) == [[]]


async def test_pages_give_every_row_once(planner: PlannerService, http: httpx.AsyncClient) -> None:
    """Catches rows of the same moment that are shown twice, or never."""
    ids = await _crowd(planner, 3)
    seen = await pages(http, SRE, "/planner/runs", limit=7)
    assert {len(page) for page in seen[:-1]} == {7}
    names = [run["id"] for page in seen for run in page]
    assert (len(names), len(set(names)), names[-3:]) == (OTHERS + 3, OTHERS + 3, ids[::-1])
    assert len((await pages(http, SRE, "/planner/runs"))[0]) == PAGE_ROWS


@pytest.mark.parametrize("limit", ["0", "-1", str(PAGE_ROWS_MAX + 1), "1e3", "9" * 4000, "", "NaN"])
async def test_a_limit_is_bounded(http: httpx.AsyncClient, limit: str) -> None:
    answer = await http.get("/planner/runs", params={"limit": limit}, headers=bearer(MIRA))
    assert answer.status_code == 422, answer.text


def cursor(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "after",
    [
        "",
        "x",
        "é" * 10,
        "A" * 1001,
        cursor({}),
        cursor(None),
        cursor([]),
        cursor(["2026-01-01T00:00:00+00:00"]),
        cursor(["2026-01-01T00:00:00", "run-1"]),
        cursor(["0001-01-01T00:00:00+00:00", "run-1"]),
        cursor(["9999-12-31T23:59:59+00:00", "run-1"]),
        cursor(["2026-01-01T00:00:00+00:00", "run\x00"]),
        cursor(["2026-01-01T00:00:00+00:00", "\ud800"]),
        cursor(["2026-01-01T00:00:00+00:00", 1]),
        cursor([1, "run-1"]),
        cursor([True, [[]]]),
        "[" * 900,
        urlsafe_b64encode(b"[" * 700).decode(),
    ],
)
async def test_a_cursor_of_ones_own_making_is_refused(http: httpx.AsyncClient, after: str) -> None:
    """Catches a cursor that reaches a query as it is."""
    answer = await http.get("/planner/runs", params={"after": after}, headers=bearer(MIRA))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_what_one_may_not_see_looks_like_what_is_not_there(
    planner: PlannerService, http: httpx.AsyncClient
) -> None:
    """Catches an answer by which a stranger learns that a Run, a plan or a Project exists."""
    run = await planner.planned()
    nothing = "run-ffffffffffff"
    for path in ("/runs/{}", "/runs/{}/plan", "/runs/{}/diff", "/plans/{}", "/projects/{}"):
        there = {"/plans/{}": run.plan or "", "/projects/{}": PROJECT}.get(path, run.id)
        absent = {"/plans/{}": "0" * 64, "/projects/{}": "no-such-portal"}.get(path, nothing)
        answers = [
            await http.get("/planner" + path.format(name), headers=bearer(EVE)) for name in (there, absent)
        ]
        assert [answer.status_code for answer in answers] == [404, 404], path
        foreign, missing = (
            answer.text.replace(name, "…") for answer, name in zip(answers, (there, absent), strict=True)
        )
        assert foreign == missing


async def test_long_polls_are_bounded(planner: PlannerService, http: httpx.AsyncClient) -> None:
    """Catches polls that wait by the hundred, each with a question to the database every moment."""
    run = await planner.planned()
    slots = Slots(2, 1)
    with slots.hold(MIRA.id):
        app = FastAPI()
        app.state.tokens = VERIFIER
        problems.install(app)
        app.include_router(router(planner.inbox, planner.database, ContentStore("memory:///"), slots))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            query = {"after_revision": 99, "wait_s": 5}
            refused = await client.get(f"/runs/{run.id}", params=query, headers=bearer(MIRA))
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            now = await client.get(f"/runs/{run.id}", headers=bearer(MIRA))
            assert now.status_code == 200
    too_long = await http.get(f"/planner/runs/{run.id}", params={"wait_s": 61}, headers=bearer(MIRA))
    assert too_long.status_code == 422
