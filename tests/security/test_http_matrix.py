"""Every endpoint × who asks × own or other Project, generated from the OpenAPI document.

A route without a rule fails the first test: whoever adds one says who may use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import httpx
import pytest
from pydantic import SecretStr

from shared.contracts.topics import SERVICES
from shared.contracts.values import Actor
from shared.identity.tokens import issue_token
from tests.journeys.conftest import Portals
from tests.support.people import LIBRARY, SRE
from tests.support.portal import Portal
from tests.support.system import Embedded

Read = Literal["open", "released", "list", "own", "audit", "export"]
Rule = Read | Literal["decide", "publish", "register", "operate", "check"]
Who = Literal["nobody", "expired", "library", "owner", "stranger", "sre"]

WHO: tuple[Who, ...] = ("nobody", "expired", "library", "stranger", "sre", "owner")
"""The owner comes last: what it does may change the Run that the others are refused."""
DIGEST = "0" * 64
REASON = {"reason": "the matrix asks"}

RULES: Mapping[str, Rule] = {
    "POST /registry/content": "publish",
    "POST /registry/releases/check": "check",
    "POST /registry/releases": "publish",
    "GET /registry/releases": "released",
    "POST /registry/releases/{system}/{version}/withdraw": "publish",
    "GET /registry/releases/{system}/{version}": "released",
    "GET /registry/releases/{system}/{version}/package": "released",
    "GET /registry/releases/{system}/{version}/signature": "released",
    "GET /registry/releases/{system}/{version}/receipt": "released",
    "POST /registry/projects": "register",
    "POST /registry/projects/{project}/confirm": "decide",
    "GET /registry/projects": "list",
    "GET /registry/projects/{project}": "own",
    "GET /registry/version-maps/{project}": "own",
    "GET /registry/version-maps/{project}/history": "own",
    "GET /registry/version-maps/{project}/signed": "own",
    "GET /notifier/inbox/{project}": "own",
    "GET /notifier/outdated": "list",
    "GET /planner/runs": "list",
    "POST /planner/runs": "decide",
    "GET /planner/runs/{run_id}": "own",
    "GET /planner/runs/{run_id}/plan": "own",
    "GET /planner/runs/{run_id}/plan/signed": "own",
    "GET /planner/runs/{run_id}/signed": "own",
    "GET /planner/runs/{run_id}/diff": "own",
    "GET /planner/projects/{project}": "own",
    "GET /planner/plans/{digest}": "own",
    **{
        f"POST /planner/runs/{{run_id}}/{verb}": "decide"
        for verb in (
            *(
                "start",
                "accept-masks",
                "continue",
                "retry",
                "sign-off",
                "approve",
                "reject",
                "resume",
                "roll-back",
            ),
        )
    },
    "POST /planner/runs/{run_id}/cancel": "decide",
    "GET /planner/freeze": "released",
    "POST /planner/freeze": "operate",
    "POST /planner/thaw": "operate",
    "POST /executor/prerequisites": "register",
    "GET /executor/runs/{run_id}": "own",
    "GET /validator/runs/{run_id}": "own",
    "GET /validator/runs/{run_id}/logs/{digest}": "own",
    **{f"GET /{service}/audit": "audit" for service in SERVICES},
    **{f"GET /{service}/audit/export": "export" for service in SERVICES},
    "GET /health": "open",
    "GET /metrics": "open",
}

BODIES: Mapping[str, Any] = {
    "POST /registry/content": b"bytes of nothing",
    "POST /registry/releases/check": b"bytes of nothing",
    "POST /registry/releases": {"system": "auth-system", "version": "99.0.0", "package": DIGEST},
    "POST /registry/releases/{system}/{version}/withdraw": REASON,
    "POST /registry/projects/{project}/confirm": {"change": DIGEST},
    "POST /planner/runs/{run_id}/start": {"plan": DIGEST},
    "POST /planner/runs/{run_id}/accept-masks": {"plan": DIGEST},
    "POST /planner/runs/{run_id}/approve": {"candidate": DIGEST},
    "POST /planner/runs/{run_id}/sign-off": {"check": "none"},
}

NOT_YET = frozenset({"GET /validator/runs/{run_id}", "GET /validator/runs/{run_id}/logs/{digest}"})
"""Of a Run that only has a plan the validator knows nothing: its owner finds nothing either."""


@dataclass
class World:
    """Two Projects, of which the strangers have the other one."""

    system: Embedded
    http: httpx.AsyncClient
    portal: Portal
    other: str
    run: str
    plan: str
    operations: list[str] = field(default_factory=list)

    def headers(self, who: Who) -> dict[str, str]:
        if who == "nobody":
            return {}
        actor = {
            "library": LIBRARY,
            "sre": SRE,
            "stranger": Actor(id="eve@other.example", role="maintainer", projects=(self.other,)),
        }.get(who, self.portal.mira.actor)
        if who == "expired":
            token = issue_token(
                actor, SecretStr(self.system.world.token_key), valid_for=timedelta(seconds=-1)
            )
        else:
            token = self.system.token(actor)
        return {"Authorization": f"Bearer {token}"}

    async def ask(self, operation: str, who: Who, *, absent: bool = False) -> httpx.Response:
        """The answer to a request about the owner's things, or about some that do not exist."""
        method, path = operation.split(" ")
        names = self.names(absent)
        options: dict[str, Any] = {}
        if method == "POST":
            body = BODIES.get(operation, REASON)
            if operation == "POST /registry/projects":
                body = self.portal.registration()
            elif operation == "POST /executor/prerequisites":
                body = self.portal.registration()["project"]
            elif operation == "POST /planner/runs":
                body = {"project": names["project"], "systems": {"auth-system": "1.2.4"}}
            options = {"content": body} if isinstance(body, bytes) else {"json": body}
        return await self.http.request(method, path.format(**names), headers=self.headers(who), **options)

    def names(self, absent: bool) -> dict[str, str]:
        if absent:
            found = {"project": "no-such-portal", "run_id": "run-000000000000", "digest": "f" * 64}
        else:
            found = {"project": self.portal.project, "run_id": self.run, "digest": self.plan}
        return found | {"system": "auth-system", "version": "1.3.0"}


