"""The JWK Set of an identity provider: it holds whatever the provider publishes, and we use what we can.

A key that we do not use is left out, and the others count: a provider that adds one of a new kind must not
lock everybody out. Source: RFC 7517, section 5.
"""

import json
from collections import Counter
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.identity.keys import PublicKey, PublicKeys, UnusableKey, algorithm_of, read_jwk

KEYS_MAX = 50
_RSA_BITS_MAX = 8192
"""A larger one only makes each verification slow."""
_NAMED_MAX = 3


def published_keys(text: str) -> tuple[PublicKeys, str | None]:
    """The keys of a JWK Set or of PEM texts that prove signatures, and what was left out and should not be
    there. Raises `UnusableKey` when there is no set, or none of its keys can be used.
    """
    if "-----BEGIN" in text:
        return PublicKeys.load(text), None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableKey("not a JWK Set: it is not JSON") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise UnusableKey('a JWK Set is an object with a list `keys`: {"keys": [...]}')
    if len(entries) > KEYS_MAX:
        raise UnusableKey(f"the JWK Set has {len(entries)} keys, at most {KEYS_MAX} are read")
    found: list[tuple[str, PublicKey]] = []
    wrong: list[str] = []
    for entry in entries:
        if _is_for_signatures(entry):
            try:
                found.append(_usable(entry))
            except UnusableKey as error:
                wrong.append(f"a key was left out: {error}")
    times = Counter(kid for kid, _ in found)
    twice = [kid for kid, count in times.items() if count > 1]
    wrong.extend(f"two keys are called {kid[:64]!a}, and neither counts" for kid in twice)
    keys = {kid: key for kid, key in found if times[kid] == 1}
    if not keys:
        raise UnusableKey("; ".join(wrong[:_NAMED_MAX]) or "there is no key for signatures in the JWK Set")
    return PublicKeys(keys), "; ".join(wrong[:_NAMED_MAX]) or None


def _is_for_signatures(entry: Any) -> bool:
    """A key for encryption stands in most providers' sets, and is nothing to complain about."""
    return not (isinstance(entry, dict) and entry.get("use", "sig") != "sig" and "d" not in entry)


def _usable(entry: Any) -> tuple[str, PublicKey]:
    kid, key = read_jwk(entry)
    algorithm = entry.get("alg")
    if algorithm is not None and algorithm != algorithm_of(key):
        raise UnusableKey(f"its algorithm is {str(algorithm)[:16]!a}; EdDSA, ES256 and RS256 are read")
    if isinstance(key, RSAPublicKey) and key.key_size > _RSA_BITS_MAX:
        raise UnusableKey(f"it has {key.key_size} bits, at most {_RSA_BITS_MAX} are used")
    return kid, key
