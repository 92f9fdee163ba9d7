"""Consuming: a batch of records is one transaction, then the offsets; one poison costs one record."""

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from shared import background
from shared.contracts.envelope import Received, Unreadable
from shared.contracts.topics import Topic, in_pool
from shared.errors import Retry
from shared.identity import proofs as services
from shared.identity import tokens as people
from shared.messaging.backoff import delays_s
from shared.messaging.client_arguments import faststream_arguments
from shared.messaging.connection_faults import broker_fault
from shared.messaging.dead_letters import bury
from shared.messaging.embedded_fetches import fetch_when_sent
from shared.messaging.inbox import MISTAKES, Inbox, Stumbled, reason_of
from shared.messaging.lenient_records import read_all_names
from shared.messaging.offsets import Offsets, commit_when_due
from shared.messaging.patience import until_done
from shared.messaging.people import People, Unproven
from shared.messaging.portions import portions
from shared.messaging.progress import Progress, Stuck, broker_answers
from shared.messaging.record import Record
from shared.messaging.record_reader import Read, Readable, RecordReader
from shared.messaging.turns import Turns
from shared.messaging.unproven import settle
from shared.settings import KafkaSettings
from shared.storage.database import Transaction, is_passing
from shared.telemetry.metrics import PROOFS_REFUSED

log = logging.getLogger(__name__)

BATCH_RECORDS = 2000
BATCH_WITHIN_S = 60.0
"""A batch that takes longer waits for something: its service is not ready meanwhile."""
_LANES = 2
"""Batches side by side: one is decided while another is being committed. A Project has the same partition in
every topic, so what is done side by side never concerns the same one."""
_POLL_MS = 1000
_STOP_WITHIN_S = 5.0

T = TypeVar("T", bound=Transaction)


