"""An application behind the listener that the services use, for tests that need real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

import uvicorn
from starlette.types import ASGIApp

from local.ports import free_port
from local.world import HOST
from shared.http.limits import Slots
from shared.http.listener import listener
from shared.settings import HttpSettings


@asynccontextmanager
async def listening(app: ASGIApp, settings: HttpSettings) -> AsyncIterator[int]:
    """Serve it while the block lasts; gives the port."""
    port = free_port()
    server = uvicorn.Server(listener(app, settings, host=HOST, port=port))
    serving = asyncio.create_task(server.serve(), name="listener")
    while not server.started:
        assert not serving.done(), "the listener did not start"
        await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        await serving


class WatchedSlots(Slots):
    """Places for long polls that tell when one is taken, and when it is given back."""

    def __init__(self, total: int, per_key: int) -> None:
        super().__init__(total, per_key)
        self.taken, self.given_back = asyncio.Event(), asyncio.Event()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        with super().hold(key):
            self.taken.set()
            yield
        self.given_back.set()


@dataclass
class Answer:
    """What came back on a raw connection until it was closed."""

    raw: bytes
    headers: dict[str, str] = field(init=False)
    status: int = field(init=False)
    body: bytes = field(init=False)

    def __post_init__(self) -> None:
        head, _, self.body = self.raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1]) if first else 0
        self.headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }


class RawClient:
    """One TCP connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int) -> AsyncIterator[RawClient]:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes, every_s: float, at_once: int = 1) -> None:
        """Send a few bytes at a time until all is sent, or the other side has closed."""
        with suppress(ConnectionError):
            while data:
                await self.send(data[:at_once])
                data = data[at_once:]
                await asyncio.sleep(every_s)

    async def answer(self, within_s: float = 10) -> Answer:
        """Everything until the end of the connection."""
        raw = b""
        async with asyncio.timeout(within_s):
            with suppress(ConnectionError):
                while part := await self.reader.read(65536):
                    raw += part
        return Answer(raw)
