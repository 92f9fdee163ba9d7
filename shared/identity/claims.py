"""What a token says: its header and claims, read strictly, and the actor whom claims of ours name."""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from shared.contracts.values import Actor

AUDIENCE = "upgradepath"
PROJECTS_MAX = 100

_TYPES = {"jwt", "at+jwt", "application/at+jwt"}
# Each would let the token say how it is to be verified, or what of it is not to be read as it stands.
_REFUSED_HEADERS = ("jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc")
_NEEDED = ("aud", "exp", "sub")
_TOKEN_ID_LENGTH_MAX = 200


class InvalidToken(ValueError):
    """A token that does not prove its actor; the message says why, and never holds the token."""


@dataclass(frozen=True)
class Terms:
    """How long a token counts and for which services; times are in seconds since 1970."""

    expires_s: float
    valid_from_s: float
    """The later one of `iat` and `nbf`; minus infinity where it has neither."""
    issued_s: float | None
    """Its `iat`. Without one nobody knows how old the token is."""
    audiences: frozenset[str]
    token_id: str | None


def header_of(token: str) -> Mapping[str, Any]:
    """The token's header. Raises `InvalidToken`, also for one that would choose how it is verified."""
    try:
        header = _object(_decoded(token.partition(".")[0]))
    except (ValueError, RecursionError) as error:
        raise InvalidToken("the token's header is not JSON in which each name stands once") from error
    if not isinstance(header, dict):
        raise InvalidToken("the token's header is not a JSON object")
    refused = [name for name in _REFUSED_HEADERS if name in header]
    if refused:
        raise InvalidToken(
            f"the token's header has `{refused[0]}`: the services choose the key and read nothing but JWTs"
        )
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise InvalidToken("the token's `typ` is neither JWT nor at+jwt")
    return header


def unproven_claims(token: str) -> Mapping[str, Any]:
    """The claims before any signature was looked at: good for choosing whose keys prove them, and no more."""
    try:
        payload = _decoded(token.split(".")[1])
    except ValueError as error:
        raise InvalidToken("the token's claims are not in base64url") from error
    return claims_of(payload)


def claims_of(payload: bytes) -> Mapping[str, Any]:
    """The claims of a payload. Raises `InvalidToken`."""
    try:
        claims = _object(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidToken("the token's claims are not JSON in which each name stands once") from error
    if not isinstance(claims, dict):
        raise InvalidToken("the token's claims are not a JSON object")
    return claims


def terms_of(claims: Mapping[str, Any]) -> Terms:
    """The terms of the token with these claims. Raises `InvalidToken`."""
    missing = [name for name in _NEEDED if claims.get(name) is None]
    if missing:
        raise InvalidToken(f"the token has no `{missing[0]}`")
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if not audiences or not all(isinstance(each, str) for each in audiences):
        raise InvalidToken(f"the token is for another audience: `aud` must name {AUDIENCE}")
    starts = {name: _time(claims, name) for name in ("iat", "nbf") if claims.get(name) is not None}
    return Terms(
        expires_s=_time(claims, "exp"),
        valid_from_s=max(starts.values(), default=-math.inf),
        issued_s=starts.get("iat"),
        audiences=frozenset(audiences),
        token_id=_token_id(claims),
    )


def own_actor(claims: Mapping[str, Any]) -> Actor:
    """The actor whom `sub`, `role` and `projects` name. Raises `InvalidToken`."""
    subject, projects = claims["sub"], claims.get("projects", [])
    # It stands in sources, headers and logs.
    if not isinstance(subject, str) or not subject.isprintable() or subject != subject.strip():
        raise InvalidToken("the token's `sub` is not a name in printable characters")
    if not isinstance(projects, list) or not all(isinstance(each, str) for each in projects):
        raise InvalidToken("the token's `projects` is not a list of Project ids")
    if len(projects) > PROJECTS_MAX:
        raise InvalidToken(f"the token names {len(projects)} Projects, at most {PROJECTS_MAX} are read")
    try:
        return Actor.model_validate({"id": subject, "role": claims.get("role"), "projects": projects})
    except ValidationError as error:
        where = error.errors(include_input=False, include_url=False)[0]["loc"][0]
        raise InvalidToken(
            f"the token's `{'sub' if where == 'id' else where}` is not valid: `role` is library, maintainer"
            " or sre, `sub` has 1 to 200 characters, and `projects` are Project ids"
        ) from error


def _object(data: bytes) -> Any:
    """The JSON value. Raises ValueError, also where a name stands twice: readers differ in which counts."""
    return json.loads(data, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _token_id(claims: Mapping[str, Any]) -> str | None:
    """An id that could not stand on a line of the file of revoked tokens is refused."""
    token_id = claims.get("jti")
    if token_id is None:
        return None
    if not isinstance(token_id, str):
        raise InvalidToken("the token's `jti` is not a text")
    return require_token_id(token_id)


def require_token_id(token_id: str) -> str:
    """The id itself. Raises `InvalidToken` for one that could not stand on a line of the revoked ones."""
    if (
        not token_id.isprintable()
        or len(token_id.split()) != 1
        or token_id.strip() != token_id
        or token_id.startswith("#")
        or len(token_id) > _TOKEN_ID_LENGTH_MAX
    ):
        raise InvalidToken(
            f"the token's `jti` could not be revoked: it is one word of at most {_TOKEN_ID_LENGTH_MAX}"
            " printable characters"
        )
    return token_id


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise InvalidToken(f"the token's `{name}` is not a number of seconds since 1970")
    return float(value)
