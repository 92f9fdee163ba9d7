"""Which packages a service takes: signed ones by whose keys, and which without a signature."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import PlainValidator
from pydantic_settings import NoDecode

from shared.clients.content import ContentStore, Corrupted
from shared.contracts.releases import ReleaseSignature
from shared.errors import Reject
from shared.identity.keys import PublicKeys
from shared.signing.envelope import SMALL_BYTES_MAX, Unproven
from shared.signing.library_keys import LibraryKeys, LibraryKeysFile
from shared.signing.releases import Named, verify_receipt, verify_release

LIBRARY_KEYS = "UPGRADES_LIBRARY_KEYS"
ALLOW_UNSIGNED = "UPGRADES_ALLOW_UNSIGNED"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Unsigned:
    """The packages that may lack a signature: all, or those with these digests."""

    all: bool = False
    digests: frozenset[str] = frozenset()

    @classmethod
    def read(cls, given: object) -> "Unsigned":
        """As the setting says it: true, false, or digests with commas. Raises ValueError."""
        if isinstance(given, Unsigned):
            return given
        text = str(given or "").strip().lower()
        if text in ("", "false", "0", "no", "off"):
            return cls()
        if text in ("true", "1", "yes", "on"):
            return cls(all=True)
        digests = frozenset(part.strip() for part in text.split(",") if part.strip())
        if wrong := sorted(each for each in digests if not _DIGEST.fullmatch(each)):
            raise ValueError(
                f"{ALLOW_UNSIGNED} is true, false, or the digests of packages with commas;"
                f" {wrong[0][:80]!r} is none of them"
            )
        return cls(digests=digests)

    def has(self, package: str) -> bool:
        return self.all or self.names(package)

    def names(self, package: str) -> bool:
        """True when its digest is allowed: somebody means just these bytes."""
        return package in self.digests


UnsignedSetting = Annotated[Unsigned, NoDecode, PlainValidator(Unsigned.read)]


class NotThere(Unproven):
    """The content store has no such envelope: that says nothing of the package."""


@dataclass(frozen=True)
class Trust:
    """The Library's keys, the registry's for receipts, and what may be unsigned. Empty, it takes nothing."""

    keys: LibraryKeys | LibraryKeysFile = field(default_factory=LibraryKeys)
    registry: Mapping[str, Ed25519PublicKey] = field(default_factory=dict)
    unsigned: Unsigned = Unsigned()

    @property
    def library(self) -> LibraryKeys:
        """The Library's keys as they are now."""
        return self.keys.now() if isinstance(self.keys, LibraryKeysFile) else self.keys

    async def require(self, named: Named, signature: ReleaseSignature | None, content: ContentStore) -> None:
        """Raise `Unproven` unless the package may be used: signed, and with the registry's receipt.

        Raises `Retry` when the content store does not answer.
        """
        if signature is None:
            self.require_unsigned(named)
            return
        keys = self.library
        envelope = await small_content(content, signature.envelope)
        receipt = await small_content(content, signature.receipt)
        seen_at = verify_receipt(receipt, envelope, named, self.registry, keys)
        verify_release(envelope, named, keys, seen_at)

    def require_unsigned(self, named: Named) -> None:
        """Raise `Unproven` unless this package may lack a signature."""
        if not self.unsigned.has(named.package):
            raise Unproven(
                f"{named.system} {named.version} is not signed, and {ALLOW_UNSIGNED} does not allow it"
            )


TRUSTS_NOBODY = Trust()
"""Takes no package at all."""


def registry_keys(services: PublicKeys) -> dict[str, Ed25519PublicKey]:
    """Those of the services' keys that are the registry's."""
    return keys_of("registry", services)


def keys_of(principal: str, services: PublicKeys) -> dict[str, Ed25519PublicKey]:
    """Those of the services' keys that are of this one: `planner`, `planner#2`, …"""
    return {
        kid: key
        for kid, key in services.by_kid.items()
        if kid.partition("#")[0] == principal and isinstance(key, Ed25519PublicKey)
    }


async def small_content(content: ContentStore, digest: str) -> bytes:
    """An envelope from the content store. Raises `NotThere`, or `Unproven` for what is not that.

    Its size is looked at first: whoever may write to the store may have put anything there.
    """
    try:
        size, parts = await content.open(digest)
        if size > SMALL_BYTES_MAX:
            raise Unproven(f"the envelope {digest} has more than {SMALL_BYTES_MAX >> 10} KiB")
        return b"".join([part async for part in parts])
    except Corrupted as error:
        raise Unproven(f"the envelope cannot be had: {error}") from error
    except Reject as error:
        raise NotThere(f"the envelope cannot be had: {error}") from error
