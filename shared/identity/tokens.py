"""People's tokens: signed JWTs that say who somebody is and for which Projects they may speak.

A token names neither its algorithm nor its key by its own word: the key that a service trusts decides. Claims
of ours are `sub` (who), `role`, `projects`, `aud` and `exp`; `iat`, `nbf` and `jti` count where they stand.
The audience `upgradepath` is that of every service, `upgradepath/planner` that of one. What the claims of an
identity provider mean, its settings say (`issuers`).
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
from pydantic import SecretStr

from shared.clock import utc_now
from shared.contracts.envelope import TOKEN_BYTES_MAX
from shared.contracts.values import Actor
from shared.identity.claims import (
    AUDIENCE,
    InvalidToken,
    Terms,
    claims_of,
    header_of,
    own_actor,
    terms_of,
    unproven_claims,
)
from shared.identity.issuer_keys import KeysAtUrl
from shared.identity.issuers import IssuedClaims, IssuerSettings
from shared.identity.key_sources import FixedKeys, KeySource
from shared.identity.keys import MOVE_TO_KEY_PAIRS, PublicKey, PublicKeys, SigningKey, algorithm_of
from shared.identity.revoked import CLOCKS_DIFFER_S, RevokedTokens

__all__ = ["AUDIENCE", "NOBODY", "InvalidToken", "TokenVerifier", "audience_of", "issue_token"]

VALID_FOR = timedelta(hours=8)
"""Unless somebody says otherwise: a day's work."""
VALID_AT_MOST = timedelta(days=31)
"""A token that lasts longer is refused: nobody would know it when it is found."""

_KEYS_TRIED_MAX = 4
"""A token without a key's id is tried with the keys of its algorithm; with more of them it must name one."""
_REMEMBERED = 1024
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_JWS = jwt.PyJWS()


@dataclass(frozen=True)
class TrustedIssuer:
    """An issuer and the keys that prove its tokens, and no others."""

    settings: IssuerSettings
    keys: KeySource


@dataclass(frozen=True)
class _Proven:
    """What a signed token says."""

    actor: Actor
    terms: Terms
    issuer: IssuerSettings | None


def issue_token(
    actor: Actor,
    key: SecretStr,
    *,
    valid_for: timedelta = VALID_FOR,
    kid: str | None = None,
    service: str | None = None,
    token_id: str | None = None,
) -> str:
    """A token for `actor`, signed with the private key of a PEM text. Raises `UnusableKey`.

    `kid` is the key's id where it has one of its own; with `service` no other takes the token. `token_id`
    is its `jti`, by default one that nobody guesses.
    """
    signing = SigningKey.load(key.get_secret_value(), kid)
    now = utc_now()
    claims = {
        "aud": audience_of(service),
        "jti": token_id or secrets.token_hex(8),
        "sub": actor.id,
        "role": actor.role,
        "projects": list(actor.projects),
        "iat": now,
        "exp": now + valid_for,
    }
    return jwt.encode(claims, signing.private, algorithm="EdDSA", headers={"kid": signing.kid})


def audience_of(service: str | None, audience: str = AUDIENCE) -> str:
    """The audience of one service's tokens; of those that every service takes without it."""
    return audience if service is None else f"{audience}/{service}"


