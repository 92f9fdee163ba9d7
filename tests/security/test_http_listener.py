"""Hostile clients on real connections: nobody without a token is read, and nobody holds a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel

from shared.contracts.values import Actor
from shared.http import problems
from shared.http.guard import Guard
from shared.http.tokens import WhoAsks
from shared.settings import HttpSettings
from tests.support.doors import Answer, RawClient, listening
from tests.support.keys import VERIFIER, token

MIRA = Actor(id="mira@acme.example", role="maintainer", projects=("acme",))
FILE_BYTES_MAX = 3 << 20
QUICK = HttpSettings(
    head_within_s=0.5,
    body_within_s=0.5,
    body_bytes_per_s=1 << 20,
    read_within_s=0.5,
    address_connections=50,
)


class Note(BaseModel):
    text: str
    more: Any = None


class Application:
    """Routes that count the bytes which reached them."""

    def __init__(self, settings: HttpSettings = QUICK) -> None:
        self.read = 0
        self.app = FastAPI()
        self.app.state.tokens = VERIFIER
        problems.install(self.app)
        self.app.add_middleware(Guard, settings=settings, byte_bodies={"/file": FILE_BYTES_MAX})

        @self.app.post("/note")
        async def note(body: Note, _: WhoAsks) -> int:
            return len(body.text)

        @self.app.post("/file")
        async def file(request: Request, _: WhoAsks) -> int:
            async for chunk in request.stream():
                self.read += len(chunk)
            return self.read

        @self.app.get("/large")
        async def large(_: WhoAsks) -> Response:
            return Response(b"x" * (64 << 20), media_type="application/octet-stream")

        @self.app.get("/health")
        async def health() -> str:
            return "ok"


@pytest.fixture(scope="module")
def served() -> Application:
    return Application()


@pytest.fixture
def application(served: Application) -> Application:
    served.read = 0
    return served


@pytest.fixture(scope="module")
async def port(served: Application) -> AsyncIterator[int]:
    async with listening(served.app, QUICK) as port:
        yield port


def head(
    path: str, *headers: str, method: str = "POST", proven: bool = True, kind: str = "application/json"
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *headers]
    if proven:
        lines.append(f"Authorization: Bearer {token(MIRA)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def ask(port: int, data: bytes, *, within_s: float = 10) -> Answer:
    """Send all of it at once, as far as it is taken, and read the answer."""
    async with RawClient.connected(port) as client:
        client.writer.write(data)
        return await client.answer(within_s)


def is_problem(answer: Answer, status: int) -> dict[str, Any]:
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json"), answer.raw
    document: dict[str, Any] = json.loads(answer.body)
    assert document["status"] == status
    return document


@pytest.mark.parametrize("path", ["/note", "/file", "/no/such/route", "/health"])
@pytest.mark.parametrize("length", ["Content-Length: 104857600", "Transfer-Encoding: chunked"])
async def test_nothing_is_read_of_a_request_that_nobody_has_proven(port: int, path: str, length: str) -> None:
    """Catches a body that is read, or drained, before the token is proven."""
    status = 200 if path == "/health" else 401
    method = "GET" if path == "/health" else "POST"
    async with RawClient.connected(port) as client:
        await client.send(head(path, length, proven=False, method=method))
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await client.send(chunk)
                sent += 65536

        sending = asyncio.create_task(send())
        answer = await client.answer()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    # The two kernels' buffers take some MiB that no program has read.
    assert sent < 16 << 20


async def test_who_waits_for_100_continue_is_refused_before_the_body(port: int) -> None:
    """Catches an interim answer that asks for a body which nobody may send."""
    async with RawClient.connected(port) as client:
        await client.send(head("/note", "Content-Length: 20", "Expect: 100-continue", proven=False))
        refused = await client.answer()
    is_problem(refused, 401)
    assert b"100 Continue" not in refused.raw

    async with RawClient.connected(port) as client:
        await client.send(head("/note", "Content-Length: 14", "Expect: 100-continue", "Connection: close"))
        assert b"100 Continue" in await client.reader.readuntil(b"\r\n\r\n")
        await client.send(b'{"text":"abc"}')
        assert (await client.answer()).body == b"3"


@pytest.mark.parametrize(
    ("path", "bytes_max"), [("/note", 1 << 20), ("/file", FILE_BYTES_MAX), ("/no/such/route", 1 << 20)]
)
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_is_bounded_per_route(
    port: int, application: Application, path: str, bytes_max: int, announced: bool
) -> None:
    """Catches a body that is read to its end before anybody looks at its size."""
    body = b'{"text":"' + b"x" * (3 * bytes_max) + b'"}'
    if announced:
        data = head(path, f"Content-Length: {len(body)}") + body
    else:
        data = head(path, "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    document = is_problem(await ask(port, data), 413)
    assert document["refusals"][0]["field"] == "body"
    assert application.read <= bytes_max


async def test_a_body_of_just_the_bound_is_taken(port: int, application: Application) -> None:
    body = b"x" * FILE_BYTES_MAX
    answer = await ask(port, head("/file", f"Content-Length: {len(body)}", "Connection: close") + body)
    assert (answer.status, application.read) == (200, FILE_BYTES_MAX)


@pytest.mark.parametrize("part", ["head", "body"])
async def test_a_slow_sender_is_cut_off(port: int, part: str) -> None:
    """Catches a slow sender who keeps a connection with a byte now and then."""
    complete = head("/note", "Content-Length: 500")
    async with RawClient.connected(port) as client:
        began = asyncio.get_running_loop().time()
        if part == "head":
            dripping = asyncio.create_task(client.drip(complete, 0.05))
        else:
            await client.send(complete)
            dripping = asyncio.create_task(client.drip(b'{"text":"' + b"x" * 480, 0.05))
        document = is_problem(await client.answer(), 408)
        assert asyncio.get_running_loop().time() - began < 3
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
    assert part in document["title"]


async def test_who_says_nothing_is_cut_off(port: int) -> None:
    """Catches connections that are opened and left alone."""
    async with RawClient.connected(port) as client:
        assert (await client.answer(3)).status == 408


async def test_a_large_body_has_time_for_its_size(port: int) -> None:
    """Catches a time-out that only somebody with a fast line can keep."""
    body = b"x" * (2 << 20)
    async with RawClient.connected(port) as client:
        await client.send(head("/file", f"Content-Length: {len(body)}", "Connection: close"))
        await client.drip(body, 0.1, at_once=1 << 18)
        assert (await client.answer()).status == 200


async def test_who_does_not_read_the_answer_is_cut_off(port: int) -> None:
    """Catches an answer of many MiB that waits in memory for a reader who never comes."""
    async with RawClient.connected(port) as client:
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # asyncio has no other way
        await client.send(head("/large", method="GET"))
        async with asyncio.timeout(10):
            while not client.writer.transport.is_closing():
                await asyncio.sleep(0.05)
                # A connection that the other side has reset takes nothing.
                client.writer.write(b"\r\n")


async def test_small_chunks_may_not_cost_more_than_they_carry(port: int, application: Application) -> None:
    """Catches a body in chunks of a byte, each of which is parsed by itself."""
    data = head("/file", "Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 200_000
    is_problem(await ask(port, data), 400)
    assert application.read < 100_000


@pytest.mark.parametrize(("bound", "status"), [("connections", 503), ("address_connections", 429)])
async def test_connections_are_bounded(bound: str, status: int) -> None:
    """Catches one client that takes every connection, file and byte of memory there is."""
    settings = HttpSettings.model_validate({bound: 10})
    async with listening(Application(settings).app, settings) as port, AsyncExitStack() as kept:
        for _ in range(10):
            client = await kept.enter_async_context(RawClient.connected(port))
            await client.send(b"GET")
        is_problem(await ask(port, head("/health", method="GET", proven=False)), status)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
        b"GET / HTTP/x.y\r\nHost: a\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 60_000 + b"\r\n",
    ],
    ids=["tls", "version", "nul", "two-hosts", "negative", "two-lengths", "nul-header", "long", "headers"],
)
async def test_what_is_not_http_is_answered_as_a_problem(port: int, data: bytes) -> None:
    """Catches a request that ends in a 500, in plain text, or in silence."""
    answer = await ask(port, data)
    is_problem(answer, 400)
    assert answer.headers["x-content-type-options"] == "nosniff"