@pytest.fixture(scope="module")
async def world(embedded: Embedded) -> AsyncIterator[World]:
    opened = Portals()
    portal = await opened.open(embedded, "orchard")
    other = await opened.make(embedded, "quarry")
    await other.register()
    run = await portal.mira.plan("auth-system")
    async with httpx.AsyncClient(base_url=embedded.url, trust_env=False, timeout=60) as http:
        document = (await http.get("/openapi.json")).raise_for_status().json()
        operations = [
            f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
        ]
        yield World(embedded, http, portal, other.project, run.id, run.plan or "", operations)
    await opened.close()


async def test_every_route_has_a_rule(world: World) -> None:
    """Catches a new route about which nobody has said who may use it."""
    assert sorted(world.operations) == sorted(RULES)


def allowed(rule: Rule, who: Who, operation: str) -> frozenset[int] | None:
    """The statuses with which this may be answered; None for any but a refusal of who asks."""
    if rule == "open":
        return frozenset({200})
    if who in ("nobody", "expired"):
        return frozenset({401})
    match rule:
        case "released" | "list" | "audit":
            return frozenset({200})
        case "own" if who in ("owner", "sre"):
            return frozenset({404}) if operation in NOT_YET else frozenset({200})
        case "own":
            return frozenset({404})
        case "decide" if operation.endswith("/resume") and who in ("owner", "sre"):
            return frozenset({403}) if who == "owner" else frozenset({200, 409})
        case "decide" if who == "owner":
            return None
        case "decide" if who == "sre":
            return frozenset({200, 403, 409, 422})
        case "decide":
            return frozenset({404})
        case "publish":
            return None if who == "library" else frozenset({403})
        case "register":
            return None if who in ("owner", "sre") else frozenset({403})
        case "operate" | "export":
            return frozenset({200}) if who == "sre" else frozenset({403})
    return None


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("operation", list(RULES))
async def test_each_may_what_its_rule_says(world: World, operation: str, who: Who) -> None:
    """Catches a route that answers somebody whom it does not concern, or refuses whom it does."""
    rule = RULES[operation]
    answer = await world.ask(operation, who)
    statuses = allowed(rule, who, operation)
    if statuses is None:
        assert answer.status_code not in {401, 403, 500}, answer.text
        assert rule != "decide" or answer.status_code != 404, answer.text
    else:
        assert answer.status_code in statuses, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
    if rule == "list" and who in ("library", "stranger"):
        assert world.portal.partner not in answer.text
    if rule == "audit" and who in ("library", "stranger"):
        seen = {"library": (None, LIBRARY.id), "stranger": (world.other, "eve@other.example")}[who]
        for each in answer.json():
            assert seen[0] == each["entry"]["project"] or seen[1] == each["entry"]["who"], each
    if rule == "list" and who == "owner":
        assert world.other not in answer.text


@pytest.mark.parametrize("who", ["library", "stranger"])
@pytest.mark.parametrize("operation", [name for name, rule in RULES.items() if rule in ("own", "decide")])
async def test_what_is_anothers_looks_like_nothing(world: World, operation: str, who: Who) -> None:
    """Catches a word, a field or a status by which a stranger learns that something exists."""
    there, nothing = await world.ask(operation, who), await world.ask(operation, who, absent=True)
    assert there.status_code == nothing.status_code == 404
    said = [answer.text for answer in (there, nothing)]
    for at, names in enumerate((world.names(absent=False), world.names(absent=True))):
        for name in (names["project"], names["run_id"], names["digest"]):
            said[at] = said[at].replace(name, "…")
    assert said[0] == said[1]
    kept = [
        sorted(
            (name, value) for name, value in answer.headers.items() if name not in ("date", "content-length")
        )
        for answer in (there, nothing)
    ]
    assert kept[0] == kept[1]


async def noted(world: World, service: str, who: str) -> dict[int, dict[str, Any]]:
    """The newest audit entries of this person, by number."""
    answer = await world.http.get(
        f"/{service}/audit", params={"actor": who, "limit": 200}, headers=world.headers("sre")
    )
    return {each["entry"]["seq"]: each["entry"] for each in answer.raise_for_status().json()}


@pytest.mark.parametrize("operation", [name for name in RULES if name.startswith("POST ")])
async def test_a_strangers_write_has_one_audit_entry(world: World, operation: str) -> None:
    """Catches a route whose refusals, or whose answers, leave no trace of who tried."""
    service, eve = operation.split("/")[1], "eve@other.example"
    before = await noted(world, service, eve)
    answer = await world.ask(operation, "stranger")
    after = await noted(world, service, eve)
    [entry] = [after[seq] for seq in after.keys() - before.keys()]
    refused = 400 <= answer.status_code < 500
    assert entry["verdict"] == ("refused" if refused else "accepted"), answer.text
    assert bool(entry["refusals"]) == refused
