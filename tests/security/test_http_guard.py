"""The guard before every route: rates, shapes of JSON, pages for whom they are, and headers."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter, ValidationError

from shared.contracts.values import Actor
from shared.errors import Reject
from shared.http import problems
from shared.http.bodies import JSON_BYTES_MAX, JSON_DEPTH_MAX, JSON_VALUES_MAX, screen_json
from shared.http.guard import Door, Guard
from shared.http.limits import Rate, Slots, TooMany, address_key
from shared.http.tokens import WhoAsks
from shared.settings import Exposure, HttpSettings
from tests.support.keys import VERIFIER, token

ACTORS = {
    "mira": Actor(id="mira@acme.example", role="maintainer", projects=("acme",)),
    "otto": Actor(id="otto@acme.example", role="maintainer", projects=("acme",)),
    "sam": Actor(id="sam@innopo.example", role="sre"),
}


class Note(BaseModel):
    text: str
    more: Any = None


def application(settings: HttpSettings, exposure: Exposure = "open") -> FastAPI:
    app = FastAPI(docs_url=None, openapi_url=None)
    app.state.tokens = VERIFIER
    problems.install(app)

    @app.post("/note")
    async def note(body: Note, _: WhoAsks) -> int:
        return len(body.text)

    @app.get("/page")
    async def page() -> str:
        return "for some"

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.get("/broken")
    async def broken(_: WhoAsks) -> str:
        raise RuntimeError("the password is 1234")

    app.add_middleware(Guard, settings=settings, doors={"/page": Door(exposure, "sre")})
    return app


def client(app: FastAPI, address: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(address, 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(ACTORS[name])}"}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with client(application(HttpSettings())) as http:
        yield http


async def test_an_actor_who_asks_too_often_is_told_when_to_come_back() -> None:
    """Catches one partner's program that keeps everybody else waiting."""
    async with client(application(HttpSettings(actor_requests_per_s=2))) as http:
        answers = [await http.post("/note", json={"text": ""}, headers=bearer("mira")) for _ in range(25)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:20] == [200] * 20
        assert statuses[-1] == 429
        assert answers[-1].headers["content-type"] == "application/problem+json"
        assert int(answers[-1].headers["retry-after"]) >= 1
        other = await http.post("/note", json={"text": ""}, headers=bearer("otto"))
        assert other.status_code == 200
        assert (await http.get("/health")).status_code == 200


async def test_who_guesses_tokens_is_slowed_down_sooner_and_alone() -> None:
    """Catches tokens that are tried one after the other, thousands in a second."""
    app = application(HttpSettings(address_requests_per_s=10))
    wrong = {"Authorization": "Bearer no.such.token"}
    async with client(app, "203.0.113.7") as guesser, client(app, "203.0.113.8") as other:
        statuses = [(await guesser.get("/page", headers=wrong)).status_code for _ in range(5)]
        assert statuses == [200] * 5, "an open page needs no token"
        statuses = [(await guesser.post("/note", headers=wrong)).status_code for _ in range(15)]
        assert (statuses[0], statuses[-1]) == (401, 429)
        assert (await other.post("/note", json={"text": ""}, headers=bearer("mira"))).status_code == 200
        assert (await guesser.get("/health")).status_code == 200


def test_a_bucket_fills_again_and_remembers_a_bounded_number() -> None:
    now = [0.0]
    rate = Rate("of somebody", 1, 2, clock=lambda: now[0])
    rate.take("a")
    rate.take("a")
    with pytest.raises(TooMany) as refused:
        rate.take("a")
    assert refused.value.retry_after_s == 1
    now[0] = 1
    rate.take("a")
    for number in range(20_000):
        rate.take(str(number))
    assert len(rate._buckets) == 10_000


def test_waiting_requests_are_bounded_per_actor_and_in_total() -> None:
    slots = Slots(3, 2)
    with slots.hold("a"), slots.hold("a"):
        with pytest.raises(TooMany, match="of your requests"), slots.hold("a"):
            pass
        with slots.hold("b"), pytest.raises(TooMany), slots.hold("c"):
            pass
    with slots.hold("a"), slots.hold("b"), slots.hold("c"):
        pass


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("testclient", "testclient"),
    ],
)
def test_one_party_has_one_key(host: str, key: str) -> None:
    """Catches a sender with 2^64 IPv6 addresses, each with a bucket of its own."""
    assert address_key(host) == key


