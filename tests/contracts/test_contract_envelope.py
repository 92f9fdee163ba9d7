"""The envelope: what is sealed is read again, and every kind of unreadable record is named."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given

from shared.contracts.envelope import (
    Envelope,
    Unreadable,
    receive,
    seal,
    to_body,
    to_headers,
    trace_of,
)
from shared.contracts.json_shape import has_nul, without_nul
from shared.contracts.runs import ContinueRun
from shared.contracts.values import Message
from tests.support.golden_messages import examples
from tests.support.planner_examples import MIRA, NOON, PROJECT

MESSAGES = sorted(examples().items())
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40
)
TIMES = st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC))

TEN = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
LAWFUL_TIMES = {
    "2026-03-01T10:00:00z": TEN,
    "2026-03-01t10:00:00Z": TEN,
    "2026-03-01 10:00:00+00:00": TEN,
    "2026-03-01T10:00:00-00:00": TEN,
    "2026-03-01T15:30:00+05:30": TEN,
    "2026-03-01T10:00:00.123456789Z": TEN.replace(microsecond=123456),
    "2026-03-01T09:59:60Z": TEN,
    "2016-12-31T23:59:60.5z": datetime(2017, 1, 1, tzinfo=UTC),
}
UNLAWFUL_TIMES = (
    *(
        "2026-03-01T10:00:00",
        "2026-03-01",
        "20260301T100000Z",
        "2026-02-30T10:00:00Z",
        "2026-03-01T10:00:61Z",
    ),
    *("2026-03-01T10:00Z", "2026-W09-7T10:00:00Z", "9999-12-31T23:59:60Z", "\u0662026-03-01T10:00:00Z"),
)

HeaderList = list[tuple[str, bytes | None]]


def record_message() -> Message:
    return ContinueRun(actor=MIRA, project=PROJECT, run_id="run-1b9d6bcd4f21")


def record() -> tuple[HeaderList, bytes]:
    message = record_message()
    return list(to_headers(seal(message, source="/test", now=NOON))), to_body(message)


@st.composite
def causes(draw: st.DrawFn) -> Envelope:
    maybe = st.none() | TEXT
    return Envelope(
        id=draw(TEXT),
        source=draw(TEXT),
        type="upgrades.Anything.v1",
        subject=draw(TEXT),
        time=draw(TIMES),
        correlation_id=draw(maybe),
        causation_id=draw(maybe),
        traceparent=draw(maybe),
    )


@given(
    example=st.sampled_from(MESSAGES),
    source=TEXT,
    now=TIMES,
    cause=st.none() | causes(),
    ordinal=st.integers(0, 5),
    run=st.none() | TEXT,
)
def test_what_is_sealed_is_read_again(
    example: tuple[str, Message],
    source: str,
    now: datetime,
    cause: Envelope | None,
    ordinal: int,
    run: str | None,
) -> None:
    _, message = example
    envelope = seal(message, source=source, now=now, cause=cause, ordinal=ordinal, correlation_id=run)
    received = receive(to_headers(envelope), to_body(message))
    assert received.envelope == envelope
    assert received.message == message
    assert to_body(received.message) == to_body(message), "read and written again, the bytes are the same"
    assert envelope.causation_id == (cause.id if cause else None)
    assert envelope.subject == message.key()


@given(example=st.sampled_from(MESSAGES), first=causes(), second=causes(), ordinal=st.integers(0, 5))
def test_an_id_is_derived_from_the_identity_or_else_from_the_cause(
    example: tuple[str, Message], first: Envelope, second: Envelope, ordinal: int
) -> None:
    def made(cause: Envelope, number: int) -> str:
        return seal(example[1], source="/test", now=NOON, cause=cause, ordinal=number).id

    assert made(first, ordinal) == made(first, ordinal)
    same = example[1].identity() is not None or (first.source, first.id) == (second.source, second.id)
    assert (made(first, ordinal) == made(second, ordinal)) == same
    assert (made(first, ordinal) == made(first, ordinal + 1)) == (example[1].identity() is not None)


@given(first=causes(), second=causes())
def test_what_follows_from_a_message_belongs_to_its_trace(first: Envelope, second: Envelope) -> None:
    """A cause that names no trace, or a broken one, begins one of its own, which is always the same."""
    begun = seal(record_message(), source="/test", now=NOON, cause=first)
    assert begun.traceparent == seal(record_message(), source="/other", now=NOON, cause=first).traceparent
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", begun.traceparent or "")
    assert seal(record_message(), source="/test", now=NOON, cause=begun).traceparent == begun.traceparent
    if (first.source, first.id) != (second.source, second.id):
        assert trace_of(second) != trace_of(first)


def test_headers_that_are_not_ours_are_left_alone() -> None:
    headers, body = record()
    received = receive([*headers, ("x-trace", None), ("x-bytes", b"\xff\xfe")], body)
    assert received.message.key() == PROJECT


def without(name: str) -> Callable[[HeaderList, bytes], tuple[HeaderList, bytes | None]]:
    return lambda headers, body: ([one for one in headers if one[0] != name], body)


def instead(name: str, value: bytes | None) -> Callable[[HeaderList, bytes], tuple[HeaderList, bytes | None]]:
    return lambda headers, body: ([(key, value if key == name else old) for key, old in headers], body)


def body_is(body: bytes | None) -> Callable[[HeaderList, bytes], tuple[HeaderList, bytes | None]]:
    return lambda headers, _: (headers, body)


UNREADABLE = {
    "no id": (without("ce_id"), "missing headers: ce_id"),
    "no source": (without("ce_source"), "missing headers: ce_source"),
    "no type": (without("ce_type"), "missing headers: ce_type"),
    "no version of the specification": (without("ce_specversion"), "missing headers: ce_specversion"),
    "no headers at all": (
        lambda headers, body: ([], body),
        "missing headers: ce_specversion, ce_id, ce_source, ce_type",
    ),
    "an empty id": (instead("ce_id", b""), "missing headers: ce_id"),
    "another specification": (instead("ce_specversion", b"0.3"), "ce_specversion is '0.3', expected '1.0'"),
    "a type that nobody knows": (instead("ce_type", b"upgrades.Nothing.v1"), "unknown ce_type"),
    "a later version of a type": (instead("ce_type", b"upgrades.ContinueRun.v2"), "unknown ce_type"),
    "a header without a value": (instead("ce_source", None), "header ce_source has no value"),
    "a header that is no text": (instead("ce_source", b"\xff\xfe"), "header ce_source is not UTF-8"),
    "a header name with a NUL": (
        lambda headers, body: ([*headers, ("ce_x\0", b"1")], body),
        "the header name 'ce_x\\x00' has a NUL",
    ),
    "headers without number": (
        lambda headers, body: ([*headers, *((f"ce_x{number}", b"1") for number in range(64))], body),
        "more than 64 headers that begin with ce_",
    ),
    "no time": (without("ce_time"), "ce_time is no RFC 3339 time: None"),
    "a time that is none": (instead("ce_time", b"yesterday"), "ce_time is no RFC 3339 time: 'yesterday'"),
    "no body": (body_is(None), "the record has no body"),
    "an empty body": (body_is(b""), "Invalid JSON"),
    "a body that is no JSON": (body_is(b"{'project'"), "Invalid JSON"),
    "a body that is no UTF-8": (body_is(b'{"project": "\xff"}'), "Invalid JSON"),
    "a body of another shape": (body_is(b"[1, 2]"), "Input should be an object"),
    "fields that are missing": (body_is(b"{}"), "run_id: Field required"),
    "a field of the wrong form": (
        body_is(b'{"actor": {"id": "m", "role": "maintainer"}, "project": "Acme!", "run_id": "run-1"}'),
        "project: String should match pattern",
    ),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_record_is_named(kind: str) -> None:
    spoil, reason = UNREADABLE[kind]
    headers, body = spoil(*record())
    with pytest.raises(Unreadable) as unreadable:
        receive(headers, body)
    assert reason in str(unreadable.value)


@given(
    headers=st.lists(
        st.tuples(st.sampled_from(["ce_id", "ce_type", "ce_time", "x"]), st.none() | st.binary())
    ),
    body=st.none() | st.binary(),
)
def test_garbage_is_unreadable_and_never_a_bug(headers: HeaderList, body: bytes | None) -> None:
    with pytest.raises(Unreadable):
        receive(headers, body)


def test_what_concerns_a_run_says_which_whoever_sends_it_and_why() -> None:
    """A rebuild reads of a Run by its header, also of an event that is sent again without its cause."""
    of_runs = [message for name, message in MESSAGES if name.startswith(("RunChanged", "PlanReady"))]
    assert of_runs
    for message in of_runs:
        envelope = seal(message, source="/test", now=NOON)
        assert envelope.correlation_id is not None
        assert envelope.correlation_id in to_body(message).decode()


def test_a_time_is_whatever_rfc_3339_allows_and_nothing_else() -> None:
    """Others write small letters, nine digits and leap seconds; a time without a zone is no moment."""
    headers, body = record()
    rest = [header for header in headers if header[0] != "ce_time"]
    for text, moment in LAWFUL_TIMES.items():
        assert receive([*rest, ("ce_time", text.encode())], body).envelope.time == moment, text
    for text in UNLAWFUL_TIMES:
        with pytest.raises(Unreadable, match="RFC 3339"):
            receive([*rest, ("ce_time", text.encode())], body)


@given(st.text(alphabet=["\0", "\\", "u", "0", '"', "a"], max_size=20))
def test_nothing_that_is_sent_has_a_nul_and_all_else_stays(words: str) -> None:
    """One NUL of a partner's output made PostgreSQL refuse every query over documents, for all Projects."""
    body = json.dumps({"words": words}).encode()
    assert has_nul(body) == ("\0" in words)
    assert json.loads(without_nul(body)) == {"words": words.replace("\0", "\ufffd")}
    assert not has_nul(without_nul(body))
