"""Inbox and outbox as parts of a commit."""

from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from shared.storage.statement import HOLDS, Part

OUTBOX_CHANNEL = "outbox"
NOTIFY = f", case when holds then pg_notify('{OUTBOX_CHANNEL}', '') end"
"""Wakes the relay of whatever process has it."""

RawHeaders = Iterable[tuple[str, bytes | None]]
Outgoing = tuple[str, bytes | None, bytes | None, str]
"""Topic, key, body and the stored headers."""


@dataclass(frozen=True)
class InboxEntry:
    """A message that was handled: its body's digest and the verdict as JSON, to answer a repeat alike."""

    source: str
    id: str
    digest: str
    verdict: str


def stored_headers(headers: RawHeaders) -> str:
    """Headers as JSON: pairs of a name and the value in base64, or null."""
    pairs = [[name, None if value is None else b2a_base64(value, newline=False)] for name, value in headers]
    return to_json(pairs).decode()


def read_headers(stored: str) -> list[tuple[str, bytes | None]]:
    """The opposite of `stored_headers`."""
    return [(name, None if value is None else a2b_base64(value)) for name, value in from_json(stored)]


def inbox_part(handled: Sequence[InboxEntry]) -> list[Part]:
    """Adds them; none if there are none."""
    if not handled:
        return []
    sql = (
        "insert into inbox (source, id, digest, verdict)"
        " select source, id, digest, verdict::json"
        " from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as new (source, id, digest, verdict)"
        f" where {HOLDS}"
    )
    return [
        Part(
            sql,
            (
                [entry.source for entry in handled],
                [entry.id for entry in handled],
                [entry.digest for entry in handled],
                [entry.verdict for entry in handled],
            ),
        )
    ]


def outbox_part(outgoing: Sequence[Outgoing]) -> list[Part]:
    """Adds them in their order; none if there are none."""
    if not outgoing:
        return []
    add = (
        "insert into outbox (topic, key, body, headers)"
        " select topic, key, body, headers::json"
        " from unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[]) as new (topic, key, body, headers)"
        f" where {HOLDS}"
    )
    topics, keys, bodies, headers = zip(*outgoing, strict=True)
    return [Part(add, (list(topics), list(keys), list(bodies), list(headers)))]
