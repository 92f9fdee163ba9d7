"""The chain: each entry names the hash of the one before, and a service signs the last one's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.contracts.audit import NO_ENTRY, AuditHead
from shared.contracts.values import canonical_digest, canonical_json
from shared.identity.proofs import Signer, Verifier

_DOMAIN: Final = "upgradepath-audit-head-1"


@dataclass(frozen=True)
class Sealed:
    """An entry in its place: its canonical JSON, and the sha256 of that."""

    seq: int
    hash: str
    text: str


def sealed(notes: Sequence[Mapping[str, Any]], log: str, seq: int, previous: str) -> list[Sealed]:
    """The entries that these notes become behind entry `seq`, whose hash is `previous`."""
    entries = []
    for note in notes:
        seq += 1
        entry = {**note, "log": log, "seq": seq, "previous": previous}
        previous = canonical_digest(entry)
        entries.append(Sealed(seq, previous, canonical_json(entry)))
    return entries


def signed_head(signer: Signer, seq: int, digest: str, at: str) -> AuditHead:
    """The signed head of the signer's own log; entry 0, with zeros for a hash, is that of an empty one."""
    statement = _statement(signer.principal, seq, digest, at, signer.key.kid)
    signature = signer.key.private.sign(statement).hex()
    return AuditHead(
        log=signer.principal, seq=seq, hash=digest, at=at, kid=signer.key.kid, signature=signature
    )


def is_signed(head: AuditHead, verifier: Verifier) -> bool:
    """Whether the service whose log it is has signed this head with one of these keys."""
    statement = _statement(head.log, head.seq, head.hash, head.at, head.kid)
    if head.seq == 0 and head.hash != NO_ENTRY:
        return False
    return verifier.has_signed(head.log, head.kid, bytes.fromhex(head.signature), statement)


def _statement(log: str, seq: int, digest: str, at: str, kid: str) -> bytes:
    return "\0".join((_DOMAIN, log, str(seq), digest, at, kid)).encode()
