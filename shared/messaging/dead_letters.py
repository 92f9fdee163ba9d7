"""Dead letters: what could not be read or handled, byte for byte but its token, with where it was and why."""

import hashlib
import json
import logging
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from shared.audit.notes import on_try, written
from shared.contracts.audit import AuditNote
from shared.contracts.envelope import ALL_HEADERS_MAX
from shared.contracts.header_names import is_text, to_bytes, to_text, without_tokens
from shared.contracts.refusals import Refusal
from shared.contracts.topics import dead_letters
from shared.contracts.values import Actor
from shared.messaging.record import Record, place_text
from shared.messaging.topic_admin import DEAD_RECORD_BYTES_MAX
from shared.messaging.vouchers import vouch
from shared.storage.database import Database, Transaction
from shared.storage.messages import RawHeaders
from shared.telemetry.metrics import DEAD_LETTERS

log = logging.getLogger(__name__)

_REASON_CHARACTERS_MAX = 4000
_LETTER_BYTES_MAX = DEAD_RECORD_BYTES_MAX - 4096
"""Its key, value and headers: what is more than the topic takes would keep everything behind it waiting."""
_CUT_KEY_BYTES, _CUT_BYTES = 1024, 64 * 1024
"""Of a letter that is cut: of its key, and of its value and its headers each."""
_HEADER_BYTES = 16
"""What a header needs besides its name and value, at most."""
_OURS = ("dead_", "redriven_")
"""How the names begin that say something of a letter: a sender's own of that kind are left out."""
# A broker that forgot everything counts its offsets from 0 again: the same place, another record.
_SEEN = (
    "insert into inbox (source, id, digest, verdict)"
    " select source, id, digest, '{}'::json from unnest($1::text[], $2::text[], $3::text[])"
    " as new (source, id, digest)"
    " on conflict (source, id) do update set digest = excluded.digest where inbox.digest <> excluded.digest"
    " returning source, id"
)


Sender = Callable[[Record], Actor | None]


async def bury(database: Database[Any], letters: Iterable[tuple[Record, str]], sender: Sender) -> None:
    """Put records, each with its reason, into the outbox as dead letters: all in one transaction.

    Each is put there once, however often it is read again, and none with its token: if it has a valid one,
    as `sender` says, the service remembers whose it was.
    """
    at = {place(record): (record, reason) for record, reason in letters}
    async with database.transaction() as tx:
        await tx.begin()
        fresh = await first_time([record for record, _ in at.values()], tx)
        buried = [letter for place, letter in at.items() if place in fresh]
        for record, reason in buried:
            tx.send_raw(dead_letters(database.principal), *_letter(record, reason))
        proven = [(record, sender(record)) for record, _ in buried]
        for note in _noted(buried, [actor for _, actor in proven], tx.now):
            tx.note(written(note))
        await vouch([(record, actor) for record, actor in proven if actor is not None], tx)
    for record, reason in buried:
        DEAD_LETTERS.labels(database.service).inc()
        log.error("dead letter from %s/%d/%d: %s", record.topic, record.partition, record.offset, reason)


def _noted(
    buried: Sequence[tuple[Record, str]], senders: Sequence[Actor | None], now: datetime
) -> Iterator[AuditNote]:
    """An entry for each letter with a proven sender; one for all others of a partition that came together.

    Nobody is behind those, so that a flood of them must not become as many entries, which stay for ever.
    """
    together: dict[tuple[str, int], list[tuple[Record, str]]] = {}
    for (record, reason), actor in zip(buried, senders, strict=True):
        if actor is None:
            together.setdefault((record.topic, record.partition), []).append((record, reason))
        else:
            yield _note(record, reason, actor, now, {})
    for letters in together.values():
        (first, reason), last = letters[0], letters[-1][0]
        more = {"records": str(len(letters)), "last": place_text(last)} if len(letters) > 1 else {}
        yield _note(first, reason, None, now, more)


def _note(
    record: Record, reason: str, actor: Actor | None, now: datetime, details: dict[str, str]
) -> AuditNote:
    kind = dict(record.headers).get("ce_type") or b"unknown"
    refusal = Refusal(kind="invalid", reason=reason, cure="look at the dead letter")
    subject = (record.key or b"")[:300].decode(errors="replace")
    what = f"record {kind[:150].decode(errors='replace')}"
    return on_try(now, actor, place_text(record), what, subject, [refusal], details=details)


def _letter(record: Record, reason: str) -> tuple[bytes | None, bytes | None, RawHeaders]:
    """The key, value and headers; cut if the topic would not take the whole, and then that is told."""
    kept = [
        (name, value) for name, value in without_tokens(record.headers) if not to_text(name).startswith(_OURS)
    ]
    key, value, headers = record.key, record.value, _headers(record, kept, reason)
    size = len(key or b"") + len(value or b"") + _bytes_of(headers)
    if size <= _LETTER_BYTES_MAX and len(kept) <= ALL_HEADERS_MAX:
        return key, value, headers
    sizes = {"key": len(key or b""), "value": len(value or b""), "headers": _bytes_of(kept)}
    headers = [
        *_headers(record, _first(kept), reason),
        ("dead_bytes", json.dumps(sizes).encode()),
        ("dead_sha256", hashlib.sha256(value or b"").hexdigest().encode()),
    ]
    return key and key[:_CUT_KEY_BYTES], value and value[:_CUT_BYTES], headers


def _first(headers: RawHeaders) -> RawHeaders:
    """As many whole headers as a cut letter has room for."""
    kept, room = [], _CUT_BYTES
    for header in headers[:ALL_HEADERS_MAX]:
        size = _bytes_of([header])
        if size <= room:
            kept.append(header)
            room -= size
    return kept


def _bytes_of(headers: RawHeaders) -> int:
    return sum(_HEADER_BYTES + len(to_bytes(name)) + len(value or b"") for name, value in headers)


def _headers(record: Record, kept: RawHeaders, reason: str) -> list[tuple[str, bytes | None]]:
    about = {
        "dead_topic": record.topic,
        "dead_partition": str(record.partition),
        "dead_offset": str(record.offset),
        "dead_reason": reason[:_REASON_CHARACTERS_MAX],
    }
    names = [name for name, _ in kept]
    if not all(is_text(name) and "\0" not in name for name in names):
        # As it came, such a name would stop others' consumers; here every name is, byte for byte.
        about["dead_header_names"] = json.dumps([b64encode(to_bytes(name)).decode() for name in names])
    headers = [(to_text(name), value) for name, value in kept]
    return [*headers, *((name, text.encode(errors="replace")) for name, text in about.items())]


def place(record: Record) -> tuple[str, str]:
    """Under which a record that was put aside stands in the inbox: the source, and the id."""
    return f"{record.topic}/{record.partition}", str(record.offset)


async def first_time(records: Sequence[Record], tx: Transaction) -> set[tuple[str, str]]:
    """The places of those that were not put aside before."""
    sources, offsets = zip(*map(place, records), strict=True)
    rows = await tx.fetch(_SEEN, list(sources), list(offsets), [_digest(record) for record in records])
    return {(source, offset) for source, offset in rows}


def _digest(record: Record) -> str:
    """Of all that it carries but a token: a record of a megabyte is read once and copied never."""
    digest = hashlib.sha256(repr((record.key, without_tokens(record.headers))).encode())
    digest.update(b"-" if record.value is None else b"+")
    digest.update(record.value or b"")
    return digest.hexdigest()
