"""CloudEvents 1.0 in Kafka's binary mode: the attributes are headers, the body is JSON.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from pydantic import ValidationError

from shared.contracts.bounded import said_of
from shared.contracts.catalogue import BY_TYPE
from shared.contracts.header_names import TOKEN, is_text
from shared.contracts.json_shape import MESSAGE_VALUES_MAX, has_more_values, has_nul, without_nul
from shared.contracts.moments import read_moment
from shared.contracts.runs import RunView
from shared.contracts.values import Actor, Message
from shared.ids import derived_id

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/json"
_SPEC_VERSION, _CONTENT_TYPE = SPEC_VERSION.encode(), CONTENT_TYPE.encode()
BODY_BYTES_MAX = 4 << 20
"""Of a record. Brokers take 1 MiB unless told otherwise; more lies in the content store."""
_FAULTS_MAX = 50
_EXPLANATION_CHARACTERS_MAX = 5_000
HEADER_BYTES_MAX = 1024
"""Of each attribute of the envelope but the token."""
HEADERS_MAX = 64
"""How many of them are read: the envelope has a dozen."""
ALL_HEADERS_MAX = 256
"""Of a record, with those that others add to it: a megabyte takes half a million."""
TOKEN_BYTES_MAX = 4096
HTTP_SOURCE, PEOPLES_SOURCE = "/http/", "/topic/"
"""How the sources of people's commands begin: nobody else may send one."""
_REQUIRED = ("ce_specversion", "ce_id", "ce_source", "ce_type")

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

Headers = tuple[tuple[str, bytes], ...]


class Unreadable(ValueError):
    """A record that is none of our messages; the text says what is wrong with it."""


@dataclass(frozen=True)
class Envelope:
    """What is known of a message besides its body."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    causation_source: str | None = None
    """With `causation_id` and `causation_digest`: what a rebuilt inbox knows of the cause."""
    causation_digest: str | None = None
    digest: str | None = field(default=None, compare=False)
    """The sha256 of the body's bytes, once it has been read; it does not travel."""
    proven_by: str | None = field(default=None, compare=False)
    """The principal whose signature its reader has verified; it does not travel."""


@dataclass(frozen=True)
class Received:
    """A message as it was read: `digest` is the sha256 of the body's bytes."""

    envelope: Envelope
    message: Message
    digest: str
    body: bytes = field(default=b"", compare=False, repr=False)
    """As it came over a topic; empty when it came another way."""
    attributes: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """The `ce_` headers as they came over a topic."""
    token: str | None = field(default=None, compare=False, repr=False)
    """Of a person's command that came over a topic, until it has been verified."""
    place: str = field(default="", compare=False, repr=False)
    """Where a command came from, for the audit log: topic/partition/offset, or `http` and an address."""


def seal(
    message: Message,
    *,
    source: str,
    now: datetime,
    cause: Envelope | None = None,
    ordinal: int = 0,
    correlation_id: str | None = None,
    traceparent: str | None = None,
) -> Envelope:
    """The envelope of a message that `source` sends because of `cause`, as its `ordinal`th message.

    The id is derived from the message's identity, or else from its cause: the same again is the same. It
    belongs to the trace of its cause, unless `traceparent` names another.
    """
    identity = message.identity()
    parts = (
        (message.type_name(), identity)
        if identity is not None
        else (message.type_name(), cause.source if cause else source, cause.id if cause else "", ordinal)
    )
    run = correlation_id or getattr(message, "run_id", None) or (cause.correlation_id if cause else None)
    return Envelope(
        id=derived_id(*parts),
        source=source,
        type=message.type_name(),
        subject=message.key(),
        time=now,
        correlation_id=run,
        causation_id=cause.id if cause else None,
        causation_source=cause.source if cause else None,
        causation_digest=cause.digest if cause else None,
        traceparent=traceparent or (trace_of(cause) if cause else None),
    )


