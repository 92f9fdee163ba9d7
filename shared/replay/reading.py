"""Reading event topics whole, from a broker's fetch straight into what a rebuild needs of each record.

A consumer makes an object of eleven fields of every record and hands it from queue to queue: that is more
than half of what reading an event costs. Here aiokafka's client fetches and its parser reads, with no
consumer between them. What it skips (aborted transactions, control batches) the same code skips here.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, OffsetResetStrategy, PartitionRecords
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from shared import background
from shared.contracts.topics import Topic
from shared.messaging.backoff import delays_s
from shared.messaging.client_arguments import client_arguments
from shared.messaging.lenient_records import Records
from shared.messaging.topic_admin import partition_counts
from shared.replay.told import Told
from shared.settings import KafkaSettings

_PARTITION_BYTES = 1024 * 1024
"""Of one partition in one fetch: with more the bytes leave the processor's caches before they are read."""
_ANSWER_BYTES = 16 * 1024 * 1024
# An empty partition says that it is empty only when the wait is over.
_EMPTY_MS = 20
_READERS = 2
"""Side by side, some partitions each: what the one asked for is looked up while the other's is read."""
_BATCHES_AHEAD = 8
"""Read while the one before is written."""
_GIVE_UP_AFTER_S = 30.0
_NOBODY = -1


Take = Callable[[TopicPartition, int, Any], Told | None]
"""Of a place, its topic's partitions and aiokafka's record the event; None for what is to be passed over."""


async def read_told(
    settings: KafkaSettings, topics: Sequence[Topic], take: Take
) -> AsyncGenerator[list[Told], None]:
    """Every event on the topics now that `take` takes, in order within each partition; a list is never empty.

    Commits nothing and joins no group. Raises what `take` raises, and KafkaError when the broker is not
    there, stays away, or has no such topic.
    """
    counts = await partition_counts(settings, [topic.name for topic in topics])
    for topic in topics:
        if topic.name not in counts:
            raise UnknownTopicOrPartitionError(f"the broker has no topic {topic.name}")
    partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
    client = AIOKafkaClient(**client_arguments(settings))
    try:
        await client.bootstrap()
        await client.set_topics(list(counts))
        taking = partial(_taken, take, counts)
        readers = [_Reader(client, partitions[first::_READERS], taking) for first in range(_READERS)]
        async with aclosing(_ahead(readers)) as batches:
            async for events in batches:
                yield events
    finally:
        await client.close()


async def _ahead(readers: Sequence["_Reader"]) -> AsyncGenerator[list[Told], None]:
    """What these read, while whoever asked is busy with what came before. Raises what reading raises."""
    waiting: asyncio.Queue[list[Told] | None] = asyncio.Queue()
    room = asyncio.Semaphore(_BATCHES_AHEAD)

    async def read(reader: _Reader) -> None:
        while reader.unread():
            if events := await reader.next():
                await room.acquire()
                waiting.put_nowait(events)

    tasks = [asyncio.create_task(read(reader)) for reader in readers]
    reading = asyncio.gather(*tasks)
    reading.add_done_callback(lambda _: waiting.put_nowait(None))
    try:
        while (events := await waiting.get()) is not None:
            room.release()
            yield events
        await reading
    finally:
        for task in tasks:
            if not task.done():
                await background.end(task)


