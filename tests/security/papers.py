"""Envelopes about one package: the good one, and many that are not."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.identity.keys import SigningKey
from shared.signing.envelope import PAYLOAD_TYPE, SMALL_BYTES_MAX, Envelope
from shared.signing.library_keys import LibraryKeys, TrustedKey, Validity
from shared.signing.releases import Named, sign_release
from shared.signing.statements import RELEASE, sign_statement
from tests.support.keys import SIGNING_KEY as PEOPLES_KEY
from tests.support.proofs import KEYS
from tests.support.signing import LIBRARY_KEY

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DATA = b"the bytes of a package"
DIGEST = hashlib.sha256(DATA).hexdigest()
NAMED = Named("auth-system", "1.3.0", DIGEST)
STRANGER = SigningKey.new("stranger")


def envelope(named: Named = NAMED, *keys: SigningKey, at: datetime = NOW) -> bytes:
    return sign_release(named, builder="tests", at=at, keys=list(keys) or [LIBRARY_KEY])


def trusting(**keys: tuple[SigningKey, Validity]) -> LibraryKeys:
    """Keys by the names with which they sign."""
    return LibraryKeys(
        {key.kid: TrustedKey(key.private.public_key(), validity) for key, validity in keys.values()}
    )


def altered(change: Callable[[dict[str, Any]], None], *, payload: bool = False) -> bytes:
    """The envelope's JSON, or its payload's, changed; the signature stays."""
    document = json.loads(envelope())
    if payload:
        inner = json.loads(base64.b64decode(document["payload"]))
        change(inner)
        document["payload"] = base64.b64encode(json.dumps(inner).encode()).decode()
    else:
        change(document)
    return json.dumps(document).encode()


def said(**changes: Any) -> bytes:
    """An envelope by the Library's own key around a statement that says something else."""
    predicate = {
        "system": "auth-system",
        "version": "1.3.0",
        "builder": {"id": "tests"},
        "signed_at": NOW.isoformat(),
    }
    subjects = changes.pop("subjects", [NAMED.subject])
    kind = changes.pop("kind", RELEASE)
    return sign_statement(kind, subjects, predicate | changes, [LIBRARY_KEY])


def raw(payload: bytes) -> bytes:
    """Any payload at all, signed by the Library's key."""
    return Envelope.signed(payload, [LIBRARY_KEY]).json()


def twice(text: bytes, name: str) -> bytes:
    """JSON in which a name stands twice, the second time with the true value."""
    value = json.dumps(json.loads(text)[name])
    return text.replace(b"{", b'{"' + name.encode() + b'": ' + value.encode() + b", ", 1)


def payload_of(data: bytes) -> bytes:
    return Envelope.read(data).payload


OTHER = Named("quote-engine", "1.3.0", DIGEST)
LIES: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"\x00",
    "not an object": b"[]",
    "deep": b"[" * 60_000,
    "another payload type": altered(lambda one: one.update(payloadType="application/json")),
    "no signature": altered(lambda one: one.update(signatures=[])),
    "many signatures": altered(lambda one: one.update(signatures=one["signatures"] * 11)),
    "a signature without a key": altered(lambda one: one["signatures"][0].pop("keyid")),
    "signatures as text": altered(lambda one: one.update(signatures="all of them")),
    "not base64": altered(lambda one: one.update(payload="!")),
    "base64 with more behind it": altered(lambda one: one.update(payload=one["payload"] + "\n")),
    "huge": envelope() + b" " * SMALL_BYTES_MAX,
    "the envelope's payload twice": twice(envelope(), "payload"),
    "a changed digest": altered(
        lambda one: one["subject"][0]["digest"].update(sha256="0" * 64), payload=True
    ),
    "a changed version": altered(lambda one: one["predicate"].update(version="9.9.9"), payload=True),
    "a changed builder": altered(lambda one: one["predicate"].update(builder={"id": "eve"}), payload=True),
    "the same said otherwise": altered(lambda one: None, payload=True),
    "a stranger's key": envelope(NAMED, STRANGER),
    "a stranger's key under the Library's name": envelope(
        NAMED, SigningKey(LIBRARY_KEY.kid, STRANGER.private)
    ),
    "a key of a service": envelope(NAMED, KEYS["registry"]),
    "a key of people's tokens": envelope(NAMED, PEOPLES_KEY),
    "another package": envelope(replace(NAMED, package="0" * 64)),
    "an earlier version of it": envelope(replace(NAMED, version="1.2.4")),
    "another system": envelope(OTHER),
    "another subject": said(subjects=[("quote-engine-1.3.0.tar.gz", DIGEST)]),
    "more than one subject": said(subjects=[NAMED.subject, OTHER.subject]),
    "the subject's digest in capitals": said(subjects=[(NAMED.subject[0], DIGEST.upper())]),
    "another system in the predicate": said(system="quote-engine"),
    "another version in the predicate": said(version="1.2.4"),
    "no builder": said(builder=None),
    "no time": said(signed_at=None),
    "a time without an offset": said(signed_at="2026-06-01T12:00:00"),
    "a time to come": said(signed_at=(NOW + DAY).isoformat()),
    "another kind of statement": said(kind=RELEASE.replace("release", "receipt")),
    "no statement": raw(b'{"auth-system": "1.3.0"}'),
    "a statement of another version": raw(payload_of(envelope()).replace(b"Statement/v1", b"Statement/v0")),
    "a subject twice": raw(twice(payload_of(envelope()), "subject")),
    "not a number": raw(payload_of(envelope()).replace(b'"predicate":{', b'"predicate":{"x":NaN,')),
    "a signature of a proof": json.dumps(
        {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(payload_of(envelope())).decode(),
            "signatures": [
                {
                    "keyid": LIBRARY_KEY.kid,
                    "sig": base64.b64encode(LIBRARY_KEY.private.sign(payload_of(envelope()))).decode(),
                }
            ],
        }
    ).encode(),
}
