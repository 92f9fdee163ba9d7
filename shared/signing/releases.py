"""Signed packages: the Library's signature, and the registry's receipt that it saw it at a certain time.

The signer's own time proves nothing: a thief of a key would write an older one. So a key must be good at the
time that the registry wrote down, by its database's clock, when it took the envelope.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.contracts.values import Digest
from shared.identity.keys import SigningKey
from shared.signing.envelope import Envelope, Unproven
from shared.signing.library_keys import LibraryKeys
from shared.signing.statements import (
    RECEIPT,
    RELEASE,
    ReceiptPredicate,
    ReleasePredicate,
    Statement,
    package_name,
    sign_statement,
)

CLOCKS_DIFFER_BY = timedelta(minutes=5)
"""What two machines' clocks may differ by, at most."""


@dataclass(frozen=True)
class Named:
    """Which bytes are to be which version of which System."""

    system: str
    version: str
    package: Digest

    @property
    def subject(self) -> tuple[str, str]:
        return package_name(self.system, self.version), self.package


@dataclass(frozen=True)
class Signed:
    """What a Library's envelope says, once it is proven."""

    kid: str
    signed_at: datetime
    builder: str


def sign_release(named: Named, *, builder: str, at: datetime, keys: list[SigningKey]) -> bytes:
    """The Library's envelope, as JSON, signed by each of the keys."""
    predicate = {
        "system": named.system,
        "version": named.version,
        "builder": {"id": builder},
        "signed_at": at.isoformat(),
    }
    return sign_statement(RELEASE, [named.subject], predicate, keys)


def verify_release(envelope: bytes, named: Named, keys: LibraryKeys, at: datetime) -> Signed:
    """What the envelope says. `at` is when it was seen. Raises `Unproven`."""
    read = Envelope.read(envelope)
    proven = read.proven_by(keys.for_("library"))
    statement = Statement.read(read.payload)
    said = statement.says(RELEASE, ReleasePredicate)
    statement.must_be_of([named.subject])
    _must_name(said, named)
    kid = keys.good_one(proven, at)
    if said.signed_at.tzinfo is None or said.signed_at > at + CLOCKS_DIFFER_BY:
        raise Unproven(f"it says that it was signed at {said.signed_at.isoformat()}, which was still to come")
    return Signed(kid, said.signed_at, said.builder.id)


def sign_receipt(named: Named, envelope: bytes, kid: str, at: datetime, key: SigningKey) -> bytes:
    """The registry's receipt, as JSON: it has seen this envelope, proven by `kid`, at that time."""
    predicate = {"system": named.system, "version": named.version, "kid": kid, "seen_at": at.isoformat()}
    return sign_statement(RECEIPT, _receipt_subjects(named, envelope), predicate, [key])


def verify_receipt(
    receipt: bytes,
    envelope: bytes,
    named: Named,
    registry: Mapping[str, Ed25519PublicKey],
    keys: LibraryKeys,
) -> datetime:
    """When the registry saw the envelope. `registry` are its keys of today. Raises `Unproven`."""
    read = Envelope.read(receipt)
    by_today, proven = _signers(read, registry, keys.for_("receipt"))
    statement = Statement.read(read.payload)
    said = statement.says(RECEIPT, ReceiptPredicate)
    statement.must_be_of(_receipt_subjects(named, envelope))
    _must_name(said, named)
    if said.seen_at.tzinfo is None:
        raise Unproven("the receipt's time has no offset")
    if not by_today:
        keys.good_one(proven, said.seen_at)
    return said.seen_at


def _signers(
    read: Envelope, today: Mapping[str, Ed25519PublicKey], former: Mapping[str, Ed25519PublicKey]
) -> tuple[bool, tuple[str, ...]]:
    """True and the ids of today's keys that signed it, or False and those of former ones.

    A new key may have a former one's id, so both are tried.
    """
    try:
        return True, read.proven_by(today)
    except Unproven:
        try:
            return False, read.proven_by(former)
        except Unproven:
            return False, read.proven_by({**former, **today})


def _receipt_subjects(named: Named, envelope: bytes) -> list[tuple[str, str]]:
    name, _ = named.subject
    return [named.subject, (f"{name}.dsse.json", hashlib.sha256(envelope).hexdigest())]


def _must_name(said: ReleasePredicate | ReceiptPredicate, named: Named) -> None:
    if (said.system, said.version) != (named.system, named.version):
        raise Unproven(
            f"it is signed for {said.system} {said.version}, not for {named.system} {named.version}"
        )