class Consumer(Generic[T]):
    """Feeds one service's inbox from its topics.

    Each topic has a FastStream subscriber, which owns the connection and the place in the group, and a loop
    of ours over it: FastStream's own sleeps deaf after each empty poll, and drops what its handler raises.

    `instance` names this process among those of its service, the same over restarts: the group knows it by
    that name, and gives it its partitions back at once instead of after the session timeout. `proofs` knows
    the services' public keys and `tokens` those of people's tokens: a message without the proof that it needs
    is put aside or refused before anything else.
    With a `pool` that pool's own topics are read.
    """

    def __init__(
        self,
        service: str,
        inbox: Inbox[T],
        settings: KafkaSettings,
        instance: str | None = None,
        proofs: services.Verifier = services.NOBODY,
        tokens: people.TokenVerifier = people.NOBODY,
        pool: str | None = None,
    ) -> None:
        self.service = service
        self.inbox = inbox
        self.settings = settings
        self._people = People(tokens, broker_dates=not settings.embedded, service=service)
        self._reader = RecordReader(service, inbox.handlers, proofs, self._people)
        read_all_names()
        # The embedded broker forgets its groups with everything else.
        self._instance = None if settings.embedded else instance
        # A topic made by being read would have the wrong number of partitions for good.
        self.broker = KafkaBroker(
            **faststream_arguments(settings), logger=None, allow_auto_create_topics=False, client_id=service
        )
        topics = {in_pool(message.topic, pool) for message in inbox.handlers if hasattr(message, "topic")}
        self._subscribers = [self._subscriber(topic) for topic in sorted(topics, key=lambda each: each.name)]
        self._task: asyncio.Task[None] | None = None
        self._lanes = [Turns(self._take_read) for _ in range(_LANES)]
        self._under_way: dict[TopicPartition, tuple[int, float]] = {}
        """The first offset of what is being handled, and when it was read by the monotonic clock."""

    async def start(self) -> None:
        """Returns at once: a broker or a topic that is not there yet is waited for."""
        self._task = asyncio.create_task(self._run(), name=f"consumer of {self.service}")

    async def until_broken(self) -> BaseException | None:
        """Returns what ended consuming for good: `Stuck`, or a bug. A new process may help."""
        assert self._task is not None, "it was not started"
        await asyncio.wait({self._task})
        return self._task.exception()

    async def stop(self) -> None:
        """A batch under way is left undone; whoever reads it next does it."""
        await background.end(self._task)
        if self._task is not None:
            await self.broker.stop()
        self._task = None

    async def take(self, records: Sequence[Record]) -> None:
        """Handle records until every one of them is durable; waits while the database is down."""
        await self._take_read(await self._reader.read_all(records))

    async def _take_read(self, batch: Sequence[Read]) -> None:
        bad = [(record, found) for record, found in batch if isinstance(found, Unreadable)]
        good = [(record, found) for record, found in batch if isinstance(found, Received)]
        unproven = [(record, found) for record, found in batch if isinstance(found, Unproven)]
        async with asyncio.TaskGroup() as group:  # valid records do not wait for malformed ones
            if good:
                group.create_task(self._take_together(good))
            if bad:
                group.create_task(self._bury(bad))
            if unproven:
                group.create_task(self._take_unproven(unproven))

    async def _take_unproven(self, unproven: Sequence[tuple[Record, Unproven]]) -> None:
        """Refuse them, but for what was proven before it was put aside, and comes again."""
        for portion in portions(unproven):
            try:
                known = await until_done(partial(settle, self.inbox, portion))
            except Exception as error:  # a bug in answering one must not stop the others for good
                log.exception("%d unproven commands could not be answered", len(portion))
                await self._bury([(record, error) for record, _ in portion])
            else:
                await self._take_together(known)

    async def _bury(self, letters: Sequence[tuple[Record, Exception]]) -> None:
        for some in portions(letters):
            refused = [error for _, error in some if isinstance(error, services.ProofRefused)]
            PROOFS_REFUSED.labels(self.service).inc(len(refused))
            reasons = [(record, reason_of(error)) for record, error in some]
            await until_done(partial(bury, self.inbox.database, reasons, self._people.sender))

    def trouble(self) -> str | None:
        """Why this consumer gets nowhere, or None when it does."""
        if self._task is None or self._task.done():
            return "consumer: not running"
        longest_s = time.monotonic() - min((began for _, began in self._under_way.values()), default=math.inf)
        if longest_s > BATCH_WITHIN_S:
            return f"consumer: the same batch has been under way for {longest_s:.0f} s"
        return None

    async def lags(self) -> dict[TopicPartition, int]:
        """Records of each partition that is ours which are not handled yet, as far as the broker has told."""
        lags: dict[TopicPartition, int] = {}
        for subscriber in self._subscribers:
            if (reading := subscriber.consumer) is None:
                continue
            for partition in reading.assignment():
                end = reading.highwater(partition)
                if end is not None:
                    first, _ = self._under_way.get(partition) or (await reading.position(partition), 0)
                    lags[partition] = end - first
        return lags

    async def _run(self) -> None:
        for delay_s in delays_s():
            try:
                await self.broker.connect()
                break
            except (KafkaError, OSError) as error:
                why = await broker_fault(self.settings) or error
                log.warning("the broker does not answer, consuming waits: %s", why)
                await self.broker.stop()
            await asyncio.sleep(delay_s)
        try:
            async with asyncio.TaskGroup() as group:
                for subscriber in self._subscribers:
                    group.create_task(self._consume(subscriber))
        except ExceptionGroup as broken:
            raise broken.exceptions[0] from broken

    def _subscriber(self, topic: Topic) -> Any:
        return self.broker.subscriber(
            topic.name,
            group_id=topic.group(self.service),
            group_instance_id=self._instance,
            batch=True,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            fetch_max_wait_ms=self.settings.fetch_max_wait_ms,
            session_timeout_ms=self.settings.session_timeout_ms,
            heartbeat_interval_ms=self.settings.heartbeat_interval_ms,
            isolation_level="read_committed",
        )

    async def _consume(self, subscriber: Any) -> None:
        """Read one topic for as long as the service runs; what breaks is made anew. Raises `Stuck`."""
        delays = delays_s()
        while True:
            try:
                await subscriber.start()
                if self.settings.embedded:
                    fetch_when_sent(subscriber.consumer, subscriber.topic_names[0])
                delays = delays_s()
                await self._poll(subscriber.consumer)
            except Stuck:
                raise
            except Exception as error:
                log.warning("consuming %s begins anew: %r", subscriber.topic_names, error)
            finally:
                await _stop(subscriber)
            await asyncio.sleep(next(delays))

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        progress = Progress(consumer, self.settings.stuck_after_s, partial(broker_answers, self.settings))
        offsets = Offsets(consumer)
        try:
            while True:
                wait_ms = min(_POLL_MS, math.ceil(offsets.due_within_s() * 1000))
                polled = await consumer.getmany(timeout_ms=wait_ms, max_records=BATCH_RECORDS)
                if not any(polled.values()):
                    await progress.check()
                else:
                    await self._take_polled(polled)
                    offsets.handled(polled)
                await commit_when_due(offsets, progress)
        finally:
            await offsets.leave()

    async def _take_polled(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> None:
        under_way = {at: (first[0].offset, time.monotonic()) for at, first in polled.items() if first}
        self._under_way |= under_way
        try:
            lanes = await self._by_lane(polled)
            await asyncio.gather(*(self._lanes[lane].take(batch) for lane, batch in lanes))
        finally:
            for partition in under_way:
                del self._under_way[partition]

    async def _by_lane(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> list[tuple[int, list[Read]]]:
        # Read before its turn comes: that costs no time while another batch is being committed.
        lanes: dict[int, list[Read]] = {}
        for at, records in polled.items():
            lanes.setdefault(at.partition % _LANES, []).extend(await self._reader.read_all(records))
        return list(lanes.items())

    async def _take_together(self, good: Sequence[Readable]) -> None:
        """One transaction for all. What breaks it is known, or found by halving: it alone is redone alone."""
        delays = delays_s()
        parts = [good]
        while parts:
            part = parts.pop(0)
            if len(part) == 1:
                await self._take_alone(*part[0])
                continue
            try:
                await self.inbox.handle_together([received for _, received in part])
                delays = delays_s()
            except Stumbled as error:
                log.info("a batch of %d is redone around one: %r", len(part), error.__cause__)
                at = next(number for number, (_, one) in enumerate(part) if one is error.received)
                parts[:0] = [some for some in (part[:at], part[at : at + 1], part[at + 1 :]) if some]
            except Exception as error:  # redone in smaller parts, down to one, where each kind has its place
                log.info("a batch of %d is redone in halves: %r", len(part), error)
                parts[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
                if is_passing(error):
                    await asyncio.sleep(next(delays))

    async def _take_alone(self, record: Record, received: Received) -> None:
        async def handle() -> None:
            try:
                await self.inbox.handle_alone(received)
            except Exception as error:
                if is_passing(error) or isinstance(error, Retry):
                    raise
                if not isinstance(error, MISTAKES):
                    log.exception("%s could not be handled", received.envelope.type)
                await self._bury([(record, error)])

        await until_done(handle)


async def _stop(subscriber: Any) -> None:
    try:
        async with asyncio.timeout(_STOP_WITHIN_S):
            await subscriber.stop()
    except Exception as error:  # it is given up anyway; the group notices by itself
        log.warning("%s could not be left in order: %r", subscriber.topic_names, error)
