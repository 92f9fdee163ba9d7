"""DSSE envelopes (https://github.com/secure-systems-lab/dsse, v1.0.2): a payload, its type, who signed both.

What is signed says how long each part is, and of which type: so no signature of another use, such as a
service's proof or a person's token, is one of an envelope.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.identity.keys import SigningKey

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
SMALL_BYTES_MAX: Final = 64 << 10
"""Of an envelope around a package's statement or a receipt."""
BYTES_MAX: Final = 64 << 20
"""Of an envelope around what a service exports."""
_SIGNATURES_MAX = 10
_KID_MAX = 200


class Unproven(Exception):
    """A paper that does not prove what it should; the text says why."""


@dataclass(frozen=True)
class Envelope:
    """A payload, and the signatures over it by the ids of their keys. None of them is verified yet."""

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]

    @classmethod
    def signed(cls, payload: bytes, keys: Iterable[SigningKey]) -> "Envelope":
        """The payload, signed by each of the keys."""
        said = _said(payload)
        return cls(payload, tuple((key.kid, key.private.sign(said)) for key in keys))

    @classmethod
    def read(cls, data: bytes, *, bytes_max: int = SMALL_BYTES_MAX) -> "Envelope":
        """The envelope of its JSON. Raises `Unproven`."""
        if len(data) > bytes_max:
            raise Unproven(f"the envelope has more than {bytes_max >> 10} KiB")
        document = strict_json(data, "the envelope")
        if document.get("payloadType") != PAYLOAD_TYPE:
            raise Unproven(f"the envelope's payloadType is not {PAYLOAD_TYPE}")
        signatures = document.get("signatures")
        if not isinstance(signatures, list) or not 0 < len(signatures) <= _SIGNATURES_MAX:
            raise Unproven(f"the envelope has no list of 1 to {_SIGNATURES_MAX} signatures")
        return cls(_decoded(document.get("payload")), tuple(map(_signature, signatures)))

    def json(self) -> bytes:
        """The envelope as it lies in a file."""
        document = {
            "payloadType": PAYLOAD_TYPE,
            "payload": _encoded(self.payload),
            "signatures": [{"keyid": kid, "sig": _encoded(signature)} for kid, signature in self.signatures],
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    def proven_by(self, keys: Mapping[str, Ed25519PublicKey]) -> tuple[str, ...]:
        """The ids of those of these keys that signed it. Raises `Unproven` when none did."""
        said = _said(self.payload)
        known = [(kid, signature) for kid, signature in self.signatures if kid in keys]
        if not known:
            named = ", ".join(repr(kid) for kid, _ in self.signatures)
            raise Unproven(f"it is signed by {named}, and no such key is trusted for this")
        proven = tuple(kid for kid, signature in known if _is_good(keys[kid], signature, said))
        if not proven:
            raise Unproven(
                f"the signature of {known[0][0]!r} is not of this payload: one of them was altered"
            )
        return proven


def strict_json(data: bytes, what: str) -> dict[str, Any]:
    """The object of a JSON text in which no name stands twice. Raises `Unproven`."""
    try:
        document = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unproven(f"{what} is not readable JSON: {error}") from None
    if not isinstance(document, dict):
        raise Unproven(f"{what} is not a JSON object")
    return document


def _said(payload: bytes) -> bytes:
    """What is signed: the pre-authentication encoding of DSSE."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _is_good(key: Ed25519PublicKey, signature: bytes, said: bytes) -> bool:
    try:
        key.verify(signature, said)
    except InvalidSignature:
        return False
    return True


def _signature(document: object) -> tuple[str, bytes]:
    kid = document.get("keyid") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(kid, str) or not 0 < len(kid) <= _KID_MAX:
        raise Unproven("a signature of the envelope does not name its key (keyid)")
    return kid, _decoded(document.get("sig"))


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: object) -> bytes:
    """The bytes of base64 in either alphabet; one spelling per value, so that nothing hides in the rest."""
    if isinstance(text, str):
        standard = text.replace("-", "+").replace("_", "/")
        try:
            data = base64.b64decode(standard, validate=True)
        except ValueError:
            data = b""
        if data and _encoded(data) == standard:
            return data
    raise Unproven("the envelope's payload or signature is not base64")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
