"""Tokens that prove nothing, each with a word of the sentence that says why."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.identity.keys import PublicKeys, SigningKey
from shared.identity.tokens import TokenVerifier

EDDSA, OTHER = SigningKey.new("people"), SigningKey.new("other")
P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
STRANGER = SigningKey.new("people")
"""Of the same id as a key that is trusted."""
TRUSTED = PublicKeys(
    {
        "people": EDDSA.private.public_key(),
        "p256": P256.public_key(),
        "rsa": RSA.public_key(),
    }
)
VERIFIER = TokenVerifier(TRUSTED)
MIRA = {"sub": "mira@acme.example", "role": "maintainer", "projects": ["acme-portal"], "aud": "upgradepath"}
_TOO_FAR = 10**13


def claims(**changed: Any) -> dict[str, Any]:
    """Good ones but for these; None takes one away."""
    merged = {**MIRA, "exp": int(time.time()) + 600, **changed}
    return {name: value for name, value in merged.items() if value is not None}


def signed(given: Any, header: dict[str, Any] | None = None, key: Any = None, alg: str = "EdDSA") -> str:
    """A JWS over any payload with any header."""
    head = {"alg": alg, "typ": "JWT", "kid": "people", **(header or {})}
    head = {name: value for name, value in head.items() if value is not None}
    payload = given if isinstance(given, bytes) else json.dumps(given).encode()
    key = EDDSA.private if key is None else key
    signing = f"{b64(json.dumps(head).encode())}.{b64(payload)}"
    return f"{signing}.{b64(_signature(signing.encode(), key, alg))}"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _signature(data: bytes, key: Any, alg: str) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, bytes):
        return hmac.new(key, data, hashlib.sha256).digest()
    return jwt.get_algorithm_by_name(alg).sign(data, key)


def _public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def _without_signature(alg: str) -> str:
    return f"{b64(json.dumps({'alg': alg, 'typ': 'JWT'}).encode())}.{b64(json.dumps(claims()).encode())}."


def _changed_claims() -> str:
    head, _, signature = signed(claims()).split(".")
    return f"{head}.{b64(json.dumps(claims(role='sre')).encode())}.{signature}"


def _changed_header() -> str:
    _, body, signature = signed(claims()).split(".")
    return f"{b64(json.dumps({'alg': 'EdDSA', 'typ': 'JWT'}).encode())}.{body}.{signature}"


def _by_rsa(alg: str) -> str:
    return signed(claims(), {"kid": "rsa"}, RSA, alg)


def _with_zeros(token: str) -> str:
    return f"{token.rpartition('.')[0]}.{b64(bytes(64))}"


def _truncated() -> str:
    return signed(claims())[:-12]


def _own_jwk() -> dict[str, Any]:
    return dict(json.loads(STRANGER.public().jwks())["keys"][0])


@dataclass(frozen=True)
class Attack:
    """`make` gives the token: times in it are those of the moment."""

    name: str
    because: str
    make: Callable[[], str]


def _of_claims(name: str, because: str, **changed: Any) -> Attack:
    return Attack(name, because, lambda: signed(claims(**changed)))


ATTACKS: tuple[Attack, ...] = (
    # the algorithm
    Attack("HS256 with a guessed secret", "key new", lambda: signed(claims(), key=b"k" * 32, alg="HS256")),
    Attack("HS256 without a kid", "key new", lambda: signed(claims(), {"kid": None}, b"k" * 32, "HS256")),
    Attack("HS384", "key new", lambda: signed(claims(), key=b"k" * 48, alg="HS384")),
    Attack("HS512", "key new", lambda: signed(claims(), key=b"k" * 64, alg="HS512")),
    Attack(
        "HS256 with the public RSA key as its secret",
        "key new",
        lambda: signed(claims(), {"kid": "rsa"}, _public_pem(RSA), "HS256"),
    ),
    Attack(
        "HS256 with the public Ed25519 key as its secret",
        "key new",
        lambda: signed(claims(), key=EDDSA.private.public_key().public_bytes_raw(), alg="HS256"),
    ),
    Attack("none", "not a signed JWT", lambda: _without_signature("none")),
    Attack("None with another spelling", "not a signed JWT", lambda: _without_signature("nOnE")),
    Attack("none with a signature", "another algorithm", lambda: signed(claims(), {"alg": "none"})),
    Attack("none without a kid", "another algorithm", lambda: signed(claims(), {"alg": "none", "kid": None})),
    Attack("eddsa in small letters", "another algorithm", lambda: signed(claims(), {"alg": "eddsa"})),
    Attack("no algorithm", "another algorithm", lambda: signed(claims(), {"alg": None})),
    Attack("a list of algorithms", "another algorithm", lambda: signed(claims(), {"alg": ["EdDSA"]})),
    Attack(
        "ES256 that names the Ed25519 key",
        "another algorithm",
        lambda: signed(claims(), {"kid": "people"}, P256, "ES256"),
    ),
    Attack("EdDSA that names the RSA key", "another algorithm", lambda: signed(claims(), {"kid": "rsa"})),
    Attack(
        "PS256 by the RSA key", "another algorithm", lambda: signed(claims(), {"kid": "rsa"}, RSA, "PS256")
    ),
    Attack(
        "RS512 by the RSA key", "another algorithm", lambda: signed(claims(), {"kid": "rsa"}, RSA, "RS512")
    ),
    Attack("ES384 by a key of its own", "another algorithm", lambda: signed(claims(), {"alg": "ES384"})),
    # the key
    Attack("another key under a trusted id", "signature", lambda: signed(claims(), key=STRANGER.private)),
    Attack(
        "another key without an id", "signature", lambda: signed(claims(), {"kid": None}, STRANGER.private)
    ),
    Attack(
        "a key that nobody trusts",
        "does not trust",
        lambda: signed(claims(), {"kid": "other"}, OTHER.private),
    ),
    Attack("a kid that is a path", "does not trust", lambda: signed(claims(), {"kid": "../../dev/null"})),
    Attack("a kid that is SQL", "does not trust", lambda: signed(claims(), {"kid": "people' or '1'='1"})),
    Attack("an empty kid", "does not trust", lambda: signed(claims(), {"kid": ""})),
    Attack("a kid that is a number", "kid", lambda: signed(claims(), {"kid": 7})),
    Attack("a kid that is a list", "kid", lambda: signed(claims(), {"kid": ["people"]})),
    Attack(
        "a key of its own in the header",
        "`jwk`",
        lambda: signed(claims(), {"jwk": _own_jwk()}, STRANGER.private),
    ),
    Attack("a key at an address", "`jku`", lambda: signed(claims(), {"jku": "https://mal.example/keys"})),
    Attack(
        "a certificate at an address", "`x5u`", lambda: signed(claims(), {"x5u": "https://mal.example/c"})
    ),
    Attack("a certificate", "`x5c`", lambda: signed(claims(), {"x5c": ["MIIB"]})),
    Attack("critical extensions", "`crit`", lambda: signed(claims(), {"crit": ["exp"]})),
    Attack("a payload that is not base64", "`b64`", lambda: signed(claims(), {"b64": False})),
    Attack("a compressed payload", "`zip`", lambda: signed(claims(), {"zip": "DEF"})),
    Attack("an encrypted token", "`enc`", lambda: signed(claims(), {"enc": "A256GCM"})),
    Attack("another type of token", "`typ`", lambda: signed(claims(), {"typ": "dpop+jwt"})),
    Attack("a type that is a number", "`typ`", lambda: signed(claims(), {"typ": 1})),
    # the purpose and the time
    _of_claims("for another service", "another audience", aud="upgradepath/registry"),
    _of_claims("for a service of a longer name", "another audience", aud="upgradepath/planners"),
    _of_claims("for a name that begins so", "another audience", aud="upgradepath-staging"),
    _of_claims("for nobody", "another audience", aud=[]),
    _of_claims("for a service in a list in a list", "another audience", aud=[["upgradepath"]]),
    _of_claims("an id that is a number", "`jti`", jti=7),
    _of_claims("an id that is a list", "`jti`", jti=["7"]),
    Attack("a token for two months", "longer than 31", lambda: signed(claims(exp=time.time() + 61 * 86_400))),
    Attack("a token for ten thousand years", "longer than 31", lambda: signed(claims(exp=10**11))),
    Attack("a start after the end", "not valid yet", lambda: signed(claims(nbf=time.time() + 900))),
    # the signature
    Attack("other claims under a signature", "signature", _changed_claims),
    Attack("another header over a signature", "signature", _changed_header),
    Attack("half of a signature", "signature|read", _truncated),
    Attack(
        "a signature of zeros",
        "signature",
        lambda: ".".join([*signed(claims()).split(".")[:2], b64(bytes(64))]),
    ),
    Attack(
        "an ES256 signature of zeros",
        "signature",
        lambda: _with_zeros(signed(claims(), {"kid": "p256"}, P256, "ES256")),
    ),
    # the form
    Attack("an empty token", "not a signed JWT", lambda: ""),
    Attack("two parts", "not a signed JWT", lambda: signed(claims()).rsplit(".", 1)[0]),
    Attack("four parts", "not a signed JWT", lambda: signed(claims()) + ".x"),
    Attack("five parts", "not a signed JWT", lambda: "a.b.c.d.e"),
    Attack("a line break in it", "not a signed JWT", lambda: signed(claims()).replace(".", "\n.", 1)),
    Attack("padding", "not a signed JWT", lambda: signed(claims()) + "="),
    Attack("digits of another script", "not a signed JWT", lambda: "١.٢.٣"),
    Attack("more than is read", "characters", lambda: signed(claims(projects=["p" * 60] * 60))),
    Attack("a megabyte", "characters", lambda: "a" * 1_000_000 + ".b.c"),
    Attack("a header that is nested a thousand deep", "header", lambda: f"{b64(b'[' * 1000)}.e30.AA"),
    Attack("a header that is not JSON", "header", lambda: f"{b64(b'alg: EdDSA')}.e30.AA"),
    Attack("a header that is a list", "header", lambda: f"{b64(b'[]')}.e30.AA"),
    Attack("claims that are nested a thousand deep", "claims", lambda: signed(b"[" * 1000)),
    Attack("claims that are a list", "claims", lambda: signed([])),
    Attack("claims that are a text", "claims", lambda: signed("mira")),
    Attack("claims that are null", "claims", lambda: signed(None)),
    Attack("claims that are not UTF-8", "claims", lambda: signed(b'{"sub": "\xff"}')),
    # the time
    _of_claims("no end", "`exp`", exp=None),
    _of_claims("an end that has come", "expired", exp=1),
    Attack("an end a second ago", "expired", lambda: signed(claims(exp=time.time() - 1))),
    _of_claims("a negative end", "expired", exp=-1),
    _of_claims("an end that is a text", "`exp`", exp="4102444800"),
    _of_claims("an end that is true", "`exp`", exp=True),
    _of_claims("an end that is a list", "`exp`", exp=[4102444800]),
    _of_claims("an end that no calendar has", "`exp`", exp=_TOO_FAR),
    Attack("an end that is infinite", "`exp`", lambda: signed(json.dumps(claims(exp=float("inf"))).encode())),
    Attack(
        "an end that is no number", "`exp`", lambda: signed(json.dumps(claims(exp=float("nan"))).encode())
    ),
    Attack("not valid yet", "not valid yet", lambda: signed(claims(nbf=time.time() + 300))),
    Attack("issued tomorrow", "not valid yet", lambda: signed(claims(iat=time.time() + 86_400))),
    _of_claims("a beginning that is a text", "`nbf`", nbf="now"),
    _of_claims("an issue time that is an object", "`iat`", iat={}),
    # whom it is for
    _of_claims("no audience", "`aud`", aud=None),
    _of_claims("another audience", "audience", aud="another-service"),
    _of_claims("an audience that only begins like ours", "audience", aud="upgradepath-staging"),
    _of_claims("an audience in capitals", "audience", aud="UPGRADEPATH"),
    _of_claims("no audience in a list", "audience", aud=[]),
    _of_claims("an audience among numbers", "audience", aud=["upgradepath", 7]),
    _of_claims("an audience that is an object", "audience", aud={"upgradepath": True}),
    # who it is
    _of_claims("no subject", "`sub`", sub=None),
    _of_claims("an empty subject", "`sub`", sub=""),
    _of_claims("a subject that is a number", "`sub`", sub=7),
    _of_claims("a subject that is too long", "`sub`", sub="m" * 201),
    _of_claims("a subject with a NUL", "`sub`", sub="mira\0"),
    _of_claims("a subject with a line break", "`sub`", sub="mira\nsam"),
    _of_claims("a subject with half a surrogate", "`sub`", sub="mira\ud800"),
    _of_claims("a subject that turns the line round", "`sub`", sub="mira\u202esam"),
    _of_claims("a subject with spaces around it", "`sub`", sub=" mira@acme.example"),
    _of_claims("no role", "`role`", role=None),
    _of_claims("a role that does not exist", "`role`", role="owner"),
    _of_claims("a role in capitals", "`role`", role="SRE"),
    _of_claims("a list of roles", "`role`", role=["maintainer", "sre"]),
    _of_claims("Projects as one text", "`projects`", projects="acme-portal"),
    _of_claims("a Project that is a number", "`projects`", projects=[7]),
    _of_claims("a Project that is none", "`projects`", projects=["Acme Portal"]),
    _of_claims("a star for every Project", "`projects`", projects=["*"]),
    _of_claims("Projects that are an object", "`projects`", projects={"acme-portal": True}),
    _of_claims("more Projects than are read", "Projects", projects=[f"p{number}" for number in range(101)]),
)
