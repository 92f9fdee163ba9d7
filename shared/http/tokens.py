"""Bearer tokens over HTTP: who asks is proven before anything else is looked at."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.contracts.values import Actor
from shared.errors import forbidden
from shared.identity.tokens import InvalidToken, TokenVerifier, issue_token

__all__ = ["Unauthenticated", "WhoAsks", "issue_token", "may_see"]

_bearer = HTTPBearer(auto_error=False, description="a token with a role: library, maintainer or sre")


class Unauthenticated(Exception):
    """No token, or one that does not prove its actor."""


async def _who_asks(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Actor:
    if credentials is None:
        raise Unauthenticated("send a bearer token: Authorization: Bearer …")
    tokens: TokenVerifier = request.app.state.tokens
    try:
        return tokens.verify(credentials.credentials)
    except InvalidToken as error:
        raise Unauthenticated(f"invalid bearer token: {error}") from error


WhoAsks = Annotated[Actor, Depends(_who_asks)]
"""A FastAPI dependency: the actor whom the request's bearer token proves."""


def may_see(actor: Actor, project: str) -> None:
    """Raises `Reject` unless this actor may read what belongs to the Project."""
    if not actor.may_act_for(project):
        raise forbidden(
            f"{actor.id} may not see project {project}",
            field="project",
            value=project,
            cure="use the token of one of its maintainers",
        )