class TokenVerifier:
    """Proves people's tokens with the public keys that a service trusts, but for those that are `revoked`.

    A token whose `iss` names one of `issuers` is proven by that issuer's keys alone; where there are issuers,
    another `iss` is refused. `keys` prove the tokens without one.
    """

    def __init__(
        self,
        keys: PublicKeys | KeySource,
        revoked: RevokedTokens | None = None,
        issuers: Sequence[TrustedIssuer] = (),
        valid_at_most: timedelta = VALID_AT_MOST,
    ) -> None:
        self._keys = FixedKeys(keys) if isinstance(keys, PublicKeys) else keys
        self._revoked = revoked
        self._issuers = {each.settings.issuer: each for each in issuers}
        self._prefixes = tuple(f"{each.settings.name}:" for each in issuers)
        self.sources: tuple[KeySource, ...] = (self._keys, *(each.keys for each in issuers))
        self._valid_at_most_s = min(valid_at_most, VALID_AT_MOST).total_seconds()
        # A signature by the same keys is the same at every reading; whether the token has ended, and whether
        # it is revoked, is asked each time.
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._prove)

    def verify(self, token: str, *, at: datetime | None = None, service: str | None = None) -> Actor:
        """The actor of the token, at that time or else now, for that service. Raises `InvalidToken`."""
        _require_form(token)
        proven = self._remembered(token, self._versions())
        self._require_time(proven, (at or utc_now()).timestamp())
        audiences = (AUDIENCE,) if proven.issuer is None else proven.issuer.audience
        wanted = {name for each in audiences for name in (each, audience_of(service, each))}
        if proven.terms.audiences.isdisjoint(wanted):
            raise InvalidToken(
                f"the token is for another audience: `aud` must name {audience_of(service, audiences[0])}"
            )
        self._require_unrevoked(proven)
        return proven.actor

    async def look_for_key(self, token: str) -> None:
        """Have an issuer's keys read again if the token names one that is not known; not too often.

        Waits for that a few seconds at the most. Nothing is said of the token.
        """
        if not any(isinstance(source, KeysAtUrl) for source in self.sources):
            return
        try:
            _require_form(token)
            kid = header_of(token).get("kid")
            _, source = self._chosen(unproven_claims(token))
        except InvalidToken:
            return
        if isinstance(source, KeysAtUrl) and self._may_be_by_a_new_key(token, kid):
            await source.look_for(kid if isinstance(kid, str) else "")

    def _may_be_by_a_new_key(self, token: str, kid: object) -> bool:
        """Some providers name no key: their token is by a new one when no known key proves it."""
        if kid is not None:
            return isinstance(kid, str)
        try:
            self._remembered(token, self._versions())
        except InvalidToken:
            return True
        return False

    def _versions(self) -> tuple[object, ...]:
        return tuple(source.version() for source in self.sources)

    @property
    def revoked(self) -> RevokedTokens | None:
        """The list of revoked tokens, where there is one."""
        return self._revoked

    def troubles(self) -> list[str]:
        """What is wrong with keys and revocations, for whoever operates the service."""
        found = [source.trouble() for source in self.sources]
        return [each for each in (*found, self._revoked and self._revoked.trouble()) if each]

    def _require_time(self, proven: _Proven, at_s: float) -> None:
        terms = proven.terms
        if at_s >= terms.expires_s:
            raise InvalidToken("the token has expired: get a new one")
        if at_s + CLOCKS_DIFFER_S < terms.valid_from_s:
            raise InvalidToken(
                "the token is not valid yet (`iat` or `nbf`): wait, or correct the issuer's clock"
            )
        longest_s = self._valid_at_most_s
        if proven.issuer is not None:
            longest_s = min(longest_s, proven.issuer.valid_at_most_h * 3600)
        # One that lasts too long is not good in its last days either.
        begins_s = at_s if terms.issued_s is None else min(at_s, terms.issued_s)
        if terms.expires_s - begins_s > longest_s + CLOCKS_DIFFER_S:
            raise InvalidToken(f"the token lasts longer than {_named(longest_s)}: get one that ends sooner")

    def _require_unrevoked(self, proven: _Proven) -> None:
        if self._revoked is None:
            return
        if (why := self._revoked.unknown()) is not None:
            raise InvalidToken(f"nobody can tell whether the token was revoked: {why}")
        terms = proven.terms
        if terms.token_id is not None and self._revoked.has(terms.token_id):
            raise InvalidToken("the token was revoked: get a new one")
        before_s = self._revoked.before_s((proven.actor.id,))
        # The issuer's clock may be ahead: what it issued before then may say that it was a little later.
        if before_s is not None and (terms.issued_s is None or terms.issued_s < before_s + CLOCKS_DIFFER_S):
            until = datetime.fromtimestamp(before_s + CLOCKS_DIFFER_S, UTC)
            raise InvalidToken(
                "the token was revoked, with all that were issued to its owner before"
                f" {until:%Y-%m-%d %H:%M:%S} UTC: get a new one"
            )

    def _prove(self, token: str, _versions: tuple[object, ...]) -> _Proven:
        header = header_of(token)
        issuer, source = self._chosen(unproven_claims(token))
        for key in _candidates(header, source.keys()):
            try:
                payload = _JWS.decode(token, key, algorithms=[algorithm_of(key)])
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError as error:
                raise InvalidToken("the token is not a JWT that can be read") from error
            return self._read(claims_of(payload), issuer)
        raise InvalidToken("the signature is not one of a key that this service trusts")

    def _chosen(self, claims: Mapping[str, Any]) -> tuple[IssuerSettings | None, KeySource]:
        named = claims.get("iss")
        if not self._issuers or named is None:
            return None, self._keys
        if not isinstance(named, str):
            raise InvalidToken("the token's `iss` is not a text")
        found = self._issuers.get(named)
        if found is None:
            raise InvalidToken(f"the token's issuer {named[:100]!a} is not one that this service trusts")
        return found.settings, found.keys

    def _read(self, claims: Mapping[str, Any], issuer: IssuerSettings | None) -> _Proven:
        terms = terms_of(claims)
        if issuer is not None:
            return _Proven(IssuedClaims(issuer, claims).actor(), terms, issuer)
        actor = own_actor(claims)
        if actor.id.startswith(self._prefixes):
            raise InvalidToken("the token's `sub` begins with an issuer's name, and is not of that issuer")
        return _Proven(actor, terms, None)


NOBODY = TokenVerifier(PublicKeys({}))
"""Trusts no key, so it proves nobody."""


def _require_form(token: str) -> None:
    if len(token) > TOKEN_BYTES_MAX:
        # Counted before anything of it is decoded.
        raise InvalidToken(
            f"the token has more than {TOKEN_BYTES_MAX} characters: issue one for fewer Projects"
        )
    if not _FORM.fullmatch(token):
        raise InvalidToken("this is not a signed JWT: three parts in base64url, with dots between")


def _candidates(header: Mapping[str, Any], keys: PublicKeys) -> list[PublicKey]:
    algorithm, kid = header.get("alg"), header.get("kid")
    if isinstance(algorithm, str) and algorithm.upper().startswith("HS"):
        raise InvalidToken(
            f"the token is signed with a shared secret ({algorithm[:8]!a}). {MOVE_TO_KEY_PAIRS}"
        )
    if kid is None:
        found = [key for key in keys.by_kid.values() if algorithm_of(key) == algorithm]
        if len(found) > _KEYS_TRIED_MAX:
            raise InvalidToken("the token does not name its key, and many are trusted: give it a `kid`")
    elif isinstance(kid, str):
        found = [key for name, key in keys.by_kid.items() if name == kid]
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


def _named(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:g} days" if hours % 24 == 0 else f"{hours:g} h"
