"""The key pair of the tests: the private half issues tokens, the public half is what services hold."""

import hashlib
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from shared.contracts.envelope import Envelope, Headers, to_headers
from shared.contracts.values import Actor, Message
from shared.identity.keys import SigningKey
from shared.identity.tokens import TokenVerifier, issue_token
from shared.messaging.people import is_a_persons

# Always the same: a service in a process of its own proves what this process has issued.
_PRIVATE = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"the key of the tests").digest())
SIGNING_KEY = SigningKey.load(SigningKey("tests", _PRIVATE).pem())
KEY = SecretStr(SIGNING_KEY.pem())
PUBLIC_KEYS = SIGNING_KEY.public()
JWKS = PUBLIC_KEYS.jwks()
"""For a process that is started with `UPGRADES_TOKEN_PUBLIC_KEYS`."""
VERIFIER = TokenVerifier(PUBLIC_KEYS)
"""For `app.state.tokens`."""


@lru_cache(maxsize=256)
def token(actor: Actor) -> str:
    """A token for anybody."""
    return issue_token(actor, KEY)


def bearer(actor: Actor) -> dict[str, str]:
    """The header of a request by anybody."""
    return {"Authorization": f"Bearer {token(actor)}"}


def token_headers(message: Message, envelope: Envelope) -> Headers:
    """The headers with which this message travels: a person's command with its actor's token."""
    return to_headers(envelope, token(message.actor) if is_a_persons(message) else None)
