"""Dead letters: what could not be read or handled, byte for byte, with where it was and why."""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy.dialects.postgresql import insert

from shared.contracts.topics import dead_letters
from shared.storage.database import Database, Transaction
from shared.storage.tables import InboxRow
from shared.telemetry.metrics import DEAD_LETTERS

log = logging.getLogger(__name__)

_REASON_CHARACTERS_MAX = 4000
_COLUMNS = InboxRow.__table__.c  # type: ignore[attr-defined]


class Record(Protocol):
    """What is needed of aiokafka's ConsumerRecord."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


async def bury(database: Database[Any], record: Record, reason: str) -> None:
    """Put a record into the outbox as a dead letter, once, however often it is read again."""
    async with database.transaction() as tx:
        if not await _first_time(record, tx):
            return
        about = {
            "dead_topic": record.topic,
            "dead_partition": str(record.partition),
            "dead_offset": str(record.offset),
            "dead_reason": reason[:_REASON_CHARACTERS_MAX],
        }
        headers = [*record.headers, *((name, text.encode(errors="replace")) for name, text in about.items())]
        tx.send_raw(dead_letters(database.service), record.key, record.value, headers)
    DEAD_LETTERS.labels(database.service).inc()
    log.error("dead letter from %s/%d/%d: %s", record.topic, record.partition, record.offset, reason)


async def _first_time(record: Record, tx: Transaction) -> bool:
    digest = hashlib.sha256(repr((record.key, record.value, record.headers)).encode()).hexdigest()
    seen = insert(InboxRow).values(
        source=f"{record.topic}/{record.partition}",
        id=str(record.offset),
        digest=digest,
        verdict={},
        handled_at=tx.now,
    )
    # A broker that forgot everything counts its offsets from 0 again: the same place, another record.
    seen = seen.on_conflict_do_update(
        index_elements=["source", "id"],
        set_={"digest": seen.excluded.digest},
        where=_COLUMNS.digest != seen.excluded.digest,
    )
    return (await tx.session.execute(seen.returning(_COLUMNS.id))).first() is not None
