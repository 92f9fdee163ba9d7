"""What a command may reach: a list of hosts and ports, and a forwarder for each of them.

A command has a network of its own, with nothing in it. For each destination a socket listens *in that
network*, and our process accepts from it and connects outside: a socket belongs to the network in which it
was made, whoever holds it. So nothing is reachable but what is listed, and names are resolved here, once.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.addresses import RESOLVE_WITHIN_S, resolve

_CONNECTIONS_MAX = 64
_CONNECT_WITHIN_S = 10.0
_CHUNK_BYTES = 1 << 16
_DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432, "redis": 6379, "amqp": 5672}


class Unreachable(Exception):
    """A destination cannot be allowed; the message says why, and what to do."""


class GatewayFailed(RuntimeError):
    """The worker could not serve the destinations of a command; the message says why, and what to do."""


@dataclass(frozen=True)
class Destination:
    """One host, as a command names it, and one TCP port."""

    host: str
    port: int
    at: str | None = None
    """The address that was found to be allowed; without, the name is resolved."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of_url(cls, url: str) -> "Destination | None":
        """Where a URL leads; none when it is not a URL with a host and a port that can be known."""
        try:
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            return None
        if not parts.scheme or not parts.hostname or not port:
            return None
        return cls(parts.hostname, port)

    @classmethod
    def of_text(cls, text: str) -> "Destination":
        """`host:port`. Raises `Unreachable`."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise Unreachable(f"{text!r} is not a valid `host:port`")
        return cls(host.strip("[]").lower(), int(port))


@dataclass(frozen=True)
class Listening:
    """How a destination looks inside: where a socket listens, and the address that must be made for it."""

    address: str
    port: int
    alias: bool


class Gateway:
    """The forwarders of one command. Use it as an async context manager: it ends with the command."""

    def __init__(self, destinations: Iterable[Destination]) -> None:
        self._targets: list[tuple[Destination, tuple[str, ...]]] = []
        self._wanted = tuple(dict.fromkeys(destinations))
        self.listening: list[Listening] = []
        self.names: dict[str, str] = {}
        """Host names and the address that each has inside, for /etc/hosts."""
        self._servers: list[asyncio.Server] = []
        self._open = 0
        self._failure = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        """`theirs` goes to the launcher, which sends the listening sockets over it."""

    async def __aenter__(self) -> "Gateway":
        for destination in self._wanted:
            at = (destination.at,) if destination.at else await _resolved(destination)
            self._place(destination, at)
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ValueError):
            self._loop.remove_reader(self._ours)
        self._ours.close()
        self.theirs.close()
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _place(self, destination: Destination, addresses: tuple[str, ...]) -> None:
        try:
            literal = ipaddress.ip_address(destination.host)
        except ValueError:
            inside = self.names.setdefault(destination.host, f"127.64.0.{len(self.names) + 1}")
            if destination.host == "localhost":
                inside = self.names[destination.host] = "127.0.0.1"
            alias = False
        else:
            if literal.version == 6 and not literal.is_loopback:
                raise Unreachable(f"{destination}: name the host instead of its IPv6 address")
            inside, alias = str(literal), not literal.is_loopback
        listening = Listening(inside, destination.port, alias)
        if listening in self.listening:
            return  # the same place by another name
        self.listening.append(listening)
        self._targets.append((destination, addresses))

    def started(self) -> None:
        """The launcher runs: take the listening sockets when it sends them."""
        self.theirs.close()
        self._ours.setblocking(False)
        self._loop.add_reader(self._ours, self._receive)

    def whole(self) -> None:
        """Raises `GatewayFailed` when a destination was not served: the command's end says nothing then."""
        if self._failure:
            raise GatewayFailed(self._failure)

    def _receive(self) -> None:
        wanted = len(self._targets)
        try:
            said, descriptors, _, _ = socket.recv_fds(self._ours, 1, max(wanted, 1))
        except BlockingIOError:
            return
        except ConnectionError:
            # The launcher has ended before it listened; its own end is told.
            said, descriptors = b"", []
        except OSError as error:
            said, descriptors, self._failure = b"", [], f"no sockets came from the command's network: {error}"
        self._loop.remove_reader(self._ours)
        if said and len(descriptors) < wanted:
            # The kernel drops what is more than this process may open.
            self._failure = (
                f"{len(descriptors)} of {wanted} sockets came from the command's network:"
                " allow this process more open files (LimitNOFILE), or declare fewer destinations"
            )
        for descriptor, (_, addresses) in zip(descriptors, self._targets, strict=False):
            self._spawn(self._serve(socket.socket(fileno=descriptor), addresses))

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = f"a destination could not be served: {error}"

    async def _serve(self, listener: socket.socket, addresses: tuple[str, ...]) -> None:
        port = listener.getsockname()[1]

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._open >= _CONNECTIONS_MAX:
                writer.close()
                return
            self._open += 1
            try:
                await _forward(reader, writer, addresses, port)
            finally:
                self._open -= 1

        self._servers.append(await asyncio.start_server(forward, sock=listener))


async def _resolved(destination: Destination) -> tuple[str, ...]:
    try:
        return await resolve(destination.host, destination.port)
    except TimeoutError as error:
        late = f"the name was not resolved within {RESOLVE_WITHIN_S:g} s: see the name server"
        raise Unreachable(f"{destination}: {late}") from error
    except UnicodeError as error:
        raise Unreachable(f"{destination}: this is not a host's name") from error
    except OSError as error:
        raise Unreachable(f"{destination}: the name cannot be resolved ({error.strerror})") from error


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, addresses: Sequence[str], port: int
) -> None:
    outside = None
    for address in addresses:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                outside = await asyncio.open_connection(address, port)
            break
    if outside is None:
        writer.transport.abort()
        return
    there, back = outside
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, back))
            group.create_task(_copy(there, writer))
    finally:
        for each in (writer, back):
            each.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the one side has ended; then the other is told that nothing more comes."""
    with suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()


def hosts_file(names: Mapping[str, str]) -> str:
    """`/etc/hosts` as the command sees it."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    return "".join(f"{line}\n" for line in (*lines, *(f"{at} {name}" for name, at in names.items())))
