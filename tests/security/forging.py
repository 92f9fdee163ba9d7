"""Records as an attacker puts them on a topic: with the id of the rightful one, in every wrong way."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.clock import utc_now
from shared.contracts.envelope import Envelope, seal, to_body, to_headers
from shared.contracts.topics import Topic
from shared.contracts.values import Message
from shared.identity import proofs
from shared.identity.keys import SigningKey
from shared.identity.proofs import Signer
from tests.support.proofs import KEYS, PRINCIPALS, signed

Headers = Sequence[tuple[str, bytes | None]]


@dataclass
class Sent:
    """A record as aiokafka gives it."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    topic: str
    offset: int = 0
    partition: int = 0
    timestamp: int = 0
    timestamp_type: int = 1


def rightful(message: Message, principal: str, topic: Topic | None = None) -> Sent:
    """As the service sends it."""
    topic = topic or message.route()
    body, envelope = to_body(message), _envelope(message, principal)
    headers = signed(principal, topic, body, to_headers(envelope))
    return Sent(message.key().encode(), body, headers, topic.name)


def forgeries(message: Message, principal: str, other: Message) -> Iterator[tuple[str, Sent]]:
    """The same message with the same id, and no right to be believed; `other` is one that was proven."""
    right, topic = rightful(message, principal), message.route()
    body, plain = to_body(message), to_headers(_envelope(message, principal))
    yield "unsigned", replace(right, headers=plain)
    yield (
        "a key of nobody",
        replace(right, headers=_proven(Signer(principal, SigningKey.new(principal)), right)),
    )
    yield (
        "an unknown key",
        replace(right, headers=_proven(Signer(principal, SigningKey.new("mallory")), right)),
    )
    for another in PRINCIPALS:
        if another != principal:
            by_another = sign_anyway(another, topic, body, plain)
            yield f"the key of {another}", replace(right, headers=by_another)
            own = to_headers(replace(_envelope(message, principal), source=f"/upgrades/{another}"))
            yield f"{another} itself", replace(right, headers=sign_anyway(another, topic, body, own))
    yield "an altered body", replace(right, value=body.replace(b'":', b'": ', 1))
    elsewhere = replace(topic, name="upgrades.elsewhere.commands.v1")
    yield "of another topic", replace(right, headers=signed(principal, elsewhere, body, plain))
    borrowed = next(pair for pair in rightful(other, principal).headers if pair[0] == proofs.HEADER)
    yield "the proof of another message", replace(right, headers=(*plain, borrowed))


def sign_anyway(principal: str, topic: Topic, body: bytes, headers: Headers) -> Headers:
    """As a service would that does not care what it may sign."""
    attributes = {name: (value or b"").decode() for name, value in headers if name.startswith("ce_")}
    statement = proofs._statement(topic.name, attributes, hashlib.sha256(body).hexdigest())
    signature = KEYS[principal].private.sign(statement)
    return (*headers, (proofs.HEADER, f"{principal}:{base64.urlsafe_b64encode(signature).decode()}".encode()))


def _envelope(message: Message, principal: str) -> Envelope:
    return seal(message, source=f"/upgrades/{principal}", now=_NOW)


def _proven(by: Signer, sent: Sent) -> Any:
    plain = tuple(pair for pair in sent.headers if pair[0] != proofs.HEADER)
    return tuple(by.signed(sent.topic, sent.value, plain))


_NOW = utc_now()
