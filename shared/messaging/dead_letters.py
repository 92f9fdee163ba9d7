"""Dead letters: what could not be read or handled, byte for byte but its token, with where it was and why."""

import hashlib
import json
import logging
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from shared.contracts.header_names import is_text, to_bytes, to_text, without_tokens
from shared.contracts.topics import dead_letters
from shared.contracts.values import Actor
from shared.messaging.record import Record
from shared.messaging.vouchers import vouch
from shared.storage.database import Database, Transaction
from shared.telemetry.metrics import DEAD_LETTERS

log = logging.getLogger(__name__)

_REASON_CHARACTERS_MAX = 4000
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
            tx.send_raw(dead_letters(database.principal), record.key, record.value, _headers(record, reason))
        proven = ((record, sender(record)) for record, _ in buried)
        await vouch([(record, actor) for record, actor in proven if actor is not None], tx)
    for record, reason in buried:
        DEAD_LETTERS.labels(database.service).inc()
        log.error("dead letter from %s/%d/%d: %s", record.topic, record.partition, record.offset, reason)


def _headers(record: Record, reason: str) -> list[tuple[str, bytes | None]]:
    about = {
        "dead_topic": record.topic,
        "dead_partition": str(record.partition),
        "dead_offset": str(record.offset),
        "dead_reason": reason[:_REASON_CHARACTERS_MAX],
    }
    kept = without_tokens(record.headers)
    names = [name for name, _ in kept]
    if not all(map(is_text, names)):
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
