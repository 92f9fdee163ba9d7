"""Proofs: a service signs what it orders and what it answers, and its reader verifies that first.

A message of `SIGNED` carries the header `ce_proof`: the signer's key id and an Ed25519 signature over the
topic, every other attribute of the envelope, and the body's digest. So it cannot be altered, nor be sent to
another topic or pool. A proof has no expiry: a topic is replayed years later, and a repeat is what the inbox
is for.

Source of the signature: RFC 8032.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.contracts import (
    audit,
    freezes,
    projects,
    refusals,
    registrations,
    releases,
    stages,
    version_maps,
)
from shared.contracts.envelope import Received, Unreadable
from shared.contracts.topics import RUN_EVENTS, SERVICES
from shared.contracts.values import Command
from shared.identity.keys import PublicKeys, SigningKey, UnusableKey
from shared.identity.record_proofs import RECORDED, TOGETHER_MAX, rooted, signed_root

HEADER: Final = "ce_proof"
SERVICES_SOURCE: Final = "/upgrades/"
"""How the source of a service's message begins; the rest is its principal."""

_DOMAIN = "upgradepath-proof-1"
_REMEMBERED = 4096
_SIGNATURE_LENGTH_MAX = 88
"""64 bytes in base64, padded or not."""
Headers = Sequence[tuple[str, bytes | None]]
_DEAD = ".dead.v1"
_PRINCIPAL = re.compile(
    r"(?:registry|notifier|planner|(?:executor|validator)(?:\.[a-z][a-z0-9-]{0,62})?)(?:#[\w.-]{1,64})?"
)

SIGNED: Final[Mapping[str, tuple[str, ...]]] = {
    message.type_name(): services
    for services, messages in (
        (
            ("planner",),
            (
                stages.RunExecutorStage,
                stages.RunValidatorStage,
                stages.CancelExecutorStage,
                stages.CancelValidatorStage,
                version_maps.HoldVersionMap,
                version_maps.RecordVersionMap,
                version_maps.ReleaseVersionMap,
                freezes.HoldDeploys,
                freezes.DeploysFrozen,
                freezes.DeploysThawed,
            ),
        ),
        (
            ("registry",),
            (
                releases.ReleasePublished,
                releases.ReleaseWithdrawn,
                projects.ProjectRegistered,
                registrations.RegistrationProposed,
                version_maps.VersionMapRecorded,
                version_maps.VersionMapHeld,
                version_maps.VersionMapReleased,
            ),
        ),
        # The planner knows besides to which of them it has sent the stage.
        (("executor", "validator"), (stages.StageBegun, stages.StageFinished)),
        (("executor",), (stages.BackupDeleted,)),
        # Each of its own log; a pool's worker, too.
        (SERVICES, (audit.AuditRecorded,)),
        # Of whoever refused it; `_signers` says on which topic that is whom.
        (("registry", "planner"), (refusals.CommandRefused,)),
    )
    for message in messages
}
"""The one table of who signs what: the services whose signature a message of that type needs.

What is not here gives nobody authority: a person's command, which carries that person's own proof, and what
only people and rebuilds read, `RunChanged`, `PlanReady` and notifications (`record_proofs.RECORDED`).
"""

SIGNING_SERVICES: Final = frozenset(
    (*(service for services in SIGNED.values() for service in services), *RECORDED.values())
)
"""Those that need a private key."""


class ProofRefused(Unreadable):
    """A message without the proof that its type needs; the text says what is wrong with it."""


