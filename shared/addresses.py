"""Which network addresses a worker may be led to by what a Project says."""

import asyncio
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from shared.acting import acting

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
RESOLVE_WITHIN_S = 10.0
_NUMBERS = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)(\.(0[xX][0-9a-fA-F]*|[0-9]+)){0,3}")
# They answer any machine in the cloud with what it may do there. Others are link-local.
# AWS over IPv6, Azure's host, Alibaba, Oracle.
_METADATA = frozenset(
    map(
        ip_address,
        ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    )
)
_RESOLVED_AT_ONCE = 2
_RESOLVERS: WeakValueDictionary[str, ThreadPoolExecutor] = WeakValueDictionary()
"""Threads of each actor's own: a name server that never answers holds up nobody else, whoever runs it."""
_TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"), ip_network("::/96"))


ADDRESS_CHARACTERS_MAX = 300
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")
_PORTS = {"http": 80, "https": 443}


class AddressRefused(Exception):
    """A host is at an address that may not be reached; the message names both."""


class BadAddress(Exception):
    """Not an address at which an app can be asked; the message says why, without repeating it."""


@dataclass(frozen=True)
class AppAddress:
    """Where an app answers: `http://host:port/path`."""

    scheme: str
    host: str
    port: int
    path: str
    authority: str
    """Host and port as they were written: the app sees it as its own name."""


def read_address(text: str) -> AppAddress:
    """The address that an environment printed. Raises `BadAddress`."""
    if len(text) > ADDRESS_CHARACTERS_MAX:
        raise BadAddress(f"it has more than {ADDRESS_CHARACTERS_MAX} characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadAddress("it is not a URL") from None
    if parts.scheme not in _PORTS:
        raise BadAddress("it begins with neither http:// nor https://")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise BadAddress("it has a user, a query or a fragment in it")
    host = parts.hostname or ""
    if not (_HOST.fullmatch(host) or (":" in host and literal(host) is not None and "%" not in host)):
        raise BadAddress("its host is not a name or address")
    if port == 0 or not _PATH.fullmatch(parts.path):
        raise BadAddress("its port or path is not valid")
    path = parts.path.rstrip("/")
    return AppAddress(parts.scheme, host, port or _PORTS[parts.scheme], path, parts.netloc)


def literal(host: str) -> Address | None:
    """The address that a host's text is, however it is spelled: `127.1`, `0x7f000001`, `[::1]`; else none."""
    bare = host.removeprefix("[").removesuffix("]")
    try:
        return ip_address(bare.partition("%")[0])
    except ValueError:
        pass
    if _NUMBERS.fullmatch(bare.rstrip(".")):
        try:
            # What the system's resolver takes for an address: decimal, octal, hexadecimal, one to four parts.
            return IPv4Address(socket.inet_aton(bare.rstrip(".")))
        except OSError:
            return None
    return None


def is_local_name(host: str) -> bool:
    """Whether a name means this machine, whatever a resolver says."""
    name = host.rstrip(".").lower()
    return name in ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback") or name.endswith(
        ".localhost"
    )


def judged(address: Address, networks: Sequence[Network]) -> str | None:
    """Why an address may not be reached; none when it may.

    Public addresses may, and those in `networks`. Link-local, multicast, unspecified and metadata addresses
    never may, not even when a network holds them.
    """
    for one in _meanings(address):
        if one.is_link_local:
            return "link-local"
        if one.is_multicast:
            return "a multicast address"
        if one in _METADATA:
            return "a cloud's metadata address"
        if one.is_unspecified or (isinstance(one, IPv4Address) and int(one) >> 24 == 0):
            return "the unspecified address"
        if any(one.version == network.version and one in network for network in networks):
            continue
        if one.is_loopback:
            return "the worker's own machine"
        if not one.is_global:
            return "in a private or reserved network"
    return None


async def reachable(host: str, port: int, networks: Sequence[Network]) -> Address:
    """The one address at which a host is to be asked.

    Raises `AddressRefused` when any of its addresses may not be reached, OSError when it has none.
    """
    found = literal(host)
    addresses = [found] if found is not None else await _resolved(host, port)
    for address in addresses:
        # One that may not be reached among several is a trick, or soon the one that is used.
        if (why := judged(address, networks)) is not None:
            raise AddressRefused(f"{host} is at {address}, which is {why}")
    return addresses[0]


async def _resolved(host: str, port: int) -> list[Address]:
    try:
        found = await resolve(host, port)
    except UnicodeError as error:
        raise OSError(f"{host} is not a host's name") from error
    addresses = [ip_address(each.partition("%")[0]) for each in found]
    if not addresses:
        raise OSError(f"{host} has no address")
    return addresses


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a name, at most two at once for one actor: its slow name server holds up nobody else.

    Raises OSError, TimeoutError after `RESOLVE_WITHIN_S`, and UnicodeError for what is not a name.
    """
    resolvers = _resolvers(acting() or "")
    asked = resolvers.submit(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    # They are kept as long as one of them works, also when nobody waits for it any more.
    asked.add_done_callback(lambda _: resolvers)
    async with asyncio.timeout(RESOLVE_WITHIN_S):
        infos = await asyncio.wrap_future(asked)
    return tuple(dict.fromkeys(str(info[4][0]) for info in infos))


def _resolvers(actor: str) -> ThreadPoolExecutor:
    resolvers = _RESOLVERS.get(actor)
    if resolvers is None:
        resolvers = ThreadPoolExecutor(_RESOLVED_AT_ONCE, thread_name_prefix="resolver")
        _RESOLVERS[actor] = resolvers
    return resolvers


def _meanings(address: Address) -> list[Address]:
    """The address, and each IPv4 address that it carries."""
    if isinstance(address, IPv4Address):
        return [address]
    carried: list[Address] = [address]
    if address.ipv4_mapped is not None:
        # The kernel opens an IPv4 connection for it.
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        carried.append(address.sixtofour)
    if address.teredo is not None:
        carried += address.teredo
    if any(address in network for network in _TRANSLATED) and int(address) > 1:
        carried.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return carried
