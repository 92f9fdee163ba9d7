"""People's tokens: signed JWTs that say who somebody is and for which Projects they may speak.

A token names neither its algorithm nor its key by its own word: the key that a service trusts decides. The
claims are `sub` (who), `role`, `projects`, `aud` and `exp`; `iat`, `nbf` and `jti` count where they stand.
The audience `upgradepath` is that of every service, `upgradepath/planner` that of one.
"""

import base64
import json
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
from pydantic import SecretStr, ValidationError

from shared.clock import utc_now
from shared.contracts.envelope import TOKEN_BYTES_MAX
from shared.contracts.values import Actor
from shared.identity.keys import MOVE_TO_KEY_PAIRS, PublicKey, PublicKeys, SigningKey, algorithm_of
from shared.identity.revoked import RevokedTokens

AUDIENCE = "upgradepath"
VALID_FOR = timedelta(hours=8)
"""Unless somebody says otherwise: a day's work."""
PROJECTS_MAX = 100
VALID_AT_MOST = timedelta(days=31)
"""A token that ends later is refused: nobody would know it when it is found."""

_CLOCKS_DIFFER_S = 30
"""An issuer's clock may be so far ahead: `iat` and `nbf` may lie so far in the future."""
_KEYS_TRIED_MAX = 4
"""A token without a key's id is tried with the keys of its algorithm; with more of them it must name one."""
_REMEMBERED = 1024
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_TYPES = {"jwt", "at+jwt", "application/at+jwt"}
# Each would let the token say how it is to be verified, or what of it is not to be read as it stands.
_REFUSED_HEADERS = ("jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc")
_CLAIMS = ("aud", "exp", "sub")
_JWS = jwt.PyJWS()


class InvalidToken(ValueError):
    """A token that does not prove its actor; the message says why, and never holds the token."""


@dataclass(frozen=True)
class _Proven:
    """What a signed token says; times are in seconds since 1970."""

    actor: Actor
    expires_s: float
    valid_from_s: float
    audiences: frozenset[str]
    token_id: str | None


def issue_token(
    actor: Actor,
    key: SecretStr,
    *,
    valid_for: timedelta = VALID_FOR,
    kid: str | None = None,
    service: str | None = None,
) -> str:
    """A token for `actor`, signed with the private key of a PEM text. Raises `UnusableKey`.

    `kid` is the key's id where it has one of its own; with `service` no other takes the token.
    """
    signing = SigningKey.load(key.get_secret_value(), kid)
    claims = {
        "aud": audience_of(service),
        "jti": secrets.token_hex(8),
        "sub": actor.id,
        "role": actor.role,
        "projects": list(actor.projects),
        "exp": utc_now() + valid_for,
    }
    return jwt.encode(claims, signing.private, algorithm="EdDSA", headers={"kid": signing.kid})


def audience_of(service: str | None) -> str:
    """The audience of one service's tokens; of those that every service takes without it."""
    return AUDIENCE if service is None else f"{AUDIENCE}/{service}"


