"""Bearer tokens: signed JWTs that say who somebody is and for which Projects they may speak."""

from datetime import timedelta
from typing import Annotated

import jwt
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr, ValidationError

from shared.clock import utc_now
from shared.contracts.values import Actor
from shared.errors import forbidden

ALGORITHM = "HS256"
AUDIENCE = "upgradepath"
_bearer = HTTPBearer(auto_error=False, description="a token with a role: library, maintainer or sre")


class Unauthenticated(Exception):
    """No token, or one that proves nothing."""


def issue_token(actor: Actor, key: SecretStr, *, valid_for: timedelta = timedelta(days=30)) -> str:
    """A token for `actor`, signed with `key`."""
    claims = {
        "aud": AUDIENCE,
        "sub": actor.id,
        "role": actor.role,
        "projects": list(actor.projects),
        "exp": utc_now() + valid_for,
    }
    return jwt.encode(claims, key.get_secret_value(), algorithm=ALGORITHM)


def read_token(token: str, key: SecretStr) -> Actor:
    """Who the token speaks for. Raises `Unauthenticated`."""
    try:
        claims = jwt.decode(
            token,
            key.get_secret_value(),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            options={"require": ["exp", "sub", "aud"]},
        )
        return Actor(id=claims["sub"], role=claims.get("role"), projects=tuple(claims.get("projects", ())))
    except (jwt.InvalidTokenError, ValidationError, TypeError) as error:
        raise Unauthenticated(f"the bearer token proves nothing: {error}") from error


async def _who_asks(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Actor:
    if credentials is None:
        raise Unauthenticated("send a bearer token: Authorization: Bearer …")
    key: SecretStr = request.app.state.token_key
    return read_token(credentials.credentials, key)


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
