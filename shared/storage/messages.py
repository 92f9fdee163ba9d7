"""Inbox and outbox as parts of a commit."""

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from shared.contracts.json_shape import MESSAGE_VALUES_MAX, has_more_values
from shared.errors import Reject, invalid
from shared.storage.statement import HOLDS, Part

OUTBOX_CHANNEL = "outbox"
"""Wakes the relay of whatever process leads."""

LOOK_FOR_OTHERS = (
    f"select case when $1::bigint = 0 then pg_notify('{OUTBOX_CHANNEL}', '')::text is null else"
    " exists (select from outbox where epoch < $1) or exists (select from outbox where epoch > $1)"
    " end as others"
)
"""Whether rows of another epoch than `$1` wait. With none (0), another process's relay is woken."""

RawHeaders = Sequence[tuple[str, bytes | None]]
Outgoing = tuple[str, bytes | None, bytes | None, RawHeaders]
"""Topic, key, body and headers."""


@dataclass(frozen=True)
class InboxEntry:
    """A message that was handled: its body's digest and the verdict as JSON, to answer a repeat alike."""

    source: str
    id: str
    digest: str
    verdict: str


def too_large(kind: str, size: int, most: int) -> Reject:
    """What was asked for would be told by a message that no topic takes."""
    return invalid(
        f"{kind} would have {size} bytes, and at most {most} can be sent",
        field="body",
        cure="ask for less at once; large things go to the content store",
    )


def require_sendable(kind: str, body: bytes, bytes_max: int) -> None:
    """Raise `Reject` for a message that no topic takes, or no service reads.

    In the outbox it would be refused for good, and everything behind it would wait.
    """
    if len(body) > bytes_max:
        raise too_large(kind, len(body), bytes_max)
    if has_more_values(body, MESSAGE_VALUES_MAX):
        raise invalid(
            f"{kind} would have more than the {MESSAGE_VALUES_MAX} values that a message may have",
            field="body",
            cure="ask for less at once; large things go to the content store",
        )


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


def outbox_parts(outgoing: Sequence[Outgoing], epoch: int) -> tuple[list[Part], str]:
    """Adds them in their order; and what to select beside `holds`: their ids, and whether others' are there.

    `epoch` is that of this process's leadership. Without one, another process's relay is woken.
    """
    if not outgoing:
        return [], ""
    add = (
        "insert into outbox (topic, key, body, headers, epoch)"
        " select topic, key, body, headers::json, $5::bigint"
        " from unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[]) as new (topic, key, body, headers)"
        f" where {HOLDS} returning id"
    )
    topics, keys, bodies, headers = zip(*outgoing, strict=True)
    stored = [stored_headers(each) for each in headers]
    parts = [
        Part(add, (list(topics), list(keys), list(bodies), stored, epoch), name="added"),
        Part(LOOK_FOR_OTHERS, (epoch,), name="looked"),
    ]
    return parts, ", (select array_agg(id order by id) from added), (select others from looked)"
