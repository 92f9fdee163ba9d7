"""Traps of FastStream, aiokafka and SQLModel into which this design must not fall, each by its name.

Those that another test of this folder shuts: ACK_FIRST's lost message (killed processes), ACK's dropped
failures, a header that is not UTF-8 or null, a body without content type and `reply_to` (poison), a broker
that is absent at the start or for a while (faults), commits of positions instead of offsets (offsets).
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import OutOfOrderSequenceNumber
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from sqlalchemy import select

from local.ports import free_port
from shared.contracts.header_names import without_tokens
from shared.contracts.releases import PublishRelease
from shared.contracts.topics import RELEASE_COMMANDS, Topic
from shared.errors import Reject
from shared.messaging.consumer import Consumer
from shared.messaging.inbox import Inbox
from shared.messaging.offsets import COMMIT_EVERY_S, Offsets, commit_when_due
from shared.messaging.progress import Progress, Stuck, broker_answers
from shared.messaging.publisher import publishing
from shared.messaging.relay import Relay
from shared.messaging.topic_admin import partition_counts
from shared.settings import KafkaSettings
from shared.storage.database import Database
from shared.storage.tables import InboxRow, OutboxRow
from tests.brokers.place import Place, Wire, eventually, header, versions
from tests.brokers.tiny_service import BUGGY, LIBRARY, program, publish, wire
from tests.support.keys import VERIFIER


async def test_nack_on_error_one_poison_runs_15446_times(place: Place) -> None:
    tries = 0

    async def count(command: PublishRelease) -> None:
        nonlocal tries
        tries += 1
        raise RuntimeError("a bug behind the first statement")

    async with place.service(count).running() as service:
        await place.send(place.commands([1]))
        [letter] = await eventually(place.dead, lambda dead: len(dead) == 1)
        await eventually(service.unsent, lambda unsent: unsent == 0)
    assert tries == 1
    assert letter.key == place.name.encode()


async def test_ack_commits_every_assigned_position(place: Place) -> None:
    """Explicit offsets: what was fetched behind the batch under way is not committed with it."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(command: PublishRelease) -> None:
        if command.version == versions([1])[0]:
            reached.set()
            await go_on.wait()

    before = await place.committed()
    async with place.service(hold).running():
        await place.send(place.commands([0]))
        await eventually(place.committed, lambda offsets: offsets == before + 1)
        await place.send(place.commands([1]))
        await reached.wait()
        await place.send(place.commands(range(2, 20)))
        assert await place.committed() == before + 1
        go_on.set()
        await eventually(place.committed, lambda offsets: offsets == before + 20)


async def test_publish_batch_overflows_at_16_kb(place: Place) -> None:
    """The outbox sends a thousand rows, and rows of nearly a megabyte, whatever a batch holds."""
    service = place.service()
    big = b"x" * 900_000
    async with service.database.transaction() as tx:
        for number in range(1500):
            key, body, headers = wire(publish(place.name, number), f"{place.name}/{number}")
            tx.send_raw(RELEASE_COMMANDS, key, body, headers)
        tx.send_raw(RELEASE_COMMANDS, b"big", big, ())
    await service.relay.start()
    await eventually(service.unsent, lambda count: count == 0)
    await service.relay.stop()
    await service.database.close()


async def test_a_message_too_large_for_its_topic_never_reaches_the_outbox(place: Place) -> None:
    huge = PublishRelease(
        actor=LIBRARY.model_copy(update={"projects": ("p" * 60,) * 20_000}),
        system=place.name,
        version=BUGGY,
        package="0" * 64,
    )
    service = place.service()
    with pytest.raises(Reject, match="can be sent"):
        async with service.database.transaction() as tx:
            tx.send(huge)
    assert await service.unsent() == 0
    await service.database.close()


async def test_blocking_the_event_loop_past_the_session_timeout(place: Place) -> None:
    """The group gives the partition away and the message comes again: it counts once, and is committed."""
    blocked = 0

    async def block(command: PublishRelease) -> None:
        nonlocal blocked
        blocked += 1
        if blocked == 1:
            time.sleep(place.settings.session_timeout_ms / 1000 * 1.5)  # noqa: ASYNC251  the trap itself

    before = await place.committed()
    async with place.service(block).running() as service:
        await place.send(place.commands(range(3)))
        await eventually(place.committed, lambda offsets: offsets == before + 3)
        assert await service.counted(place.name) == versions(range(3))