class _Reader:
    """Where each partition stands; its end is the one that it had when it first answered.

    Asked for its end offsets, the embedded broker names the beginning of the last batch: what comes with a
    fetch is right at both brokers.
    """

    def __init__(self, client: AIOKafkaClient, partitions: Iterable[TopicPartition], take: "_TakeAt") -> None:
        self._client = client
        self._take_record = take
        self._partitions = list(partitions)
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}

    def unread(self) -> list[TopicPartition]:
        """The partitions of which something may be left."""
        return [at for at in self._partitions if at not in self._ends or self._left(at)]

    async def next(self) -> list[Told]:
        """What one round of fetches brings, maybe nothing. Raises KafkaError when it fails for long."""
        delays, give_up_at = delays_s(), time.monotonic() + _GIVE_UP_AFTER_S
        while True:
            try:
                return await self._round()
            except KafkaError as error:
                if not error.retriable or time.monotonic() > give_up_at:
                    raise
            await asyncio.sleep(next(delays))
            await self._client.force_metadata_update()

    async def _round(self) -> list[Told]:
        await self._begin([at for at in self.unread() if at not in self._positions])
        asked = self.unread()
        # Of the partitions that come later a broker may leave out what does not fit any more.
        random.shuffle(asked)
        answers = await self._ask(
            [(at, (at.partition, self._positions[at], _PARTITION_BYTES)) for at in asked],
            lambda wanted: FetchRequest(_EMPTY_MS, 1, _ANSWER_BYTES, READ_COMMITTED, wanted, rack_id=""),
        )
        events: list[Told] = []
        failed: list[KafkaError] = []
        for answer in answers:
            for topic, parts in answer.topics:
                for partition, code, _, *rest in parts:
                    at = TopicPartition(topic, partition)
                    try:
                        events += self._take(at, code, rest, answer.API_VERSION)
                    except OffsetOutOfRangeError:
                        # The oldest are gone since we asked where it begins.
                        del self._positions[at]
                    except KafkaError as error:
                        failed.append(error)
        if failed and not events:
            raise failed[0]
        return events

    def _take(self, at: TopicPartition, code: int, rest: Sequence[Any], version: int) -> list[Told]:
        """The events of one partition's share; it stands behind them only if all could be read."""
        if code:
            raise for_code(code)(f"{at.topic}/{at.partition}")
        data, aborted = rest[-1] or b"", rest[2] if version >= 11 else rest[-2]
        begin = self._positions[at]
        events, position = self._read(at, Records(data), aborted, begin)
        self._ends.setdefault(at, rest[0])
        self._positions[at] = position
        return events

    def _read(self, at: TopicPartition, records: Any, aborted: Any, begin: int) -> tuple[list[Told], int]:
        """The events in these records, from the offset `begin` on, and the offset that comes next."""
        share = _Events(
            *(at, records, aborted, begin), None, None, check_crcs=True, isolation_level=READ_COMMITTED
        )
        share.take_record = self._take_record
        return [event for event in share if event is not None], share.next_fetch_offset

    async def _begin(self, partitions: Sequence[TopicPartition]) -> None:
        """Ask where these begin, which is not 0 where old records are gone."""
        answers = await self._ask(
            [(at, (at.partition, OffsetResetStrategy.EARLIEST)) for at in partitions],
            lambda wanted: OffsetRequest(_NOBODY, READ_COMMITTED, wanted),
        )
        for answer in answers:
            for topic, parts in answer.topics:
                for partition, code, *_, offset in parts:
                    if code:
                        raise for_code(code)(f"{topic}/{partition}")
                    self._positions[TopicPartition(topic, partition)] = offset

    async def _ask(self, wanted: Sequence[tuple[TopicPartition, tuple[int, ...]]], request: Any) -> list[Any]:
        """One request to each leader, of the partitions that are its own."""
        by_leader: dict[int, dict[str, list[tuple[int, ...]]]] = {}
        for at, asked in wanted:
            leader = self._client.cluster.leader_for_partition(at)
            if leader is None or leader == _NOBODY:
                raise LeaderNotAvailableError(f"{at.topic}/{at.partition}")
            by_leader.setdefault(leader, {}).setdefault(at.topic, []).append(asked)
        return await asyncio.gather(
            *(self._client.send(leader, request(list(of.items()))) for leader, of in by_leader.items())
        )

    def _left(self, at: TopicPartition) -> bool:
        return at not in self._positions or self._positions[at] < self._ends[at]


_TakeAt = Callable[[TopicPartition, Any], Told | None]


def _taken(take: Take, counts: Mapping[str, int], at: TopicPartition, record: Any) -> Told | None:
    return take(at, counts[at.topic], record)


class _Events(PartitionRecords):  # type: ignore[misc]
    """aiokafka's reading of a partition's share of a fetch, with `Told` for its records."""

    take_record: _TakeAt

    def _consumer_record(self, tp: TopicPartition, record: Any) -> Told | None:
        return self.take_record(tp, record)
