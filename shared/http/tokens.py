"""Bearer tokens over HTTP: who asks is proven before anything else is looked at."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from shared.audit import origins
from shared.contracts.values import Actor
from shared.errors import Reject
from shared.identity.tokens import InvalidToken, TokenVerifier, issue_token

__all__ = ["ACTOR", "Unauthenticated", "WhoAsks", "actor_of", "issue_token", "may_see", "visible_to"]

ACTOR = "actor"
"""Under this name the guard keeps the proven actor in the request's state."""
_bearer = HTTPBearer(auto_error=False, description="a token with a role: library, maintainer or sre")


class Unauthenticated(Exception):
    """No token, or one that does not prove its actor."""


async def actor_of(connection: HTTPConnection) -> Actor:
    """The actor whom the connection's bearer token proves. Raises `Unauthenticated`."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send a bearer token: Authorization: Bearer …")
    tokens: TokenVerifier = connection.app.state.tokens
    # Every path of a service begins with its name; a token of one service is nothing to the others.
    service = connection.scope["path"].split("/")[1]
    await tokens.look_for_key(token.strip())
    try:
        return tokens.verify(token.strip(), service=service or None)
    except InvalidToken as error:
        raise Unauthenticated(f"invalid bearer token: {error}") from error


async def _who_asks(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Actor:
    # The guard has proven it before it let the request in; it is not proven twice.
    proven: Actor | None = getattr(request.state, ACTOR, None)
    return await actor_of(request) if proven is None else proven


WhoAsks = Annotated[Actor, Depends(_who_asks)]
"""A FastAPI dependency: the actor whom the request's bearer token proves."""


def may_see(actor: Actor, project: str, absent: Reject) -> None:
    """Raises `absent`, as if there were no such Project, unless this actor may read what belongs to it."""
    if not actor.may_act_for(project):
        origins.hid(project)
        raise absent


def visible_to(actor: Actor, project: str | None = None) -> list[str] | None:
    """The Projects that the actor may see, only `project` if it is given; None means all."""
    if project is not None:
        return [project] if actor.may_act_for(project) else []
    return None if actor.role == "sre" else [one for one in actor.projects if actor.may_act_for(one)]