@dataclass(frozen=True)
class Signer:
    """Signs what one principal sends."""

    principal: str
    key: SigningKey

    def signed(self, topic: str, body: bytes | None, headers: Headers) -> Headers:
        """The headers with a proof, if this principal signs messages of that type."""
        [signed] = self.all_signed([(topic, body, headers)])
        return signed

    def all_signed(self, messages: Sequence[tuple[str, bytes | None, Headers]]) -> list[Headers]:
        """The headers of each message, given with its topic and body; what is recorded is signed together."""
        found = [headers for _, _, headers in messages]
        together: list[tuple[int, bytes]] = []
        for at, (topic, body, headers) in enumerate(messages):
            kind = self._kind_signed(topic, headers)
            if kind is None:
                continue
            if kind in RECORDED:
                together.append((at, _statement_of(topic, body, headers)))
            else:
                own = self.key.private.sign(_statement_of(topic, body, headers))
                found[at] = self._with_proof(headers, _encoded(own))
        for first in range(0, len(together), TOGETHER_MAX):
            group = together[first : first + TOGETHER_MAX]
            root, ways = rooted([statement for _, statement in group])
            signature = _encoded(self.key.private.sign(root))
            for (at, _), way in zip(group, ways, strict=True):
                found[at] = self._with_proof(found[at], f"{signature}:{_encoded(way)}")
        return found

    def _kind_signed(self, topic: str, headers: Headers) -> str | None:
        """The message's type, if this principal signs those."""
        value = next((value for name, value in headers if name == "ce_type"), None)
        # A dead letter is somebody else's message: its headers are what that one claimed.
        if value is None or topic.endswith(_DEAD):
            return None
        kind, service = value.decode(), self.principal.partition(".")[0]
        return kind if service in _signers(kind, topic) or RECORDED.get(kind) == service else None

    def _with_proof(self, headers: Headers, proof: str) -> Headers:
        own = ((name, value) for name, value in headers if name != HEADER)
        return [*own, (HEADER, f"{self.key.kid}:{proof}".encode())]


class Verifier:
    """Knows the services' public keys. Without any it refuses whatever needs a proof."""

    def __init__(self, keys: PublicKeys) -> None:
        self._keys: dict[str, Ed25519PublicKey] = {}
        for kid, key in keys.by_kid.items():
            if not _PRINCIPAL.fullmatch(kid) or not isinstance(key, Ed25519PublicKey):
                raise UnusableKey(
                    f"the key {kid!r} is not an Ed25519 key of a service: make it with"
                    " `upgradepath key new --service NAME`; its kid is the service, or executor.POOL"
                )
            self._keys[kid] = key
        # Messages that were sent together share a root, and lie near each other on their topics. Only roots
        # are remembered: they have one size, where a message that anybody makes up may be large.
        self._believed = lru_cache(maxsize=_REMEMBERED)(self._verified)

    @property
    def principals(self) -> tuple[str, ...]:
        """Whose messages it can prove."""
        return tuple(sorted({kid.partition("#")[0] for kid in self._keys}))

    def has_signed(self, principal: str, kid: str, signature: bytes, statement: bytes) -> bool:
        """Whether `principal` has signed these bytes with its key `kid`."""
        if kid not in self._keys or kid.partition("#")[0] != principal:
            return False
        try:
            self._keys[kid].verify(signature, statement)
        except InvalidSignature:
            return False
        return True

    def check(self, received: Received, topic: str) -> Received:
        """The message with the principal that proved it, if its type needs one. Raises `ProofRefused`.

        `topic` is where it was read.
        """
        envelope = received.envelope
        services = _signers(envelope.type, topic)
        if not services:
            if isinstance(received.message, Command) and envelope.source.startswith(SERVICES_SOURCE):
                raise ProofRefused(
                    f"its source is {envelope.source}, which is a service's: a person's command has another"
                )
            return received
        principal = self._sender(topic, received.attributes, received.digest, services)
        return replace(received, envelope=replace(envelope, proven_by=principal))

    def check_record(self, topic: str, attributes: Mapping[str, str], body: bytes) -> None:
        """Raise `ProofRefused` unless a service that sends such records has sent this one to `topic`.

        `attributes` are its `ce_` headers. It is what a rebuild asks, which also reads `RECORDED`.
        """
        self._sender(topic, attributes, hashlib.sha256(body).hexdigest(), writers(topic, attributes))

    def _sender(self, topic: str, attributes: Mapping[str, str], digest: str, services: Sequence[str]) -> str:
        kind, source = attributes.get("ce_type", ""), attributes.get("ce_source", "")
        principal = self._proven(topic, kind, attributes, digest)
        if principal.partition(".")[0] not in services:
            raise ProofRefused(f"{principal} may not send {kind}: only {' or '.join(services)} may")
        if kind == audit.AuditRecorded.type_name() and attributes.get("ce_subject") != principal:
            raise ProofRefused(f"{principal} may not send {kind} of another's log")
        if source != SERVICES_SOURCE + principal:
            # Ids are unique within a source: nobody may use up another's.
            raise ProofRefused(f"{principal} proved it, and its source is {source}")
        return principal

    def _proven(self, topic: str, kind: str, attributes: Mapping[str, str], digest: str) -> str:
        proof = attributes.get(HEADER)
        if proof is None:
            raise ProofRefused(f"{kind} has no {HEADER}: nobody proves that it was sent")
        signed: bytes | None = _statement(topic, attributes, digest)
        believed: Callable[[str, str, bytes], bool] = self._verified
        if kind in RECORDED:
            proof, _, way = proof.rpartition(":")
            signed = signed_root(signed or b"", _decoded(way))
            believed = self._believed
        kid, _, signature = proof.rpartition(":")
        key = self._keys.get(kid)
        if key is None:
            raise ProofRefused(
                f"{HEADER} names the key {kid!r}, which is not among UPGRADES_SERVICE_PUBLIC_KEYS"
            )
        if signed is None or len(signature) > _SIGNATURE_LENGTH_MAX or not believed(kid, signature, signed):
            raise ProofRefused(
                f"{HEADER} of {kid} does not prove this message: it was altered, or sent to another topic"
            )
        return kid.partition("#")[0]

    def _verified(self, kid: str, signature: str, signed: bytes) -> bool:
        return self.has_signed(kid.partition("#")[0], kid, _decoded(signature), signed)


