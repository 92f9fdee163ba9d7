"""Keys: the private one that signs, and the public ones that a service trusts.

Ours are Ed25519 (EdDSA). Public keys of P-256 (ES256) and RSA from 2048 bits on (RS256) are read too, because
identity providers sign with them. A symmetric key is never read: who could prove with it could also sign.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey

_RSA_BITS_MIN = 2048
MOVE_TO_KEY_PAIRS = (
    "HS256 keys are not used any more: make a key pair with `upgradepath key new`, give its public half to"
    " the services and issue new tokens"
)


class UnusableKey(ValueError):
    """A text that is not a key of a kind that we use; the message says what to do."""


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 private key and the id (`kid`) that its signatures name."""

    kid: str
    private: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"SigningKey({self.kid!r})"

    @classmethod
    def new(cls, kid: str | None = None) -> "SigningKey":
        """A new key; without `kid` its id is the thumbprint of its public half."""
        private = Ed25519PrivateKey.generate()
        return cls(kid or _thumbprint(private.public_key()), private)

    @classmethod
    def load(cls, text: str, kid: str | None = None) -> "SigningKey":
        """The key of a PEM (PKCS #8) text. Raises `UnusableKey`."""
        if "-----BEGIN" not in text:
            raise UnusableKey(f"not a private key in PEM. {MOVE_TO_KEY_PAIRS}")
        try:
            private = serialization.load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError) as error:
            raise UnusableKey(
                "not a readable private key: give it in PEM (PKCS #8), without a password"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise UnusableKey("not an Ed25519 private key: make one with `upgradepath key new`")
        return cls(kid or _thumbprint(private.public_key()), private)

    def pem(self) -> str:
        """The private key as text. It belongs into a file that only its owner reads."""
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def public(self) -> "PublicKeys":
        """The public half under the same id."""
        return PublicKeys({self.kid: self.private.public_key()})


@dataclass(frozen=True)
class PublicKeys:
    """The public keys that a service trusts, by their ids."""

    by_kid: Mapping[str, PublicKey]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_kid)

    def __or__(self, other: "PublicKeys") -> "PublicKeys":
        return PublicKeys({**self.by_kid, **other.by_kid})

    @classmethod
    def load(cls, text: str) -> "PublicKeys":
        """The keys of a JWK Set (RFC 7517), or of one or more PEM texts. Raises `UnusableKey`."""
        if "-----BEGIN" in text:
            return cls({_thumbprint(key): key for key in _pem_keys(text)})
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnusableKey(f"not a JWK Set and not a PEM public key. {MOVE_TO_KEY_PAIRS}") from error
        if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
            raise UnusableKey('a JWK Set is an object with a list `keys`: {"keys": [...]}')
        found = [read_jwk(each) for each in document["keys"]]
        keys = dict(found)
        if len(keys) < len(found):
            twice = next(kid for kid in keys if [name for name, _ in found].count(kid) > 1)
            raise UnusableKey(f"two keys are called {twice[:64]!a}: give each a `kid` of its own")
        return cls(keys)

    def jwks(self) -> str:
        """The keys as a JWK Set, for a file that every service may read."""
        return json.dumps({"keys": [{**_as_jwk(key), "kid": kid} for kid, key in self.by_kid.items()]})


def algorithm_of(key: PublicKey) -> str:
    """The one JWS algorithm that this key proves: the token does not choose it."""
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    return "ES256" if isinstance(key, EllipticCurvePublicKey) else "RS256"


def _pem_keys(text: str) -> Iterator[PublicKey]:
    end = "-----END PUBLIC KEY-----"
    for piece in text.split(end)[:-1]:
        try:
            yield _usable(serialization.load_pem_public_key((piece + end).strip().encode()))
        except ValueError as error:
            if isinstance(error, UnusableKey):
                raise
            raise UnusableKey("not a readable public key in PEM") from error
    if text.split(end)[-1].strip():
        raise UnusableKey(
            "only public keys belong here: -----BEGIN PUBLIC KEY----- … -----END PUBLIC KEY-----"
        )


def read_jwk(document: Any) -> tuple[str, PublicKey]:
    """The id and the key of one JWK (RFC 7517). Raises `UnusableKey`, also for a private or symmetric one."""
    if not isinstance(document, dict):
        raise UnusableKey("each of `keys` is an object")
    if document.get("kty") == "oct":
        raise UnusableKey(f"a symmetric key is not a public key. {MOVE_TO_KEY_PAIRS}")
    if "d" in document:
        raise UnusableKey("a private key stands among the public ones: take it out, and make a new pair")
    try:
        key = _usable(PyJWK.from_dict(document).key)
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError) as error:
        if isinstance(error, UnusableKey):
            raise
        # The library's words quote the whole JWK.
        raise UnusableKey(
            "not a readable JWK: `kty` is OKP (Ed25519), EC (P-256) or RSA, with the members of its kind"
        ) from error
    kid = document.get("kid")
    return (kid if isinstance(kid, str) and kid else _thumbprint(key)), key


def _usable(key: object) -> PublicKey:
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    if isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS_MIN:
        return key
    raise UnusableKey(
        f"a key is Ed25519, P-256, or RSA of at least {_RSA_BITS_MIN} bits; this one is of another kind"
    )


def _as_jwk(key: PublicKey) -> dict[str, Any]:
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

    if isinstance(key, Ed25519PublicKey):
        return dict(OKPAlgorithm.to_jwk(key, as_dict=True))
    if isinstance(key, EllipticCurvePublicKey):
        return dict(ECAlgorithm.to_jwk(key, as_dict=True))
    return dict(RSAAlgorithm.to_jwk(key, as_dict=True))


def _thumbprint(key: PublicKey) -> str:
    """The key's JWK thumbprint. Source: RFC 7638."""
    members = {
        name: value for name, value in _as_jwk(key).items() if name in {"crv", "e", "kty", "n", "x", "y"}
    }
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
