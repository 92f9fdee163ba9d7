"""Two issuers and their settings, and tokens of theirs that prove nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.identity.issuers import IssuerFile, IssuerSettings
from shared.identity.key_sources import FixedKeys
from shared.identity.keys import PublicKeys, SigningKey
from shared.identity.tokens import TokenVerifier, TrustedIssuer
from tests.security.token_attacks import EDDSA, RSA, TRUSTED, signed

ACME, HARBOUR = "https://login.acme.example", "https://login.harbour.example/realms/main"
ACMES, HARBOURS = SigningKey.new("main"), SigningKey.new("main")
"""Both call their key the same."""
HARBOURS_OTHER = SigningKey.new("other")
FILE = IssuerFile.model_validate(
    {
        "issuers": [
            {
                "name": "acme",
                "issuer": ACME,
                "subject": "email",
                "domain": "acme.example",
                "projects": ["acme-*"],
                "valid_at_most_h": 12,
                "clients": ["console"],
                "rules": [{"group": "upgradepath-maintainers-<project>", "role": "maintainer"}],
            },
            {
                "name": "harbour",
                "issuer": HARBOUR,
                "audience": ["upgrades"],
                "groups": ["realm_access", "roles"],
                "roles": ["sre", "maintainer"],
                "projects": ["harbour"],
                "rules": [
                    {"group": "operators", "role": "sre"},
                    {"group": "people", "role": "maintainer", "projects": ["harbour"]},
                ],
            },
        ]
    }
)
ACME_SETTINGS, HARBOUR_SETTINGS = FILE.issuers


def trusting(*issuers: tuple[IssuerSettings, PublicKeys], own: PublicKeys = TRUSTED) -> TokenVerifier:
    return TokenVerifier(own, issuers=[TrustedIssuer(each, FixedKeys(keys)) for each, keys in issuers])


VERIFIER = trusting(
    (ACME_SETTINGS, ACMES.public()), (HARBOUR_SETTINGS, HARBOURS.public() | HARBOURS_OTHER.public())
)


def acmes(key: Any = None, header: dict[str, Any] | None = None, alg: str = "EdDSA", **changed: Any) -> str:
    """A token of Acme's issuer that is right but for these; None takes a claim away."""
    given: dict[str, Any] = {
        "iss": ACME,
        "aud": "upgradepath",
        "sub": "b7c1",
        "email": "mira@acme.example",
        "email_verified": True,
        "azp": "console",
        "groups": ["staff", "upgradepath-maintainers-acme-portal"],
        "iat": time.time(),
        "exp": time.time() + 600,
        **changed,
    }
    claims = {name: value for name, value in given.items() if value is not None}
    return signed(claims, {"kid": "main", **(header or {})}, key or ACMES.private, alg)


def harbours(key: Any = None, header: dict[str, Any] | None = None, **changed: Any) -> str:
    """A token of Harbour's issuer that is right but for these."""
    given: dict[str, Any] = {
        "iss": HARBOUR,
        "aud": "upgrades",
        "sub": "mira",
        "realm_access": {"roles": ["people"]},
        "iat": time.time(),
        "exp": time.time() + 600,
        **changed,
    }
    claims = {name: value for name, value in given.items() if value is not None}
    return signed(claims, {"kid": "main", **(header or {})}, key or HARBOURS.private)


@dataclass(frozen=True)
class IssuerAttack:
    name: str
    because: str
    make: Callable[[], str]


def _a(name: str, because: str, **changed: Any) -> IssuerAttack:
    return IssuerAttack(name, because, lambda: acmes(**changed))


def _h(name: str, because: str, **changed: Any) -> IssuerAttack:
    return IssuerAttack(name, because, lambda: harbours(**changed))


_OWN = {"role": "sre", "projects": ["acme-portal"], "iss": None}