NOBODY: Final = Verifier(PublicKeys({}))
"""Trusts no service."""


def named(key: SigningKey, principal: str, known: PublicKeys) -> Signer:
    """The principal's signer, whose key the others know by the id that `known` gives it.

    Raises `UnusableKey` when it is not among them.
    """
    own = key.private.public_key()
    for kid, public in known.by_kid.items():
        if kid.partition("#")[0] == principal and public == own:
            return Signer(principal, SigningKey(kid, key.private))
    raise UnusableKey(
        f"it is not the key of {principal} in UPGRADES_SERVICE_PUBLIC_KEYS: add its public half there"
        f" under the kid {principal}"
    )


def _signers(kind: str, topic: str) -> tuple[str, ...]:
    services = SIGNED.get(kind, ())
    if kind == refusals.CommandRefused.type_name():
        return ("planner",) if topic == RUN_EVENTS.name else ("registry",)
    return services


def writers(topic: str, attributes: Mapping[str, str]) -> tuple[str, ...]:
    """The services that may have written a record with these `ce_` headers to the topic; none for others'."""
    kind = attributes.get("ce_type", "")
    return (RECORDED[kind],) if kind in RECORDED else _signers(kind, topic)


def _statement_of(topic: str, body: bytes | None, headers: Headers) -> bytes:
    attributes = {name: (value or b"").decode() for name, value in headers if name.startswith("ce_")}
    return _statement(topic, attributes, hashlib.sha256(body or b"").hexdigest())


def _statement(topic: str, attributes: Mapping[str, str], digest: str) -> bytes:
    """What is signed. No value has a NUL: `receive` refuses one, and we send none."""
    pairs: Iterable[tuple[str, str]] = sorted(attributes.items())
    said = [part for name, value in pairs if name != HEADER for part in (name, value)]
    return "\0".join((_DOMAIN, topic, *said, digest)).encode()


def _encoded(signature: bytes) -> str:
    return base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


def _decoded(signature: str) -> bytes:
    try:
        return base64.b64decode(signature + "=" * (-len(signature) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
