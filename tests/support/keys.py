"""The key pair of the tests: the private half issues tokens, the public half is what services hold."""

from pydantic import SecretStr

from shared.contracts.values import Actor
from shared.identity.keys import SigningKey
from shared.identity.tokens import TokenVerifier, issue_token

SIGNING_KEY = SigningKey.new()
KEY = SecretStr(SIGNING_KEY.pem())
PUBLIC_KEYS = SIGNING_KEY.public()
JWKS = PUBLIC_KEYS.jwks()
"""For a process that is started with `UPGRADES_TOKEN_PUBLIC_KEYS`."""
VERIFIER = TokenVerifier(PUBLIC_KEYS)
"""For `app.state.tokens`."""


def token(actor: Actor) -> str:
    """A token for anybody."""
    return issue_token(actor, KEY)


def bearer(actor: Actor) -> dict[str, str]:
    """The header of a request by anybody."""
    return {"Authorization": f"Bearer {token(actor)}"}