def trace_of(envelope: Envelope) -> str:
    """The trace that a message belongs to; one that names none begins one, the same at every reading.

    Source of the form: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    if envelope.traceparent and _TRACEPARENT.fullmatch(envelope.traceparent):
        return envelope.traceparent
    return _traceparent(f"{envelope.source} {envelope.id}")


def run_trace(run: RunView) -> str:
    """The trace of the Release that a Run adopts, or else removes; of several, of the first."""
    moves = run.systems or {system: run.pins_before[system] for system in run.removed}
    return release_trace(*next(iter(moves.items())))


def release_trace(system: str, version: str) -> str:
    """The trace of a Release, from its publication to the record of every Run that adopts it.

    Anybody can tell it who knows the Release: nothing has to be kept or carried for it.
    """
    return _traceparent(f"release {system} {version}")


@lru_cache(maxsize=4096)
def _traceparent(of: str) -> str:
    digest = hashlib.sha256(of.encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


def source_of(actor: Actor, source: str) -> str:
    """The source of a person's command from a topic, as its handler and its answers know it.

    Ids are unique within a source, and a source is one person's: nobody can use up the ids of another.
    """
    return f"{PEOPLES_SOURCE}{actor.id.replace('%', '%25').replace('/', '%2F')}/{source}"


def to_headers(envelope: Envelope, token: str | None = None) -> Headers:
    """The Kafka headers of an envelope; a person's command carries that person's `token`."""
    headers = [
        ("ce_specversion", _SPEC_VERSION),
        ("ce_id", envelope.id.encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_type", envelope.type.encode()),
        ("ce_subject", envelope.subject.encode()),
        ("ce_time", _rfc_3339(envelope.time)),
    ]
    if envelope.correlation_id is not None:
        headers.append(("ce_correlationid", envelope.correlation_id.encode()))
    if envelope.causation_id is not None:
        headers.append(("ce_causationid", envelope.causation_id.encode()))
    if envelope.causation_source is not None:
        headers.append(("ce_causationsource", envelope.causation_source.encode()))
    if envelope.causation_digest is not None:
        headers.append(("ce_causationdigest", envelope.causation_digest.encode()))
    if envelope.traceparent is not None:
        headers.append(("ce_traceparent", envelope.traceparent.encode()))
    if token is not None:
        headers.append((TOKEN, token.encode()))
    headers.append(("content-type", _CONTENT_TYPE))
    return tuple(headers)


@lru_cache(maxsize=16)
def _rfc_3339(time: datetime) -> bytes:
    # Everything that one transaction sends has one time.
    return time.isoformat().encode()


def to_body(message: Message) -> bytes:
    """The JSON body of a message."""
    return without_nul(message.body())


def receive(headers: Iterable[tuple[str, bytes | None]], body: bytes | None) -> Received:
    """Read a Kafka record. Raises `Unreadable` with what is wrong."""
    texts = _texts(headers)
    token = texts.pop(TOKEN, None)
    missing = [name for name in _REQUIRED if not texts.get(name)]
    if missing:
        raise Unreadable(f"missing headers: {', '.join(missing)}")
    if texts["ce_specversion"] != SPEC_VERSION:
        raise Unreadable(f"ce_specversion is {texts['ce_specversion']!r}, expected {SPEC_VERSION!r}")
    model = BY_TYPE.get(texts["ce_type"])
    if model is None:
        raise Unreadable(f"unknown ce_type {texts['ce_type']!r}")
    if body is None:
        raise Unreadable("the record has no body")
    if len(body) > BODY_BYTES_MAX:
        raise Unreadable(f"the body has {len(body)} bytes, at most {BODY_BYTES_MAX} are read")
    if has_more_values(body, MESSAGE_VALUES_MAX):
        raise Unreadable(f"the body has more than {MESSAGE_VALUES_MAX} values: send less at once")
    if has_nul(body):
        raise Unreadable("the body has the character NUL (\\u0000): leave it out")
    try:
        message = model.read(body)
        time = read_moment(texts.get("ce_time", ""))
    except ValidationError as error:
        raise Unreadable(explain(error)) from error
    except ValueError as error:
        raise Unreadable(f"ce_time is no RFC 3339 time: {texts.get('ce_time')!r}") from error
    digest = hashlib.sha256(body).hexdigest()
    envelope = Envelope(
        id=texts["ce_id"],
        source=texts["ce_source"],
        type=texts["ce_type"],
        subject=texts.get("ce_subject", message.key()),
        time=time,
        correlation_id=texts.get("ce_correlationid"),
        causation_id=texts.get("ce_causationid"),
        traceparent=texts.get("ce_traceparent"),
        causation_source=texts.get("ce_causationsource"),
        causation_digest=texts.get("ce_causationdigest"),
        digest=digest,
    )
    return Received(envelope, message, digest, body, texts, token)


def explain(error: ValidationError) -> str:
    """A validation error in one line: every field with its fault."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False)[:_FAULTS_MAX]:
        where = ".".join(str(part) for part in fault["loc"]) or "body"
        faults.append(f"{where}: {said_of(fault)}")
    return "; ".join(faults)[:_EXPLANATION_CHARACTERS_MAX]


def _texts(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, (name, value) in enumerate(headers):
        if number == ALL_HEADERS_MAX:
            raise Unreadable(f"it has more than {ALL_HEADERS_MAX} headers")
        if not is_text(name):
            raise Unreadable(f"the header name {name!a} is not UTF-8")
        if "\0" in name:
            raise Unreadable(f"the header name {name!a} has a NUL")
        if not name.startswith("ce_"):
            continue
        if len(texts) == HEADERS_MAX:
            raise Unreadable(f"it has more than {HEADERS_MAX} headers that begin with ce_")
        if name == TOKEN:
            # Whatever stands there, who has sent it can be told that it is no token.
            texts[name] = (value or b"")[: TOKEN_BYTES_MAX + 1].decode(errors="replace")
            continue
        if value is None:
            raise Unreadable(f"header {name} has no value")
        # No database keeps the one, and no index the other: known here, it costs its neighbours nothing.
        if b"\0" in value:
            raise Unreadable(f"header {name} has a NUL")
        if len(value) > HEADER_BYTES_MAX:
            raise Unreadable(f"header {name} has {len(value)} bytes, at most {HEADER_BYTES_MAX} are read")
        try:
            texts[name] = value.decode()
        except UnicodeDecodeError as error:
            raise Unreadable(f"header {name} is not UTF-8") from error
    return texts
