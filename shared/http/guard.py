"""The guard before every route: who asks is proven, and how much is bounded, before anything is read.

The order is fixed: is the request well formed and meant for us, does its address ask too often, whose token
is it, does that actor ask too often, how big is the body. What is answered before the body was read ends the
connection, so that nobody needs to be listened to for the rest.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.audit import origins
from shared.audit.origins import Asked
from shared.audit.tries import Tries
from shared.contracts.values import Actor
from shared.errors import forbidden, invalid
from shared.http.bodies import JSON_BYTES_MAX, BoundedBody, announced_bytes, screen_json
from shared.http.headers import secured
from shared.http.hosts import Hosts
from shared.http.limits import Rate, address_key
from shared.http.problems import answer_to
from shared.http.tokens import ACTOR, Unauthenticated, actor_of
from shared.settings import Exposure, HttpSettings

log = logging.getLogger(__name__)

_UNAUTHENTICATED_COSTS = 10
"""Requests: who guesses tokens is slowed down sooner."""

_WITH_A_BODY = ("POST", "PUT", "PATCH", "DELETE")

Need = Literal["token", "sre"]


@dataclass(frozen=True)
class Door:
    """Who may ask for a path that belongs to no service."""

    exposure: Exposure
    needs: Need = "token"


@dataclass
class Guard:
    """ASGI middleware; `doors` are the paths with rules of their own, `byte_bodies` those that take files."""

    app: ASGIApp
    settings: HttpSettings
    doors: Mapping[str, Door] = field(default_factory=dict)
    byte_bodies: Mapping[str, int] = field(default_factory=dict)
    """The path, and how many bytes its body may have."""
    tries: Tries | None = None
    """Where tries are noted that no handler judges."""

    def __post_init__(self) -> None:
        of_actor, of_address = self.settings.actor_requests_per_s, self.settings.address_requests_per_s
        self._of_actor = Rate("of this actor", of_actor, 10 * of_actor)
        self._of_address = Rate("from this address", of_address, 10 * of_address)
        self._hosts = Hosts(self.settings.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        bytes_max = self.byte_bodies.get(scope["path"], JSON_BYTES_MAX)
        asked = origins.begin((scope.get("client") or ("?", 0))[0])
        exchange = _Exchange(scope, BoundedBody(scope, receive, bytes_max), send, asked, self.tries)
        try:
            await self._admit(scope)
            await self.app(scope, await self._body(scope, exchange.body), exchange.send)
        except ClientDisconnect:
            log.debug("the client of %s went away", scope["path"])
        except Exception as error:
            await exchange.refuse(error)

    async def _body(self, scope: Scope, body: BoundedBody) -> Receive:
        """What gives the body to the route. Of a request that nobody has proven, nothing is read."""
        proven = ACTOR in scope.get("state", {})
        if not proven or scope["method"] not in _WITH_A_BODY or scope["path"] in self.byte_bodies:
            return body.receive
        _must_be_json(scope)
        return await _screened(body)

    async def _admit(self, scope: Scope) -> None:
        _well_formed(scope)
        self._hosts.require(scope)
        door = self.doors.get(scope["path"])
        if scope["path"] == "/health" or (door is not None and _is_open(door, scope)):
            return
        peer = address_key((scope.get("client") or ("?", 0))[0])
        self._of_address.take(peer)
        if door is not None and door.exposure == "off":
            return
        try:
            actor = await actor_of(HTTPConnection(scope))
        except Unauthenticated:
            self._of_address.take(peer, _UNAUTHENTICATED_COSTS)
            raise
        self._of_actor.take(actor.id)
        scope.setdefault("state", {})[ACTOR] = actor
        if door is not None:
            _may_pass(door, actor)


@dataclass
class _Exchange:
    """One request and its answer."""

    scope: Scope
    body: BoundedBody
    to_client: Send
    asked: Asked
    tries: Tries | None = None
    started: bool = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._note(message["status"])
            self.started = True
            message = secured(message, self.scope, closes=not self.body.is_read)
        await self.to_client(message)

    async def _note(self, status: int) -> None:
        """Before the answer leaves: who was refused has his entry by then."""
        if self.tries is not None:
            actor = self.scope.get("state", {}).get(ACTOR)
            await self.tries.note(self.scope["method"], self.scope["path"], status, actor, self.asked)

    async def refuse(self, error: Exception) -> None:
        """Answer with the problem that this error is; raises it when an answer has begun."""
        if self.started:
            raise error
        response = answer_to(error)
        if response.status_code >= 500:
            log.error("%s %s could not be answered", self.scope["method"], self.scope["path"], exc_info=error)
        await response(self.scope, self.body.receive, self.send)


def _must_be_json(scope: Scope) -> None:
    """Raises HTTPException for a body of another kind."""
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if announced_bytes(scope) != 0 and kind != b"application/json":
        raise HTTPException(415, "this route takes JSON: send Content-Type: application/json")


async def _screened(bounded: BoundedBody) -> Receive:
    """What gives the whole body once more, after a look at it."""
    whole = await bounded.whole()
    if whole is None:
        raise ClientDisconnect
    screen_json(whole)
    messages: list[Message] = [{"type": "http.request", "body": whole, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await bounded.receive()

    return again


def _well_formed(scope: Scope) -> None:
    """Raises `Reject` for what no text column of a database can hold."""
    if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
        raise invalid("the URL has the character NUL", field="url", cure="leave it out")


def _is_open(door: Door, scope: Scope) -> bool:
    if door.exposure == "loopback":
        return from_loopback(scope)
    return door.exposure == "open"


def from_loopback(scope: Scope) -> bool:
    """Whether a program on this machine asks for itself, and not a proxy for somebody else."""
    headers = dict(scope["headers"])
    if b"x-forwarded-for" in headers or b"forwarded" in headers:
        return False
    try:
        return ip_address((scope.get("client") or ("", 0))[0]).is_loopback
    except ValueError:
        return False


def _may_pass(door: Door, actor: Actor) -> None:
    if door.needs == "sre" and actor.role != "sre":
        raise forbidden("only an SRE may read this", value=actor.role, cure="use the token of an SRE")
