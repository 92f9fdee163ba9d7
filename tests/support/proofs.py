"""Keys of services that tests play: one pair for each principal, the same in the whole session."""

from __future__ import annotations

from typing import Any

from shared.contracts.audit import AuditRecorded
from shared.contracts.envelope import Received, to_body
from shared.contracts.stages import StageBegun, StageFinished
from shared.contracts.topics import Topic
from shared.contracts.values import Message
from shared.identity.keys import PublicKeys, SigningKey
from shared.identity.proofs import SIGNED, Signer, Verifier
from tests.support.keys import token_headers

PRINCIPALS = (
    "registry",
    "notifier",
    "planner",
    "executor",
    "validator",
    "executor.acme",
    "validator.acme",
    "executor.globex",
    "validator.globex",
)
_VALIDATED = {"validate", "check-workflows"}

KEYS = {principal: SigningKey.new(principal) for principal in PRINCIPALS}
PUBLIC_KEYS = PublicKeys({kid: key for one in KEYS.values() for kid, key in one.public().by_kid.items()})
PROOFS = Verifier(PUBLIC_KEYS)


def signer(principal: str) -> Signer:
    """What this principal signs with."""
    return Signer(principal, KEYS[principal])


def key_settings(principal: str) -> dict[str, Any]:
    """The fields of a service's settings."""
    own = KEYS.get(principal)
    return {
        "service_key": None if own is None else own.pem(),
        "service_public_keys": PUBLIC_KEYS.jwks(),
    }


def key_variables(principal: str) -> dict[str, str]:
    """The same as variables."""
    return {f"UPGRADES_{name.upper()}": value for name, value in key_settings(principal).items() if value}


def sender_of(message: Message) -> str | None:
    """Who may send it, in a world without pools; none for what needs no proof."""
    if isinstance(message, StageBegun | StageFinished):
        return "validator" if message.stage in _VALIDATED else "executor"
    if isinstance(message, AuditRecorded):
        return message.head.log
    return SIGNED.get(message.type_name(), (None,))[0]


def proven_headers(received: Received, topic: Topic | None = None) -> tuple[tuple[str, bytes | None], ...]:
    """The headers of a message with the proof that its type needs; a person's command with a token."""
    sender = sender_of(received.message)
    headers = token_headers(received.message, received.envelope)
    if sender is None:
        return headers
    return signed(sender, topic or received.message.topic, to_body(received.message), headers)


def signed(
    principal: str, topic: Topic, body: bytes | None, headers: Any
) -> tuple[tuple[str, bytes | None], ...]:
    """The headers of a message as this principal sends it on that topic."""
    return tuple(signer(principal).signed(topic.name, body, headers))