async def test_aiokafkas_defaults_are_all_overridden(place: Place) -> None:
    async with publishing(place.settings) as publisher:
        sent: Any = publisher.producer._sender
        assert sent._acks == -1
        assert (sent._txn_manager is not None) is not place.settings.embedded
    async with place.service().running() as service:
        [subscriber] = service.consumer._subscribers
        options: Any = subscriber._connection_args
    assert options["auto_offset_reset"] == "earliest"
    assert options["isolation_level"] == "read_committed"
    assert options["enable_auto_commit"] is False


async def test_a_rebalance_while_a_handler_works_gives_commit_failed(place: Place) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(command: PublishRelease) -> None:
        reached.set()
        await go_on.wait()

    before = await place.committed()
    async with place.service(hold).running() as first:
        await place.send(place.commands(range(10)))
        await reached.wait()
        async with place.service().running():
            go_on.set()
            await eventually(place.committed, lambda offsets: offsets == before + 10)
            assert await first.counted(place.name) == versions(range(10))


async def test_a_killed_member_has_its_partitions_again_before_its_session_is_over(
    kafka_place: Place,
) -> None:
    """By static membership: without it, the partitions lie idle until the dead member is given up."""
    place = kafka_place
    place.settings = place.settings.model_copy(update={"session_timeout_ms": 20_000})
    reader = place.service()
    for number in range(2):
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(*program(place.name, place.url, place.settings, "one"))
        try:
            await place.send(place.commands([number]))
            await eventually(partial(reader.counted_at_least, place.name, number + 1), bool)
        finally:
            process.kill()
            await process.wait()
    assert time.monotonic() - began < 15
    await reader.database.close()


@pytest.mark.parametrize(
    "codec", [_DefaultRecordBatchBuilderPy.CODEC_NONE, _DefaultRecordBatchBuilderPy.CODEC_GZIP]
)
async def test_a_header_name_that_is_not_utf_8_costs_one_record(place: Place, codec: int) -> None:
    """aiokafka raises at it and fetches it again, for good, and with it what lies beside it in its batch."""
    key, body, headers = place.commands([7])[0]
    names = ["größe", "ce_ü"]
    unreadable = (key, body, [*headers, (Latin1(names[0]), b"\xff"), (Latin1(names[1]), None)])
    async with place.service().running() as service:
        await send_in_one_batch(
            place.settings, [*place.commands([0]), unreadable, *place.commands([1]), unreadable], codec
        )
        dead = await eventually(place.dead, lambda dead: len(dead) == 2)
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) == 2)
    for letter in dead:
        assert (letter.key, letter.value) == (key, body)
        assert list(letter.headers)[:-5] == [
            *without_tokens(headers),
            (r"gr\xf6\xdfe", b"\xff"),
            (r"ce_\xfc", None),
        ]
        kept = [b64decode(name).decode("latin-1") for name in json.loads(header(letter, "dead_header_names"))]
        assert kept == [*(name for name, _ in without_tokens(headers)), *names]
        assert r"'gr\udcf6\udcdfe' is not UTF-8" in header(letter, "dead_reason")


class Latin1(str):
    """A header's name that goes over the wire as no UTF-8."""

    def encode(self, *_: object) -> bytes:
        return super().encode("latin-1")


async def send_in_one_batch(settings: KafkaSettings, records: Sequence[Wire], codec: int) -> None:
    """As a client does that does not look at names: aiokafka's own fast one takes none but UTF-8."""
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all") as producer:
        batch: Any = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(
            2,
            codec,
            is_transactional=0,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=0,
            batch_size=1 << 20,
        )
        for key, body, headers in records:
            batch.append(timestamp=None, key=key, value=body, headers=list(headers))
        await (await producer.send_batch(batch, RELEASE_COMMANDS.name, partition=0))


class StandingStill:
    """A consumer that has a partition, and to which nothing comes."""

    def __init__(self, end: int) -> None:
        self.end = end

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("releases", 0)}

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.end)

    async def position(self, partition: TopicPartition) -> int:
        return 7


async def test_stuck_consumers_after_a_rebalance_are_noticed() -> None:
    progress = Progress(cast(AIOKafkaConsumer, StandingStill(end=9)), 0, answering)
    await progress.check()
    with pytest.raises(Stuck, match="stands at 7 of 9"):
        await progress.check()


class Unanswered(StandingStill):
    """A consumer whose connection waits for what will not come."""

    async def commit(self, offsets: object) -> None:
        await asyncio.Event().wait()


async def answering() -> bool:
    return True


