"""An HTTP check asks the one address that staging printed, and nothing of the worker's machine or network.

Each case would catch a check by which a Project reads what only the worker can reach.
"""

import asyncio
import gzip
import socket
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from services.validator.checks import http
from services.validator.checks.context import Context, Seen
from shared.addresses import LOOPBACK, BadAddress, Network, judged, literal, read_address
from shared.clients.content import ContentStore
from shared.clients.environments import EnvironmentFailed, EnvironmentRunner
from shared.clients.secrets import Secrets
from shared.contracts.projects import HttpCheck
from tests.registry.registry_world import project
from tests.support.addresses import EVERY_IPV4, EVERY_IPV6
from tests.support.isolation import UNISOLATED
from tests.support.scopes import variable

SECRET = "what only the worker can read"
COMMIT = "c" * 40


@dataclass
class App:
    """A server on loopback that answers every request with the same bytes, and counts."""

    answer: bytes = b""
    port: int = 0
    asked: list[bytes] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["App"]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with App(answer(SECRET.encode())).listening() as app:
        yield app


async def ask(
    tmp_path: Path, address: str | None, *, networks: Sequence[Network] = (), path: str = "/", **check: Any
) -> Seen:
    content = ContentStore("memory:///")
    secrets = Secrets(None, {variable("acme-portal", "staging", "acme-portal-staging"): "postgresql://x/y"})
    scoped = secrets.of("acme-portal", "staging")
    environment = project().definition.environments.staging
    context = Context(
        commit=COMMIT,
        address=address,
        checkout=tmp_path,
        database_url="postgresql://x/y",
        staging=EnvironmentRunner(environment, "staging", "run-0123456789ab", scoped),
        secrets=scoped,
        content=content,
        isolation=UNISOLATED,
        networks=tuple(networks),
    )
    return await http.run(HttpCheck(path=path, deadline_s=5, **check), context)


HERE = [
    "http://127.0.0.1:{}",
    "http://localhost:{}",
    "http://127.1:{}",
    "http://2130706433:{}",
    "http://0x7f000001:{}",
    "http://0177.0.0.1:{}",
    "http://127.0.0.1.:{}",
    "http://[::ffff:127.0.0.1]:{}",
    "http://[::ffff:7f00:1]:{}",
    f"http://{EVERY_IPV4}:{{}}",
    "http://0:{}",
    f"http://[{EVERY_IPV6}]:{{}}",
    "http://127.255.255.254:{}",
]


@pytest.mark.parametrize("address", HERE)
async def test_the_workers_own_machine_is_not_asked(app: App, tmp_path: Path, address: str) -> None:
    seen = await ask(tmp_path, address.format(app.port), contains=SECRET)
    assert seen.verdict == "failed"
    assert "UPGRADES_STAGING_NETWORKS" in seen.detail or "no address" in seen.detail
    assert app.asked == []


async def test_where_the_operator_says_so_it_is(app: App, tmp_path: Path) -> None:
    seen = await ask(tmp_path, f"http://localhost:{app.port}/base/", networks=LOOPBACK, path="/x?a=1")
    assert seen.verdict == "passed", seen.detail
    (request,) = app.asked
    assert request.startswith(b"GET /base/x?a=1 HTTP/1.1")
    assert f"Host: localhost:{app.port}".encode() in request


NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fd00:ec2::254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    EVERY_IPV4,
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::a9fe:a9fe",
]
PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "::1",
    "fd12::1",
    "240.0.0.1",
    "255.255.255.255",
    "198.18.0.1",
    "192.0.2.1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
]


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_asked(address: str) -> None:
    everywhere = (ip_network(f"{EVERY_IPV4}/0"), ip_network("::/0"))
    assert judged(ip_address(address), ()) is not None
    assert judged(ip_address(address), everywhere) is not None


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_are_asked_only_where_they_are_listed(address: str) -> None:
    assert judged(ip_address(address), ()) is not None


def test_public_and_listed_addresses_are_asked() -> None:
    for address in ("93.184.216.34", "2606:2800:220:1::1", "1.1.1.1"):
        assert judged(ip_address(address), ()) is None
    assert judged(ip_address("10.1.2.3"), (ip_network("10.1.0.0/16"),)) is None
    assert judged(ip_address("10.2.2.3"), (ip_network("10.1.0.0/16"),)) is not None
    assert judged(ip_address("127.0.0.1"), (ip_network("10.0.0.0/8"),)) is not None


@pytest.mark.parametrize(
    ("text", "meant"),
    [("127.1", "127.0.0.1"), ("0x7f.1", "127.0.0.1"), ("017700000001", "127.0.0.1"), ("[::1]", "::1")],
)
def test_spellings_of_an_address_are_that_address(text: str, meant: str) -> None:
    assert literal(text) == ip_address(meant)