class TokenVerifier:
    """Proves people's tokens with the public keys that a service trusts, but for those that are `revoked`."""

    def __init__(self, keys: PublicKeys, revoked: RevokedTokens | None = None) -> None:
        self._keys = keys
        self._revoked = revoked
        # A signature is the same at every reading; whether the token has ended is asked each time.
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._prove)

    def verify(self, token: str, *, at: datetime | None = None, service: str | None = None) -> Actor:
        """The actor of the token, at that time or else now, for that service. Raises `InvalidToken`."""
        if len(token) > TOKEN_BYTES_MAX:
            # Counted before anything of it is decoded.
            raise InvalidToken(
                f"the token has more than {TOKEN_BYTES_MAX} characters: issue one for fewer Projects"
            )
        if not _FORM.fullmatch(token):
            raise InvalidToken("this is not a signed JWT: three parts in base64url, with dots between")
        proven = self._remembered(token)
        at_s = (at or utc_now()).timestamp()
        if at_s >= proven.expires_s:
            raise InvalidToken("the token has expired: get a new one")
        if at_s + _CLOCKS_DIFFER_S < proven.valid_from_s:
            raise InvalidToken(
                "the token is not valid yet (`iat` or `nbf`): wait, or correct the issuer's clock"
            )
        if proven.expires_s - at_s > VALID_AT_MOST.total_seconds() + _CLOCKS_DIFFER_S:
            raise InvalidToken(
                f"the token lasts longer than {VALID_AT_MOST.days} days: get one that ends sooner"
            )
        if proven.audiences.isdisjoint((AUDIENCE, audience_of(service))):
            raise InvalidToken(f"the token is for another audience: `aud` must name {audience_of(service)}")
        if self._revoked is not None and proven.token_id is not None and self._revoked.has(proven.token_id):
            raise InvalidToken("the token was revoked: get a new one")
        return proven.actor

    def _prove(self, token: str) -> _Proven:
        header = _header(token)
        for key in self._candidates(header):
            try:
                payload = _JWS.decode(token, key, algorithms=[algorithm_of(key)])
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError as error:
                raise InvalidToken("the token is not a JWT that can be read") from error
            return _read(_claims(payload))
        raise InvalidToken("the signature is not one of a key that this service trusts")

    def _candidates(self, header: Mapping[str, Any]) -> list[PublicKey]:
        algorithm, kid = header.get("alg"), header.get("kid")
        if isinstance(algorithm, str) and algorithm.upper().startswith("HS"):
            raise InvalidToken(
                f"the token is signed with a shared secret ({algorithm[:8]!a}). {MOVE_TO_KEY_PAIRS}"
            )
        if kid is None:
            found = [key for key in self._keys.by_kid.values() if algorithm_of(key) == algorithm]
            if len(found) > _KEYS_TRIED_MAX:
                raise InvalidToken("the token does not name its key, and many are trusted: give it a `kid`")
        elif isinstance(kid, str):
            found = [key for name, key in self._keys.by_kid.items() if name == kid]
            if not found:
                raise InvalidToken(f"the token names the key {kid[:64]!a}, which this service does not trust")
        else:
            raise InvalidToken("the token's `kid` is not a text")
        if any(algorithm_of(key) != algorithm for key in found) or not found:
            raise InvalidToken(
                "the token names another algorithm than its key has: EdDSA, ES256 and RS256 are read,"
                " each with a key of its kind"
            )
        return found


NOBODY = TokenVerifier(PublicKeys({}))
"""Trusts no key, so it proves nobody."""


def _header(token: str) -> Mapping[str, Any]:
    encoded = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError) as error:
        raise InvalidToken("the token's header is not JSON") from error
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


def _claims(payload: bytes) -> Mapping[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidToken("the token's claims are not JSON") from error
    if not isinstance(claims, dict):
        raise InvalidToken("the token's claims are not a JSON object")
    return claims


def _read(claims: Mapping[str, Any]) -> _Proven:
    missing = [name for name in _CLAIMS if claims.get(name) is None]
    if missing:
        raise InvalidToken(f"the token has no `{missing[0]}`")
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if not audiences or not all(isinstance(each, str) for each in audiences):
        raise InvalidToken(f"the token is for another audience: `aud` must name {AUDIENCE}")
    token_id = claims.get("jti")
    if token_id is not None and not isinstance(token_id, str):
        # Such a one could not be called back.
        raise InvalidToken("the token's `jti` is not a text")
    starts = [_time(claims, name) for name in ("iat", "nbf") if claims.get(name) is not None]
    begins_s = max(starts, default=-math.inf)
    return _Proven(_actor(claims), _time(claims, "exp"), begins_s, frozenset(audiences), token_id)


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise InvalidToken(f"the token's `{name}` is not a number of seconds since 1970")
    return float(value)


def _actor(claims: Mapping[str, Any]) -> Actor:
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
