"""Decisions as seen at both doors: each act tried by each person, over HTTP and on the topic."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.planner.api import router
from shared.clients.content import ContentStore
from shared.contracts.policies import Policy
from shared.contracts.projects import RegisterProject
from shared.contracts.runs import (
    AcceptMasks,
    ApproveCandidate,
    ContinueRun,
    RejectCandidate,
    RequestPlan,
    RetryStage,
    RollBackRun,
    RunView,
    SignOff,
    StartRun,
)
from shared.contracts.values import Actor, Command
from shared.deciding import rules_of
from shared.http import problems
from tests.registry.registry_world import PINS, Registry
from tests.registry.registry_world import project as registered
from tests.security.desks import Desk, record
from tests.support.keys import VERIFIER, bearer, token
from tests.support.planner_examples import PROJECT, project
from tests.support.planner_service import PlannerService

Door = Callable[[Actor, str], Awaitable[bool]]
"""True when the policy lets the person do the act there."""
_numbers = itertools.count(1)


def of_the_project(name: str, *projects: str) -> Actor:
    return Actor(id=f"{name}@acme.example", role="maintainer", projects=projects or (PROJECT,))


PEOPLE = {
    name: of_the_project(name)
    for name in ("asker", "approver", "starter", "signer", "roller", "changer", "plain")
}
PEOPLE["stranger"] = PEOPLE["approver"].model_copy(update={"projects": ("globex-portal",)})
"""Has an approver's name, and another Project."""
PEOPLE["sre"] = Actor(id="sam@platform.example", role="sre")
PEOPLE["sre-who-asks"] = PEOPLE["sre"].model_copy(update={"id": PEOPLE["asker"].id})
PEOPLE["library"] = Actor(id="lena@library.example", role="library")


def ids(*names: str) -> tuple[str, ...]:
    return tuple(PEOPLE[name].id for name in names)


APPROVERS = ids("asker", "approver", "changer")
LISTED = Policy(
    approvals=2,
    start=ids("asker", "starter"),
    sign_off=ids("signer"),
    approve=ids("asker", "approver", "changer"),
    roll_back=ids("roller"),
    change=ids("approver", "changer"),
    weaken_masks=ids("asker", "signer"),
)
DEFAULT = Policy(approvals=2)
START = ("request", "start", "continue", "retry")
DECIDE = ("sign-off", "reject", "roll-back", "change")
DECIDES: dict[str, dict[str, set[str]]] = {
    "lists": {
        "asker": {*START, "reject"},
        "approver": {"approve", "reject", "change"},
        "changer": {"approve", "reject", "change"},
        "starter": {*START},
        "signer": {"sign-off", "accept-masks"},
        "roller": {"roll-back"},
        "sre": {"roll-back", "change"},
        # The id counts, and not the role with which it comes.
        "sre-who-asks": {*START, "reject", "roll-back", "change"},
        "plain": set(),
        "stranger": set(),
        "library": set(),
    },
    "default": {
        **{name: {*START} for name in ("starter", "signer", "roller", "plain")},
        **{name: {*START, *DECIDE, "approve", "accept-masks"} for name in ("approver", "changer")},
        "asker": {*START, *DECIDE},
        "sre": {*START, "roll-back", "change"},
        "sre-who-asks": {*START, *DECIDE},
        "stranger": set(),
        "library": set(),
    },
}
POLICIES = {"lists": LISTED, "default": DEFAULT}
ACTS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "request": (RequestPlan, {"systems": {"auth-system": None}}),
    "start": (StartRun, {"plan": "0" * 64}),
    "continue": (ContinueRun, {}),
    "retry": (RetryStage, {}),
    "sign-off": (SignOff, {"check": "partner-sign-off"}),
    "approve": (ApproveCandidate, {"candidate": "0" * 64}),
    "accept-masks": (AcceptMasks, {"plan": "0" * 64}),
    "reject": (RejectCandidate, {"reason": "no"}),
    "roll-back": (RollBackRun, {"reason": "no", "restore_backup": True}),
}
"""Each names what is not so: whom the policy lets in is refused for that, and the Run stays as it is."""