HOSTILE = {
    "deep": b"[" * (JSON_DEPTH_MAX + 1) + b"]" * (JSON_DEPTH_MAX + 1),
    "deep-objects": b'{"a":' * 100 + b"1" + b"}" * 100,
    "open": b"[" * (JSON_BYTES_MAX - 1),
    "values": b"[" + b"1," * JSON_VALUES_MAX + b"1]",
    "keys": b"{" + b",".join(b'"%d":1' % n for n in range(JSON_VALUES_MAX + 1)) + b"}",
    "colons": b'{"a"' + b":" * 500_000,
    "strings": b'""' * 500_000,
    "nul": b'{"text":"a\\u0000b"}',
    "nul-in-a-key": b'{"text":"a","\\u0000":1}',
    "half-a-pair": b'{"text":"\\ud800"}',
    "other-half": b'{"text":"\\udfff"}',
    "half-in-a-key": b'{"text":"a","\\ud800":1}',
    "wrong-order": b'{"text":"\\udc00\\ud800"}',
    "utf-16": '{"text":"\\u0000"}'.encode("utf-16-le"),
    "utf-32": '{"text":1}'.encode("utf-32-be"),
    "not-utf-8": b'{"text":"\xff"}',
    "half-in-utf-8": b'{"text":"\xed\xa0\x80"}',
    "nan": b'{"text":"a","more":NaN}',
    "infinity": b'{"text":"a","more":-Infinity}',
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
async def test_hostile_json_is_a_problem_before_it_is_parsed(http: httpx.AsyncClient, name: str) -> None:
    """Catches depth, counts and characters that break a parser, a model or a database."""
    headers = {**bearer("mira"), "Content-Type": "application/json"}
    answer = await http.post("/note", content=HOSTILE[name], headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    (refusal,) = answer.json()["refusals"]
    assert (refusal["field"], bool(refusal["cure"])) == ("body", True)


def test_a_problem_never_says_half_a_pair_again() -> None:
    """Catches an answer that cannot be encoded, which would be no answer at all."""
    with pytest.raises(ValidationError) as invalid:
        TypeAdapter(int).validate_python("a\ud800")
    answer = problems.problem(422, "invalid", problems.validation_refusals(invalid.value))
    assert json.loads(bytes(answer.body))["refusals"][0]["value"] == "a?"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"text": "[[[[[" * 100_000}),
        json.dumps({"text": "\\u0000 and \\ud800 as they are written"}),
        json.dumps({"text": "a pair \U0001f600"}),
        '{"text":"NaN","more":"Infinity"}',
        json.dumps({"text": "", "more": [1] * (JSON_VALUES_MAX - 5)}),
        "[" * JSON_DEPTH_MAX + "]" * JSON_DEPTH_MAX,
    ],
)
def test_harmless_json_passes(body: str) -> None:
    """Catches a screen that counts what stands inside strings."""
    screen_json(body.encode())


@pytest.mark.parametrize(
    "body", [b'"' + b"\\\\" * 500_000, b'"' * 1_000_000, b"\\u0000" * 170_000, b'"\\u00' * 1]
)
def test_the_screen_is_quick_whatever_comes(body: bytes) -> None:
    """Catches an expression whose time grows faster than the body."""
    began = time.process_time()
    try:
        screen_json(body)
    except Reject as rejection:
        assert rejection.refusals[0].field == "body"  # noqa: PT017
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize("body", [b"", b"{", b"nothing", b'{"text":1}', b"1" * 5000, b"[]", b"null"])
async def test_what_does_not_fit_is_never_a_500(http: httpx.AsyncClient, body: bytes) -> None:
    headers = {**bearer("mira"), "Content-Type": "application/json"}
    answer = await http.post("/note", content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("target", ["/note%00", "/note?a=%00", "/%00", "/page?x=1&%00=2"])
async def test_nul_in_a_url_is_a_problem(http: httpx.AsyncClient, target: str) -> None:
    """Catches a character that no text column of PostgreSQL holds."""
    answer = await http.get(target, headers=bearer("mira"))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize(
    ("exposure", "address", "who", "status"),
    [
        ("open", "203.0.113.7", None, 200),
        ("loopback", "127.0.0.1", None, 200),
        ("loopback", "::1", None, 200),
        ("loopback", "203.0.113.7", None, 401),
        ("loopback", "203.0.113.7", "sam", 200),
        ("token", "127.0.0.1", None, 401),
        ("token", "127.0.0.1", "mira", 403),
        ("token", "127.0.0.1", "sam", 200),
    ],
)
async def test_a_page_is_read_by_whom_it_is_for(
    exposure: Exposure, address: str, who: str | None, status: int
) -> None:
    """Catches figures of all Projects that anybody may read."""
    async with client(application(HttpSettings(), exposure), address) as http:
        answer = await http.get("/page", headers=bearer(who) if who else {})
        assert answer.status_code == status
        if exposure == "loopback" and status == 200 and who is None:
            forwarded = await http.get("/page", headers={"X-Forwarded-For": "203.0.113.9"})
            assert forwarded.status_code == 401, "a proxy on this machine asks for others"


async def test_every_answer_has_the_headers_and_tells_no_server(http: httpx.AsyncClient) -> None:
    """Catches an answer that a browser keeps, frames, guesses at or runs."""
    for path, status in (("/health", 200), ("/note", 401), ("/nowhere", 401), ("/page", 200)):
        answer = await http.get(path)
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert not {"server", "strict-transport-security"} & set(answer.headers)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application(HttpSettings())), base_url="https://test"
    ) as secure:
        assert "max-age" in (await secure.get("/health")).headers["strict-transport-security"]


async def test_a_bug_is_a_problem_that_tells_nothing(http: httpx.AsyncClient) -> None:
    """Catches a message of an error that reaches whoever provoked it."""
    answer = await http.get("/broken", headers=bearer("mira"))
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "1234" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["TRACE", "PUT", "DELETE", "PATCH", "CONNECT", "OPTIONS", "BREW"])
async def test_odd_methods_are_problems(http: httpx.AsyncClient, method: str) -> None:
    answer = await http.request(method, "/note", headers=bearer("mira"))
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    assert answer.headers["allow"] == "POST"
