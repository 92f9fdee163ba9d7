"""Consuming: a batch of records is one transaction, then the offsets; one poison costs one record."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage as InjectedMessage
from faststream.kafka.message import KafkaAckableMessage, KafkaMessage
from sqlalchemy.exc import IntegrityError

from shared.contracts.envelope import Received, Unreadable, receive
from shared.contracts.topics import Topic, dead_letters
from shared.messaging.inbox import Inbox, OtherBytes
from shared.settings import KafkaSettings
from shared.storage.database import Transaction, is_passing

log = logging.getLogger(__name__)

BATCH_RECORDS = 2000
_BACKOFF_MAX_S = 5.0
_RACES_MAX = 3

T = TypeVar("T", bound=Transaction)


class Record(Protocol):
    """What is needed of aiokafka's ConsumerRecord."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Consumer(Generic[T]):
    """Feeds one service's inbox from its topics."""

    def __init__(self, service: str, inbox: Inbox[T], settings: KafkaSettings) -> None:
        self.service = service
        self.inbox = inbox
        self.settings = settings
        self.broker = KafkaBroker(settings.bootstrap_servers, logger=None)
        topics = {message.topic for message in inbox.handlers if hasattr(message, "topic")}
        for topic in sorted(topics, key=lambda topic: topic.name):
            self._subscribe(topic)

    async def start(self) -> None:
        await self.broker.start()

    async def stop(self) -> None:
        await self.broker.stop()

    def _subscribe(self, topic: Topic) -> None:
        subscriber = self.broker.subscriber(
            topic.name,
            group_id=topic.group(self.service),
            batch=True,
            # FastStream sleeps this long once more after an empty poll, so it is half of the latency.
            batch_timeout_ms=5 if self.settings.embedded else 20,
            max_records=BATCH_RECORDS,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            fetch_max_wait_ms=self.settings.fetch_max_wait_ms,
            session_timeout_ms=self.settings.session_timeout_ms,
            heartbeat_interval_ms=max(200, self.settings.session_timeout_ms // 10),
            isolation_level="read_committed",
            parser=_as_it_is,
            decoder=_undecoded,
        )
        subscriber(self._consume)

    async def _consume(self, message: InjectedMessage) -> None:
        records: tuple[Record, ...] = message.raw_message
        await self.take(records)
        consumer: Any = message.consumer
        try:
            await consumer.commit(_next_offsets(records))
        except (KafkaError, IllegalStateError) as error:
            # The partition went to another member meanwhile: it reads these again and skips them.
            log.warning("offsets not committed, the records will be seen again: %s", error)

    async def take(self, records: Sequence[Record]) -> None:
        """Handle records until every one of them is durable; waits while the database is down."""
        good = []
        for record in records:
            try:
                good.append((record, receive(record.headers, record.value)))
            except Unreadable as error:
                await self._bury(record, str(error))
        try:
            await self.inbox.handle_together([received for _, received in good])
        except Exception as error:  # redone record by record, where each kind of error has its place
            log.info("a batch of %d is redone one by one: %r", len(good), error)
            for record, received in good:
                await self._take_alone(record, received)

    async def _take_alone(self, record: Record, received: Received) -> None:
        races = 0
        for delay_s in _backoff():
            try:
                return await self.inbox.handle_alone(received)
            except OtherBytes as error:
                return await self._bury(record, str(error))
            except Exception as error:
                if isinstance(error, IntegrityError) and (races := races + 1) <= _RACES_MAX:
                    continue  # somebody else handled the same message at the same moment
                if not is_passing(error):
                    log.exception("%s could not be handled", received.envelope.type)
                    return await self._bury(record, f"{type(error).__name__}: {error}")
                log.warning("the database does not answer, consuming waits: %s", error)
            await asyncio.sleep(delay_s)
        return None

    async def _bury(self, record: Record, reason: str) -> None:
        """A dead letter: the original bytes and headers, with where it was and what is wrong with it."""
        log.error("dead letter from %s/%d/%d: %s", record.topic, record.partition, record.offset, reason)
        about = {
            "dead_topic": record.topic,
            "dead_partition": str(record.partition),
            "dead_offset": str(record.offset),
            "dead_reason": reason[:4000],
        }
        original = tuple((name, value if value is not None else b"") for name, value in record.headers)
        headers = original + tuple((name, text.encode()) for name, text in about.items())
        for delay_s in _backoff():
            try:
                async with self.inbox.database.transaction() as tx:
                    tx.send_raw(dead_letters(self.service), record.key, record.value, headers)
                    return
            except Exception as error:
                if not is_passing(error):
                    raise
                log.warning("the database does not answer, consuming waits: %s", error)
            await asyncio.sleep(delay_s)


def _next_offsets(records: Sequence[Record]) -> dict[TopicPartition, int]:
    offsets: dict[TopicPartition, int] = {}
    for record in records:
        partition = TopicPartition(record.topic, record.partition)
        offsets[partition] = max(offsets.get(partition, 0), record.offset + 1)
    return offsets


def _backoff() -> Any:
    delay_s = 0.1
    while True:
        yield delay_s * random.uniform(0.5, 1.0)
        delay_s = min(delay_s * 2, _BACKOFF_MAX_S)


async def _as_it_is(records: tuple[Record, ...], parse: Any) -> KafkaMessage:
    """Keep FastStream from decoding headers: one that is not UTF-8 would never reach a handler."""
    batch = parse.__self__
    return KafkaAckableMessage(body=b"", raw_message=records, headers={}, consumer=batch._consumer)


async def _undecoded(message: KafkaMessage) -> bytes:
    return b""
