"""Whose name a request carries: a page of somebody else's reaches no service of this machine by a browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import Response

from shared.clients.content import ContentStore
from shared.contracts.values import Actor
from shared.http import problems
from shared.http.downloads import download
from shared.http.guard import Guard
from shared.http.tokens import WhoAsks
from shared.settings import HttpSettings
from tests.support.doors import RawClient, listening
from tests.support.keys import VERIFIER, bearer

SRE = Actor(id="sam@innopo.example", role="sre")
LARGE = 3 << 20


def application(settings: HttpSettings, content: ContentStore | None = None) -> FastAPI:
    app = FastAPI()
    app.state.tokens = VERIFIER
    problems.install(app)

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.get("/file/{digest}")
    async def file(digest: str, _: WhoAsks) -> Response:
        assert content is not None
        return await download(content, digest, "application/octet-stream")

    app.add_middleware(Guard, settings=settings)
    return app


@pytest.fixture(scope="module")
async def ports() -> AsyncIterator[dict[str, int]]:
    """Of a listener on loopback without names, and of one that has two."""
    plain, named = HttpSettings(), HttpSettings(hosts="upgrades.example, Other.Example.")
    async with listening(application(plain), plain) as one, listening(application(named), named) as other:
        yield {"": one, "named": other}


@pytest.mark.parametrize(
    ("listener", "host", "status"),
    [
        ("", "localhost", 200),
        ("", "LOCALHOST:8000", 200),
        ("", "acme.localhost:1", 200),
        ("", "127.0.0.1", 200),
        ("", "[::1]:8000", 200),
        ("", "evil.example", 421),
        ("", "localhost.evil.example", 421),
        ("", "127.0.0.1.evil.example", 421),
        ("", "evil.example:80", 421),
        ("named", "upgrades.example", 200),
        ("named", "UPGRADES.example.:443", 200),
        ("named", "other.example", 200),
        ("named", "evil.example", 421),
        ("named", "upgrades.example.evil.example", 421),
        ("named", "10.1.2.3:8000", 200),
    ],
)
async def test_another_name_than_ours_is_refused(
    ports: dict[str, int], listener: str, host: str, status: int
) -> None:
    """A name that somebody points to 127.0.0.1 made a browser read what this machine alone may."""
    async with RawClient.connected(ports[listener]) as client:
        await client.send(f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await client.answer()
    assert answer.status == status
    if status == 421:
        assert answer.headers["content-type"] == "application/problem+json"
        assert b"UPGRADES_HTTP_HOSTS" in answer.body


async def test_beyond_loopback_any_name_is_taken_unless_names_are_set() -> None:
    for settings, status in ((HttpSettings(), 200), (HttpSettings(hosts="upgrades.example"), 421)):
        transport = httpx.ASGITransport(application(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://any.example") as http:
            assert (await http.get("/health")).status_code == status


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    return ContentStore(f"file://{tmp_path}")


async def test_a_download_comes_in_parts_and_whole(content: ContentStore) -> None:
    data = bytes(range(256)) * (LARGE >> 8)
    digest = await content.put(data)
    size, parts = await content.open(digest)
    pieces = [part async for part in parts]
    assert (size, b"".join(pieces)) == (LARGE, data)
    assert max(map(len, pieces)) < LARGE


def _change_what_is_kept(folder: Path) -> None:
    (kept,) = (file for file in folder.rglob("*") if file.is_file())
    kept.write_bytes(b"b" * LARGE)


async def test_what_is_not_its_digest_never_comes_whole(content: ContentStore, tmp_path: Path) -> None:
    """A reader counts the bytes: the last part of a file that somebody changed is not sent."""
    digest = await content.put(b"a" * LARGE)
    _change_what_is_kept(tmp_path)
    settings = HttpSettings()
    async with listening(application(settings, content), settings) as port, httpx.AsyncClient() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"http://127.0.0.1:{port}/file/{digest}", headers=bearer(SRE))
        missing = await http.get(f"http://127.0.0.1:{port}/file/{'0' * 64}", headers=bearer(SRE))
    assert missing.status_code == 404
