"""The Library's key of the tests, and what trusts it."""

from datetime import UTC, datetime

from shared.identity.keys import SigningKey
from shared.signing.library_keys import LibraryKeys, TrustedKey, Validity
from shared.signing.releases import Named, sign_release
from shared.signing.trust import Trust, Unsigned, registry_keys
from tests.support.proofs import PUBLIC_KEYS

LIBRARY_KEY = SigningKey.new()
LIBRARY_KEYS = LibraryKeys(
    {LIBRARY_KEY.kid: TrustedKey(LIBRARY_KEY.private.public_key(), Validity(purpose="library"))}
)
TRUST = Trust(LIBRARY_KEYS, registry_keys(PUBLIC_KEYS))
"""Takes what that key signed, with a receipt of the tests' registry."""
UNSIGNED = Trust(unsigned=Unsigned(all=True))
"""For tests of something else: takes every package."""


def signed(system: str, version: str, package: str, *keys: SigningKey, at: datetime | None = None) -> bytes:
    """An envelope about the package with this digest; by the tests' key unless others are given."""
    named = Named(system, version, package)
    return sign_release(named, builder="tests", at=at or datetime.now(UTC), keys=list(keys) or [LIBRARY_KEY])
