"""The planner's HTTP door: roles, plans, long polls, problems, and keys that make a repeat harmless."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from services.planner.api import router
from shared.clients.content import ContentStore
from shared.contracts.runs import RequestPlan
from shared.contracts.stages import RunExecutorStage, Succeeded
from shared.contracts.values import Actor
from shared.http import problems
from shared.http.guard import Guard
from shared.identity.keys import SigningKey
from shared.identity.tokens import issue_token
from shared.settings import HttpSettings
from tests.support.doors import RawClient, WatchedSlots, listening
from tests.support.keys import KEY, VERIFIER, bearer
from tests.support.planner_examples import MIRA, OTTO, PROJECT, SRE, digest, review_facts
from tests.support.planner_service import PlannerService

LENA = Actor(id="lena@library.example", role="library")
EVE = Actor(id="eve@other.example", role="maintainer", projects=("other",))
PLAN = {"project": PROJECT, "systems": {"auth-system": None}}
DIFF = b"--- a/signin.py\n+++ b/signin.py\n"


class Door:
    """The door as one actor sees it."""

    def __init__(self, app: FastAPI) -> None:
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, raise_app_exceptions=False), base_url="http://test"
        )

    async def get(self, path: str, by: Actor | None = MIRA, **query: Any) -> httpx.Response:
        return await self.http.get(f"/planner{path}", params=query, headers=_headers(by))

    async def post(
        self, path: str, body: Any, by: Actor | None = MIRA, key: str | None = None
    ) -> httpx.Response:
        headers = _headers(by) | ({"Idempotency-Key": key} if key else {})
        return await self.http.post(f"/planner{path}", json=body, headers=headers)


def _headers(by: Actor | None) -> dict[str, str]:
    return bearer(by) if by else {}


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    (tmp_path / "content").mkdir()
    return ContentStore(f"file://{tmp_path / 'content'}")


@pytest.fixture
async def door(planner: PlannerService, content: ContentStore) -> AsyncIterator[Door]:
    app = FastAPI()
    app.state.tokens = VERIFIER
    problems.install(app)
    app.include_router(router(planner.inbox, planner.database, content), prefix="/planner")
    door = Door(app)
    async with door.http:
        yield door


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The first refusal of a problem document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], bool(body["title"]), bool(body["detail"])) == (status, True, True)
    refusals: list[dict[str, Any]] = body["refusals"]
    assert all(refusal["reason"] and refusal["cure"] for refusal in refusals)
    return refusals[0] if refusals else {}


async def test_a_whole_opt_in_over_http(door: Door, planner: PlannerService, content: ContentStore) -> None:
    asked = await door.post("/runs", PLAN)
    assert asked.status_code == 201
    run = asked.json()
    assert (run["status"], run["systems"]) == ("planning", {"auth-system": "1.3.0"})
    early = problem(await door.get(f"/runs/{run['id']}/plan"), 409)
    assert "has no plan yet" in early["reason"]

    facts = review_facts().model_copy(update={"diff": await content.put(DIFF)})
    await planner.answered(run["id"], Succeeded(facts=facts))
    plan = (await door.get(f"/runs/{run['id']}/plan")).json()
    assert plan["plan"]["pins_after"]["auth-system"] == "1.3.0"
    assert (await door.get(f"/plans/{plan['digest']}")).json() == plan["plan"]
    diff = await door.get(f"/runs/{run['id']}/diff")
    assert (diff.content, diff.headers["content-type"]) == (DIFF, "text/plain; charset=utf-8")

    started = await door.post(f"/runs/{run['id']}/start", {"plan": plan["digest"]})
    assert (started.status_code, started.json()["stage"]) == (200, "prepare")
    listed = (await door.get("/runs", project=PROJECT, status="running")).json()
    assert [one["id"] for one in listed] == [run["id"]]
    assert (await door.get("/runs", status="succeeded")).json() == []


async def test_a_long_poll_ends_when_its_client_goes(planner: PlannerService, content: ContentStore) -> None:
    """A client that opened and closed connections held the places of all others for a minute each."""
    command = RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None})
    run = (await planner.ask(command)).id
    app = FastAPI()
    app.state.tokens = VERIFIER
    waits = WatchedSlots(1, 1)
    app.include_router(router(planner.inbox, planner.database, content, waits), prefix="/planner")
    app.add_middleware(Guard, settings=HttpSettings())
    target, proof = f"/planner/runs/{run}?after_revision=99&wait_s=60", bearer(MIRA)["Authorization"]
    async with listening(app, HttpSettings()) as port, asyncio.timeout(10):
        async with RawClient.connected(port) as client:
            head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {proof}\r\n\r\n"
            await client.send(head.encode())
            await waits.taken.wait()
        await waits.given_back.wait()


async def test_runs_are_listed_newest_first(door: Door) -> None:
    ids = [(await door.post("/runs", PLAN)).json()["id"] for _ in range(3)]
    assert [run["id"] for run in (await door.get("/runs")).json()] == ids[::-1]


async def test_every_decision_over_http_is_the_same_as_on_the_topic(
    door: Door, planner: PlannerService
) -> None:
    run = await planner.started()
    for _ in range(5):
        await planner.answered(run.id)
    declined = {"check": "partner-sign-off", "accepted": False, "remark": "the mail is wrong"}
    assert (await door.post(f"/runs/{run.id}/sign-off", declined)).json()["status"] == "waiting"
    assert (await door.post(f"/runs/{run.id}/continue", {})).json()["stage"] == "apply"
    refused = problem(await door.post(f"/runs/{run.id}/retry", {}), 409)
    assert "only a stage that failed or errored" in refused["reason"]
    for _ in range(4):
        await planner.answered(run.id)
    signed = (await door.post(f"/runs/{run.id}/sign-off", {"check": "partner-sign-off"})).json()
    by_otto = await door.post(f"/runs/{run.id}/approve", {"candidate": signed["candidate"]}, OTTO)
    assert problem(by_otto, 403)["kind"] == "forbidden"
    rejected = (await door.post(f"/runs/{run.id}/reject", {"reason": "not this week"})).json()
    assert (rejected["status"], "not this week" in rejected["reason"]) == ("rolling-back", True)
    problem(await door.post(f"/runs/{run.id}/cancel", {"reason": "x"}), 409)
    problem(await door.post(f"/runs/{run.id}/roll-back", {"reason": "x"}), 409)


# --- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [EVE, LENA], ids=lambda actor: actor.role)
async def test_others_see_and_do_nothing(door: Door, planner: PlannerService, by: Actor) -> None:
    run = await planner.planned()
    assert (await door.get("/runs", by)).json() == []
    for path in (f"/runs/{run.id}", f"/runs/{run.id}/plan", f"/runs/{run.id}/diff", f"/plans/{run.plan}"):
        response = await door.get(path, by)
        assert problem(response, 404)["kind"] == "not-found"
        assert "auth-system" not in response.text
    assert problem(await door.post("/runs", PLAN, by), 404)["kind"] == "not-found"
    problem(await door.post(f"/runs/{run.id}/start", {"plan": run.plan}, by), 404)
    assert (await planner.view(run.id)).status == "planned"


async def test_an_sre_may_look_everywhere_but_approves_nothing(door: Door, planner: PlannerService) -> None:
    run = await planner.started()
    while run.candidate is None:
        run = await planner.step(run.id)
    assert (await door.get(f"/runs/{run.id}", SRE)).status_code == 200
    problem(await door.post(f"/runs/{run.id}/approve", {"candidate": run.candidate}, SRE), 403)


async def test_a_body_cannot_say_who_asks(door: Door, planner: PlannerService) -> None:
    run = await planner.started()
    while run.candidate is None:
        run = await planner.step(run.id)
    claim = {"candidate": run.candidate, "actor": MIRA.model_dump()}
    problem(await door.post(f"/runs/{run.id}/approve", claim, OTTO), 403)


async def test_without_a_token_or_with_one_that_proves_nothing_there_is_no_answer(door: Door) -> None:
    problem(await door.get("/runs", by=None), 401)
    response = await door.http.get("/planner/runs", headers={"Authorization": "Bearer not.a.token"})
    problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
    old = issue_token(MIRA, KEY, valid_for=timedelta(seconds=-1))
    response = await door.http.get("/planner/runs", headers={"Authorization": f"Bearer {old}"})
    problem(response, 401)
    forged = issue_token(MIRA, SecretStr(SigningKey.new().pem()))
    response = await door.http.get("/planner/runs", headers={"Authorization": f"Bearer {forged}"})
    problem(response, 401)


# --- what is wrong --------------------------------------------------------------------------------


async def test_what_is_not_there_is_not_found(door: Door) -> None:
    assert problem(await door.get("/runs/run-000000000000"), 404)["field"] == "run_id"
    assert problem(await door.get(f"/plans/{digest('none')}"), 404)["field"] == "plan"
    missing = await door.post("/runs/run-000000000000/cancel", {"reason": "a slip"})
    assert problem(missing, 404)["kind"] == "not-found"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/runs", {"project": PROJECT, "systems": {}}, "systems"),
        ("/runs", {"project": PROJECT, "systems": {"auth-system": "new"}}, "systems.auth-system"),
        ("/runs", {"project": "Acme!", "systems": {"auth-system": None}}, "project"),
        ("/runs", {"systems": {"auth-system": None}}, "project"),
        ("start", {}, "plan"),
        ("start", {"plan": "short"}, "plan"),
        ("approve", {"candidate": None}, "candidate"),
        ("cancel", {"reason": ""}, "reason"),
        ("sign-off", {"accepted": True}, "check"),
        ("roll-back", {"reason": "x", "restore_backup": "perhaps"}, "restore_backup"),
    ],
)
async def test_a_body_that_does_not_fit_names_its_field(
    door: Door, planner: PlannerService, path: str, body: dict[str, Any], field: str
) -> None:
    if not path.startswith("/"):
        path = f"/runs/{(await planner.planned()).id}/{path}"
    refusal = problem(await door.post(path, body), 422)
    assert (refusal["kind"], refusal["field"]) == ("invalid", field)


async def test_all_reasons_come_in_one_answer(door: Door) -> None:
    wish = {"project": PROJECT, "systems": {"billing-system": None, "auth-system": "9.0.0"}}
    response = await door.post("/runs", wish)
    problem(response, 422)
    fields = [refusal["field"] for refusal in response.json()["refusals"]]
    assert fields == ["systems.billing-system", "systems.auth-system"]


# --- repeats and waiting --------------------------------------------------------------------------


async def test_the_same_key_is_answered_alike_and_done_once(door: Door, planner: PlannerService) -> None:
    first = await door.post("/runs", PLAN, key="one-wish-1")
    await planner.answered(first.json()["id"])
    again = await door.post("/runs", PLAN, key="one-wish-1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert len((await door.get("/runs")).json()) == 1
    commands = [one for one in await planner.sent() if isinstance(one.message, RunExecutorStage)]
    assert len(commands) == 1


async def test_the_same_key_at_once_opens_one_run(door: Door, planner: PlannerService) -> None:
    answers = await asyncio.gather(*(door.post("/runs", PLAN, key="one-wish-2") for _ in range(4)))
    assert len({one.json()["id"] for one in answers if one.status_code == 201}) == 1
    assert len((await door.get("/runs")).json()) == 1
    assert {one.status_code for one in answers} == {201}


async def test_a_refusal_is_repeated_alike(door: Door, planner: PlannerService) -> None:
    run = await planner.planned()
    body = {"plan": digest("another")}
    first = await door.post(f"/runs/{run.id}/start", body, key="a-wrong-start")
    again = await door.post(f"/runs/{run.id}/start", body, key="a-wrong-start")
    problem(first, 409)
    assert again.json() == first.json()


async def test_a_key_that_was_used_for_something_else_is_a_conflict(door: Door) -> None:
    await door.post("/runs", PLAN, key="one-wish-3")
    other = {"project": PROJECT, "systems": {"notifications-system": None}}
    assert problem(await door.post("/runs", other, key="one-wish-3"), 409)["field"] == "Idempotency-Key"
    by_another = await door.post("/runs", other, OTTO, key="one-wish-3")
    assert by_another.status_code == 201, "keys are each actor's own"


async def test_a_long_poll_answers_when_the_run_changes(door: Door, planner: PlannerService) -> None:
    run = await planner.planned()
    state = (await door.get(f"/runs/{run.id}")).json()
    poll = asyncio.create_task(door.get(f"/runs/{run.id}", after_revision=state["revision"], wait_s=30))
    await door.post(f"/runs/{run.id}/start", {"plan": run.plan})
    changed = (await poll).json()
    assert changed["revision"] == state["revision"] + 1
    assert changed["run"]["status"] == "running"


async def test_a_long_poll_in_vain_answers_with_what_there_is(door: Door, planner: PlannerService) -> None:
    run = await planner.planned()
    state = (await door.get(f"/runs/{run.id}")).json()
    waited = await door.get(f"/runs/{run.id}", after_revision=state["revision"], wait_s=0.1)
    assert waited.json() == state
    assert problem(await door.get(f"/runs/{run.id}", wait_s=3600), 422)["field"] == "query.wait_s"