async def test_a_name_is_resolved_once(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means a public address when it is judged, and the worker when it is asked."""
    looked_up: list[object] = []

    def rebinding(host: Any, *_: object, **__: object) -> list[Any]:
        looked_up.append(host)
        address = "192.0.2.7" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, app.port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    where = (ip_network("192.0.2.0/24"),)
    async with asyncio.timeout(20):
        await ask(tmp_path, f"http://rebinding.example:{app.port}", networks=where, contains=SECRET)
    assert app.asked == []
    assert "rebinding.example" not in looked_up[1:], "the name was looked up again"


async def test_one_address_of_several_that_may_not_be_asked_is_enough(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def several(*_: object, **__: object) -> list[Any]:
        found = ("93.184.216.34", "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, app.port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    seen = await ask(tmp_path, f"http://several.example:{app.port}")
    assert "the worker's own machine" in seen.detail


async def test_a_redirect_is_an_answer(app: App, tmp_path: Path) -> None:
    there = answer(b"", f"Location: http://127.0.0.1:{app.port}/secret", status="302 Found")
    async with App(there).listening() as redirecting:
        seen = await ask(tmp_path, f"http://127.0.0.1:{redirecting.port}", networks=LOOPBACK)
    assert seen.verdict == "failed"
    assert "answered 302" in seen.detail
    assert app.asked == []


async def test_no_proxy_of_the_worker_is_used(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with App(answer(b"fine")).listening() as staging:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{app.port}")
        seen = await ask(tmp_path, f"http://127.0.0.1:{staging.port}", networks=LOOPBACK)
    assert seen.verdict == "passed", seen.detail
    assert app.asked == []


BOMB = gzip.compress(b"0" * (200 << 20), 9)
NASTY = {
    "a body that grows when it is unpacked": answer(BOMB, "Content-Encoding: gzip"),
    "a body that is not what it says": answer(b"plain", "Content-Encoding: gzip"),
    "an encoding that nobody knows": answer(b"fine", "Content-Type: text/html; charset=nonsense"),
    "an encoding that packs": answer(b"fine", "Content-Type: text/html; charset=zlib_codec"),
    "an encoding that is slow": answer(b"a" * 65536, "Content-Type: text/html; charset=punycode"),
    "a header that never ends": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (4 << 20),
    "no HTTP": b"\x00" * 1000,
    "nothing": b"",
    "a long redirect": answer(b"", "Location: http://x/" + "y" * 50_000, status="302 Found"),
    "a body without an end": b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * (3 << 20),
}


@pytest.mark.parametrize("kind", NASTY)
@pytest.mark.timeout(30)
async def test_any_answer_is_a_verdict_of_bounded_size(tmp_path: Path, kind: str) -> None:
    async with App(NASTY[kind]).listening() as app:
        seen = await ask(tmp_path, f"http://127.0.0.1:{app.port}", networks=LOOPBACK, contains="fine")
    assert seen.verdict in ("passed", "failed")
    assert len(seen.detail) < 2000
    assert (seen.verdict == "passed") == (b"fine" in NASTY[kind])


async def test_what_an_app_packs_is_unpacked(tmp_path: Path) -> None:
    for packed, name in ((gzip.compress(b"fine"), "gzip"), (zlib.compress(b"fine"), "deflate")):
        async with App(answer(packed, f"Content-Encoding: {name}")).listening() as app:
            seen = await ask(tmp_path, f"http://127.0.0.1:{app.port}", networks=LOOPBACK, contains="fine")
        assert seen.verdict == "passed", seen.detail


BAD = [
    "ftp://staging.example",
    "file:///etc/passwd",
    "http://",
    "http:///x",
    "http://user@staging.example",
    "http://user:pw@staging.example",
    "http://staging.example@127.0.0.1",
    "http://staging.example/?a=",
    "http://staging.example/#",
    "http://staging.example:0",
    "http://staging.example:99999",
    "http://staging.example:x",
    "http://stag ing.example",
    "http://staging.example\\@127.0.0.1",
    "http://[fe80::1%25eth0]",
    "http://[::1",
    "http://stag\u0131ng.example",
    "http://staging.example/\u0000",
    "http://staging.example/" + "a" * 300,
    "unix:///run/docker.sock",
]


@pytest.mark.parametrize("text", BAD)
async def test_what_is_no_address_of_an_app(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadAddress):
        read_address(text)
    assert (await ask(tmp_path, text, networks=LOOPBACK)).verdict == "failed"


async def test_an_activate_that_prints_no_valid_address_has_failed(tmp_path: Path) -> None:
    secrets = Secrets(None, {variable("acme-portal", "staging", "acme-portal-staging"): "postgresql://x/y"})
    environment = project().definition.environments.staging
    printing = environment.model_copy(update={"activate": ("echo", "address=http://a@127.0.0.1/?x")})
    scoped = secrets.of("acme-portal", "staging")
    staging = EnvironmentRunner(printing, "staging", "", scoped, isolation=UNISOLATED)
    with pytest.raises(EnvironmentFailed, match="address that it printed is not taken"):
        await staging.activate(tmp_path, COMMIT)