async def test_two_outages_in_a_row_leave_a_consumer_deaf() -> None:
    """Its member is given up, and its commit waits in aiokafka for good."""
    consumer = cast(AIOKafkaConsumer, Unanswered(end=8))
    there = iter((True, False, True, True))

    async def perhaps() -> bool:
        return next(there)

    offsets, progress = Offsets(consumer, commit_within_s=0.01), Progress(consumer, 15, perhaps)
    [partition] = consumer.assignment()
    offsets.handled({partition: [SimpleNamespace(offset=6)]})
    for _ in range(3):
        offsets._committed_at_s -= COMMIT_EVERY_S
        await commit_when_due(offsets, progress)
    offsets._committed_at_s -= COMMIT_EVERY_S
    with pytest.raises(Stuck, match="not this consumer"):
        await commit_when_due(offsets, progress)
    assert offsets._next == {partition: 7}


async def test_whether_the_broker_answers_is_asked_anew(place: Place) -> None:
    assert await broker_answers(place.settings)
    nobody = place.settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    assert not await broker_answers(nobody)


async def test_a_consumer_that_has_read_all_is_not_stuck() -> None:
    progress = Progress(cast(AIOKafkaConsumer, StandingStill(end=7)), 0, answering)
    for _ in range(3):
        await progress.check()


async def test_out_of_order_sequence_needs_a_new_producer(place: Place) -> None:
    """Whatever the relay stumbles over, it makes its producer anew and goes on."""
    service = place.service()
    relay = BreakingOnce(service.database, place.settings)
    async with service.database.transaction() as tx:
        tx.send(publish(place.name, 1))
    await relay.start()
    await eventually(service.unsent, lambda count: count == 0)
    await relay.stop()
    await service.database.close()
    assert len(relay.producers) == 2


class BreakingOnce(Relay):
    """A relay whose first chunk fails as aiokafka #1017 does."""

    def __init__(self, database: Database[Any], settings: KafkaSettings) -> None:
        super().__init__(database, settings)
        self.producers: set[Any] = set()

    async def _relay(self, publisher: Any, driver: Any) -> None:
        self.producers.add(publisher.producer)
        if len(self.producers) == 1:
            raise OutOfOrderSequenceNumber("sequence 5, expected 3")
        await super()._relay(publisher, driver)


class Hanging(Relay):
    """A relay that leads, and comes to a stop in the middle of its first chunk."""

    def __init__(self, database: Database[Any], settings: KafkaSettings) -> None:
        super().__init__(database, settings, hung_after_s=1)
        self.hangs = asyncio.Event()

    async def _relay(self, publisher: Any, driver: Any) -> None:
        self.hangs.set()
        await asyncio.Event().wait()


async def test_a_leader_that_hangs_loses_its_place(kafka_place: Place) -> None:
    """Its process lives, and so would its session and the lock in it: the outbox would wait for good."""
    service = kafka_place.service()
    leader = Hanging(service.database, kafka_place.settings)
    await leader.start()
    await leader.hangs.wait()
    async with service.database.transaction() as tx:
        tx.send(publish(kafka_place.name, 1))
    await service.relay.start()
    await eventually(service.unsent, lambda count: count == 0)
    for relay in (service.relay, leader):
        await relay.stop()
    await service.database.close()


async def test_topics_are_not_made_by_being_read(kafka_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is missing is waited for, and has the partitions that it was made with."""
    place = kafka_place
    topic = Topic(f"upgrades.late-{place.name}.commands.v1", "system", -1)

    class LatePublish(PublishRelease):
        pass

    LatePublish.topic = topic
    service = place.service()
    inbox = Inbox(service.database, {PublishRelease: service.publish, LatePublish: service.publish})
    service.consumer = Consumer(service.name, inbox, place.settings, tokens=VERIFIER)
    async with service.running():
        await place.send(place.commands([0]))
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) == 1)
        assert await partition_counts(place.settings, [topic.name]) == {}
        admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.bootstrap_servers)
        await admin.start()
        await admin.create_topics([NewTopic(topic.name, 3, 1)])
        await admin.close()
        monkeypatch.setattr(PublishRelease, "topic", topic)
        await place.send(place.commands([1]), topic)
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) == 2)
        assert await partition_counts(place.settings, [topic.name]) == {topic.name: 3}


async def test_sqlmodel_table_true_skips_validation_and_edits_in_place_are_not_saved(place: Place) -> None:
    """So rows are written whole, by statements: what is kept is what the transaction said."""
    service = place.service()
    async with service.database.transaction() as tx:
        tx.send(publish(place.name, 1))
        await tx.write()
        row = (await tx.session.execute(select(OutboxRow))).scalars().one()
        assert [
            "ce_subject",
            b64encode(place.name.encode()).decode(),
        ] in row.headers  # loaded, and readable after the commit: nothing is lazy
        assert InboxRow.__table__.c.verdict.nullable is False  # type: ignore[attr-defined]
    assert row.topic == RELEASE_COMMANDS.name
    await service.database.close()