async def planner_doors(
    desk: Desk, policy: Policy, folder: Path
) -> tuple[dict[str, Door], Callable[[], Any]]:
    """Both doors to a Run whose plan `asker` has asked for, and what reads the Run."""
    service = PlannerService(desk.database)
    await service.knows(project().model_copy(update={"approvers": APPROVERS, "policy": policy}))
    opened = await service.planned(PEOPLE["asker"])
    app = FastAPI()
    app.state.tokens = VERIFIER
    problems.install(app)
    app.include_router(router(desk.inbox, desk.database, ContentStore(f"file://{folder}")), prefix="/planner")
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://door")

    async def over_http(who: Actor, act: str) -> bool:
        path = "/planner/runs" if act == "request" else f"/planner/runs/{opened.id}/{act}"
        body = {"project": PROJECT, **ACTS[act][1]} if act == "request" else ACTS[act][1]
        answer = await client.post(path, json=body, headers=bearer(who))
        assert answer.status_code in {201, 403, 404, 409, 422}, answer.text
        return answer.status_code not in {403, 404}

    async def on_the_topic(who: Actor, act: str) -> bool:
        kind, given = ACTS[act]
        run = {} if act == "request" else {"run_id": opened.id}
        return await told(desk, kind(actor=who, project=PROJECT, **run, **given))

    async def run() -> RunView:
        return await service.view(opened.id)

    return {"http": over_http, "topic": on_the_topic}, run


async def told(desk: Desk, command: Command) -> bool:
    """True when the service lets the command's actor do that, however it is decided."""
    await desk.sent()
    await desk.take(record(command, token(command.actor)))
    refusals = await desk.refusals()
    return not any(each.refusals[0].kind == "forbidden" for each in refusals)


@pytest.mark.parametrize("policy", POLICIES)
async def test_each_decision_about_a_run_by_each_person(planner: Desk, tmp_path: Path, policy: str) -> None:
    """Would catch an act that forgets to ask the policy, at one door or at both."""
    doors, run = await planner_doors(planner, POLICIES[policy], tmp_path)
    before = await run()
    found: dict[str, dict[str, set[str]]] = {door: {} for door in doors}
    for (door, may), (name, who) in itertools.product(doors.items(), PEOPLE.items()):
        found[door][name] = {act for act in ACTS if await may(who, act)}
    expected = {name: acts - {"change"} for name, acts in DECIDES[policy].items()}
    assert found == {"http": expected, "topic": expected}
    assert await run() == before


@pytest.mark.parametrize("policy", POLICIES)
async def test_each_change_of_the_registration_by_each_person(registry: Registry, policy: str) -> None:
    """Two present approvers change approvers; an SRE in an emergency; nobody else at either door."""
    await registry.publish()
    present = registered(approvers=APPROVERS, policy=POLICIES[policy])
    await registry.ask(RegisterProject(actor=PEOPLE["asker"], project=present, pins=PINS))
    desk = Desk(registry.database, registry.inbox)
    found: dict[str, set[str]] = {"http": set(), "topic": set()}
    for name, who in sorted(PEOPLE.items(), key=lambda each: each[1].role == "sre"):
        for door in found:
            another = f"new-{next(_numbers)}@acme.example"
            wanted = present.model_copy(update={"approvers": (*APPROVERS, another)})
            if door == "topic":
                is_let = await told(desk, RegisterProject(actor=who, project=wanted, pins=PINS))
            else:
                body = {"project": wanted.model_dump(mode="json", by_alias=True), "pins": PINS}
                answer = await registry.http.post("/projects", json=body, headers=bearer(who))
                is_let = answer.status_code not in {403, 404}
                # An approver's is one of two words: it waits, and nothing has changed.
                alone = who.role == "sre" and who.id not in rules_of(present).change
                assert answer.status_code == (403 if not is_let else 201 if alone else 202)
            if is_let:
                found[door].add(name)
    may_change = {name for name, acts in DECIDES[policy].items() if "change" in acts}
    assert found == {"http": may_change, "topic": may_change}