ATTACKS: tuple[IssuerAttack, ...] = (
    # whose token it is
    _a("an issuer that nobody trusts", "issuer", iss="https://mal.example"),
    _a("an issuer with one more slash", "issuer", iss=f"{ACME}/"),
    _a("an issuer in capitals", "issuer", iss=ACME.upper()),
    _a("an issuer over http", "issuer", iss=ACME.replace("https", "http")),
    _a("an issuer that is a list", "`iss`", iss=[ACME]),
    _a("an issuer that is a number", "`iss`", iss=7),
    _a("an empty issuer", "issuer", iss=""),
    _a("no issuer and claims of ours", "signature|trust", **_OWN),
    _a("the other issuer's name under this one's key", "signature", iss=HARBOUR, aud="upgrades"),
    _h("a key of the other issuer, of the same id", "signature", key=ACMES.private),
    IssuerAttack(
        "a kid that only the other issuer has",
        "trust",
        lambda: acmes(HARBOURS_OTHER.private, {"kid": "other"}),
    ),
    IssuerAttack(
        "a key of ours under an issuer's name", "trust", lambda: acmes(EDDSA.private, {"kid": "people"})
    ),
    IssuerAttack("a key of ours without an id", "signature", lambda: acmes(EDDSA.private, {"kid": None})),
    IssuerAttack("RS256 by an Ed25519 key's id", "another algorithm", lambda: acmes(RSA, alg="RS256")),
    IssuerAttack(
        "HS256 with the issuer's public key",
        "key new",
        lambda: acmes(ACMES.private.public_key().public_bytes_raw(), alg="HS256"),
    ),
    IssuerAttack(
        "a token of ours that takes an issuer's prefix",
        "issuer's name",
        lambda: signed({"sub": "harbour:mira", "role": "sre", "aud": "upgradepath", "exp": time.time() + 60}),
    ),
    # for whom and how long
    _a("for another audience", "another audience", aud="shop"),
    _h("with our audience where another is said", "another audience", aud="upgradepath"),
    _a("for a client that is not named", "another client", azp="shop"),
    _a("for no client", "another client", azp=None),
    _a("for a list of clients", "another client", azp=["console"]),
    _a("longer than this issuer's may last", "longer than 12 h", exp=time.time() + 13 * 3600),
    _a("the last minutes of a long one", "longer than 12 h", iat=time.time() - 13 * 3600),
    _a("without a beginning", "`iat`", iat=None),
    _a("a beginning tomorrow", "not valid yet", iat=time.time() + 86_400),
    _a("an end that has come", "expired", exp=time.time() - 1, iat=time.time() - 60),
    _a(
        "a security event",
        "security event",
        events={"http://schemas.openid.net/event/backchannel-logout": {}},
    ),
    # who it is
    _a("an address that was not verified", "not verified", email_verified=False),
    _a("an address of which nobody says that it was", "not verified", email_verified=None),
    _a("an address verified by a text", "not verified", email_verified="yes"),
    _a("an address verified by a number", "not verified", email_verified=1),
    _a("no address", "`email`", email=None),
    _a("an address of somebody else's domain", "acme.example", email="mira@harbour.example"),
    _a("a domain that only ends like theirs", "acme.example", email="mira@notacme.example"),
    _a("a domain below theirs", "acme.example", email="mira@mal.acme.example"),
    _a("an address without a person", "acme.example", email="@acme.example"),
    _a("another issuer's prefix in an address", "acme.example", email="harbour:mira@acme.example"),
    _a("a letter that looks like another", "ASCII", email="mir\u0430@acme.example"),
    _a("a line break in an address", "printable", email="mira\n@acme.example"),
    _a("an address that is a list", "`email`", email=["mira@acme.example"]),
    _a("a subject that is too long", "200", email=f"{'m' * 190}@acme.example"),
    # what they may do
    _a("no groups", "groups", groups=None),
    _a("an empty list of groups", "0 groups", groups=[]),
    _a("a group in a list in a list", "groups", groups=[["upgradepath-maintainers-acme-portal"]]),
    _a("groups among numbers", "groups", groups=["upgradepath-maintainers-acme-portal", 7]),
    _a("groups that are an object", "groups", groups={"upgradepath-maintainers-acme-portal": True}),
    _a("one text with many names", "1 groups", groups="staff upgradepath-maintainers-acme-portal"),
    _a("a group of a partner's that is another", "1 groups", groups=["upgradepath-maintainers-harbour"]),
    _a("a Project that only begins so", "1 groups", groups=["upgradepath-maintainers-acme"]),
    _a("a group without a Project", "1 groups", groups=["upgradepath-maintainers-"]),
    _a("a group with a star for its Project", "1 groups", groups=["upgradepath-maintainers-acme-*"]),
    _a("a group that is the pattern", "1 groups", groups=["upgradepath-maintainers-<project>"]),
    _a("a group in capitals", "1 groups", groups=["UPGRADEPATH-MAINTAINERS-ACME-PORTAL"]),
    _a("a group with a line break", "1 groups", groups=["upgradepath-maintainers-acme-portal\n"]),
    _a("the operators' group of the other issuer", "1 groups", groups=["operators"]),
    _a("more groups than are read", "at most|characters", groups=["g"] * 1001),
    _a("claims of ours from an issuer that may not make them", "groups", groups=None, role="sre"),
    _h("a way to groups that ends early", "groups", realm_access=["people"]),
    _h("groups at another place", "groups", realm_access=None, groups=["operators"]),
    _h("a name with a dot for the way", "groups", realm_access=None, **{"realm_access.roles": ["operators"]}),
    _h("a jti of two words", "`jti`", jti="lost 1"),
    _h("a jti that would be a remark", "`jti`", jti="#1"),
    _h("a jti that breaks the line", "`jti`", jti="lost\n1"),
)
