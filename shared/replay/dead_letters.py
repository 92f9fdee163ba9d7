"""Dead letters as they lie on their topics, and sending them to where they came from once more.

What was sent again is remembered on the same topic, by a record without a body that names the letter: whoever
looks sees it, and a second time is nobody's accident.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from shared.contracts.header_names import without_tokens
from shared.contracts.topics import dead_letters
from shared.errors import conflict
from shared.messaging.client_arguments import client_arguments
from shared.messaging.compressed_batches import UNREAD
from shared.messaging.portions import Pauses
from shared.messaging.record import Record
from shared.messaging.topic_reader import read_topic
from shared.settings import KafkaSettings

_ABOUT = "dead_"
_REDRIVEN = "redriven_letter"
_REDRIVEN_BY = "redriven_by"
_DIGITS_MAX = 18
_NOWHERE = -1
"""For a partition or an offset that is not there, or no number."""
Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class DeadLetter:
    """A record that a service could not read or handle; `headers` and bytes are the original's."""

    id: str
    service: str
    topic: str
    partition: int
    offset: int
    reason: str
    buried_at: datetime
    key: bytes | None
    body: bytes | None
    headers: Headers
    redriven_at: datetime | None = None
    redriven_by: str | None = None
    original_bytes: str | None = None
    """Of a letter that was cut, for it was too large to lie there: the sizes of its parts, as JSON."""
    original_sha256: str | None = None
    """Of the whole body of such a letter."""

    @property
    def type(self) -> str:
        """The CloudEvents type, as far as it has one."""
        named = dict(self.headers).get("ce_type")
        return named.decode(errors="replace") if named else "unknown"

    @property
    def why_not_again(self) -> str | None:
        """Why it cannot be sent to where it came from; None if it can."""
        if self.original_bytes is not None:
            return f"it was too large to be kept whole and lies here cut: it had {self.original_bytes} bytes"
        if any(name == UNREAD for name, _ in self.headers):
            return "its headers were too many to be read, and do not lie here"
        if self.partition == _NOWHERE:
            return "it does not say which partition it came from"
        return None


async def read_dead_letters(settings: KafkaSettings, service: str) -> list[DeadLetter]:
    """All that lie there, the oldest first. Raises KafkaError when the broker or the topic is not there."""
    letters: dict[str, DeadLetter] = {}
    redriven: dict[str, tuple[datetime, str]] = {}
    pauses = Pauses()
    async for record in read_topic(settings, dead_letters(service)):
        await pauses.look()
        texts = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        # A mark says of no place: a letter whose sender wrote such a header is still a letter.
        if _REDRIVEN in texts and f"{_ABOUT}topic" not in texts:
            redriven[texts[_REDRIVEN]] = (at, texts.get(_REDRIVEN_BY, ""))
        else:
            letter = _letter(service, record, texts, at)
            letters[letter.id] = letter
    for letter_id, (at, by) in redriven.items():
        if letter_id in letters:
            letters[letter_id] = replace(letters[letter_id], redriven_at=at, redriven_by=by)
    return sorted(letters.values(), key=lambda letter: letter.buried_at)


async def redrive(
    settings: KafkaSettings,
    letters: Sequence[DeadLetter],
    *,
    by: str,
    rate_per_s: float | None = None,
    sent: Callable[[DeadLetter], None] = lambda letter: None,
) -> None:
    """Send each to its own topic with the same key, headers and bytes, then remember that.

    Interrupted in between it is sent once more the next time, which its reader's inbox finds out. Raises
    `Reject`, and sends none, when there is one of them that is not what it was.
    """
    for letter in letters:
        if letter.why_not_again is not None:
            raise conflict(
                f"the dead letter {letter.id} cannot be sent again: {letter.why_not_again}",
                value=letter.id,
                cure="its sender sends it once more, in a form that can be read",
            )
    async with _producer(settings) as producer:
        for letter in letters:
            await producer.send_and_wait(
                letter.topic,
                letter.body,
                key=letter.key,
                headers=list(letter.headers),
                partition=letter.partition,
            )
            marks = [(_REDRIVEN, letter.id.encode()), (_REDRIVEN_BY, by.encode())]
            await producer.send_and_wait(
                dead_letters(letter.service).name, None, key=letter.key or letter.id.encode(), headers=marks
            )
            sent(letter)
            if rate_per_s:
                await asyncio.sleep(1 / rate_per_s)


def choose(
    letters: Iterable[DeadLetter],
    *,
    reason: str | None = None,
    type_name: str | None = None,
    since: datetime | None = None,
    again: bool = False,
) -> list[DeadLetter]:
    """Those whose reason and type contain these words, buried since then; redriven ones only `again`."""
    return [
        letter
        for letter in letters
        if (reason is None or reason.lower() in letter.reason.lower())
        and (type_name is None or type_name.lower() in letter.type.lower())
        and (since is None or letter.buried_at >= since)
        and (again or letter.redriven_at is None)
    ]


def _letter(service: str, record: Record, texts: dict[str, str], at: datetime) -> DeadLetter:
    topic, partition, offset = (texts.get(f"{_ABOUT}{name}", "") for name in ("topic", "partition", "offset"))
    headers = tuple(
        (name, value)
        for name, value in without_tokens(record.headers)
        if not name.startswith((_ABOUT, "redriven_"))
    )
    # A broker that forgot counts from 0 again: what it is belongs to its name, too.
    what = hashlib.sha256(repr((topic, partition, offset, record.key, record.value, headers)).encode())
    return DeadLetter(
        id=what.hexdigest()[:12],
        service=service,
        topic=topic,
        partition=_number(partition),
        offset=_number(offset),
        reason=texts.get(f"{_ABOUT}reason", ""),
        buried_at=at,
        key=record.key,
        body=record.value,
        headers=headers,
        original_bytes=texts.get(f"{_ABOUT}bytes"),
        original_sha256=texts.get(f"{_ABOUT}sha256"),
    )


def _number(text: str) -> int:
    fits = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
    return int(text) if fits else _NOWHERE


@asynccontextmanager
async def _producer(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**client_arguments(settings), acks="all", max_request_size=4 * 1024 * 1024)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()
