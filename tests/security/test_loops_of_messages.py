"""The nastiest that a topic may hold, through the readers and writers of messages, while their loop runs on.

Each test would catch work on a whole batch, or on one record of it, between which nothing else is done.
"""

import itertools
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from local.broker import EmbeddedBroker
from shared.contracts.envelope import ALL_HEADERS_MAX, Unreadable, receive
from shared.contracts.header_names import TOKEN
from shared.contracts.json_shape import MESSAGE_VALUES_MAX, has_more_values
from shared.contracts.releases import PublishRelease, ReleasePublished
from shared.contracts.stages import StageFinished
from shared.contracts.topics import dead_letters
from shared.contracts.values import Message
from shared.errors import Reject
from shared.messaging.compressed_batches import UNREAD
from shared.messaging.dead_letters import _letter
from shared.messaging.lenient_records import Records
from shared.messaging.portions import portions
from shared.messaging.relay import Relay
from shared.messaging.topic_admin import create_topics
from shared.replay.dead_letters import read_dead_letters
from shared.settings import KafkaSettings
from shared.storage.messages import require_sendable, stored_headers
from tests.brokers.place import eventually
from tests.conftest import ServiceDatabase
from tests.messaging.counting import Kept, kept
from tests.security.test_loop_stalls import STALL_S_MAX, no_stall
from tests.security.test_loops_of_services import _built

HEADERS = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1"),
    ("ce_source", b"/x"),
    ("ce_type", b"upgrades.PublishRelease.v1"),
    ("ce_time", b"2026-01-01T00:00:00Z"),
]


def _body(before: bytes, item: bytes, after: bytes, size: int) -> bytes:
    """A JSON text of about `size` bytes that repeats an item, in which %d is its number."""
    numbered = item if b"%d" in item else None
    count = size // (len(item) + 4)
    items = [item % number for number in range(count)] if numbered else [item] * count
    return before + b",".join(items) + after


SHAPES = {
    "lists in lists": (b'{"actor":[', b"[[[]]]", b"]}"),
    "objects with lists": (b'{"actor":{', b'"%d":[{}]', b"}}"),
    "unknown keys": (b"{", b'"%d":1', b"}"),
    "one key again and again": (b"{", b'"":1', b"}"),
    "numbers": (b'{"actor":[', b"1", b"]}"),
    "objects for results": (b'{"outcome":{"kind":"failed","results":[', b'{"a":{}}', b"]}}"),
    "long numbers": (b'{"actor":[', b"9" * 4000, b"]}"),
    "escapes": (b'{"actor":"', b"\\u0041" * 500, b'"}'),
    "half pairs": (b'{"actor":"', b"\\ud800" * 500, b'"}'),
}
_TRIES = 4
MODELS: tuple[type[Message], ...] = (PublishRelease, ReleasePublished, StageFinished)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_body_of_any_shape_is_unreadable_at_once(model: type[Message], shape: str) -> None:
    """A megabyte of empty lists took a second, a batch of larger ones ten."""
    headers: list[tuple[str, bytes | None]] = [
        *HEADERS[:3],
        ("ce_type", model.type_name().encode()),
        HEADERS[4],
    ]
    for size in (200_000, 1_000_000, 4_000_000):
        body = _body(*SHAPES[shape], size)
        assert min(_took_s(headers, body) for _ in range(_TRIES)) < STALL_S_MAX


def _took_s(headers: list[tuple[str, bytes | None]], body: bytes) -> float:
    """Seconds of CPU until it is unreadable. Beside other work each takes longer, so the least counts."""
    began = time.thread_time()
    with pytest.raises(Unreadable):
        receive(headers, body)
    return time.thread_time() - began


@pytest.mark.parametrize("text", ["a,b[{" * 20_000, '\\",' * 20_000, "\\\\"])
def test_signs_in_a_text_are_no_values(text: str) -> None:
    """A changelog of commas is one value; would catch a count that refuses it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    assert not has_more_values(b'{"text":"%b","more":[1,2]}' % escaped.encode(), 10)


def test_what_no_service_would_read_is_not_sent() -> None:
    """It would be a dead letter at each of its readers, and its Run would wait for ever."""
    with pytest.raises(Reject, match="more than the 30000 values"):
        require_sendable("a message", b"[" + b"1," * MESSAGE_VALUES_MAX + b"1]", 1 << 20)
    require_sendable("a message", b"[" + b"1," * (MESSAGE_VALUES_MAX - 2) + b"1]", 1 << 20)


def _many_headers(count: int) -> list[tuple[str, bytes | None]]:
    return [*HEADERS, *[("x", b"")] * count]


def _stripped(record: Kept) -> Kept:
    headers = [header for header in record.headers if header[0] != TOKEN]
    return Kept(record.key, record.value, headers, record.offset)


def _forged(record: Kept) -> Kept:
    headers = [
        (name, (value or b"")[:-8] + b"AAAAAAAA" if name == TOKEN else value)
        for name, value in record.headers
    ]
    return Kept(record.key, record.value, headers, record.offset)


def _batches() -> dict[str, list[Kept]]:
    commands = [kept("1.0.0", number, str(number)) for number in range(1_000)]
    return {
        "no JSON": [Kept(b"k", b"no JSON", HEADERS, number) for number in range(2_000)],
        "no token": [_stripped(command) for command in commands],
        "a forged token": [_forged(command) for command in commands],
        "many headers": [
            Kept(b"k", b"{}", _many_headers(ALL_HEADERS_MAX - 5), number) for number in range(500)
        ],
        "large": [Kept(b"k", b"x" * (1 << 20), HEADERS, number) for number in range(30)],
        "objects": [
            Kept(b"k", _body(*SHAPES["objects with lists"], 3_000_000), HEADERS, number)
            for number in range(4)
        ],
        "good, of nobody's System": commands[:500],
    }


async def test_no_batch_stalls_a_consumer(service_database: ServiceDatabase, tmp_path: Path) -> None:
    """2,000 records of 200 headers took 0.8 s, 2,000 without a token 0.4 s; all of them are answered."""
    url = await service_database("registry")
    async with _built("registry", url, tmp_path) as (service, _):
        answered = 0
        for partition, (name, batch) in enumerate(_batches().items()):
            for record in batch:
                record.partition = partition
            async with no_stall():
                await service.consumer.take(batch)
            answered += len(batch)
            async with service.database.transaction() as tx:
                [[seen]] = await tx.fetch(
                    "select (select count(*) from outbox)"
                    " + (select count(*) from inbox where source like '/topic/%')"
                )
            assert seen >= answered, name


def _raw(records: Iterable[tuple[bytes, bytes, Sequence[tuple[str, bytes | None]]]], codec: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=1 << 28,
    )  # fmt: skip
    for number, (key, value, headers) in enumerate(records):
        builder.append(number, 0, key, value, headers)
    return bytes(builder.build())


@pytest.mark.parametrize(
    ("count", "codec", "name"), [(300_000, 0, b"n"), (300_000, 0, b"\xff"), (4_000_000, 1, b"n")]
)
def test_a_record_of_many_headers_is_not_taken_apart(count: int, codec: int, name: bytes) -> None:
    """14 KB that expand to seven million headers took a second, and each of them is looked at afterwards."""
    plain = (b"k", b"v", [("a", b"1")])
    data = _raw([plain, (b"k", b"v" * 300, [("n", None)] * count), plain], codec)
    data = data.replace(b"\x02n\x01", b"\x02" + name + b"\x01")
    began = time.thread_time()
    first, many, last = Records(data).next_batch()
    assert time.thread_time() - began < STALL_S_MAX
    assert (first.headers, last.headers) == ([("a", b"1")], [("a", b"1")])
    assert (many.key, many.value, many.offset) == (b"k", b"v" * 300, 1)
    [(unread, reason)] = many.headers
    assert unread == UNREAD
    assert b"%d headers, at most %d are read" % (count, ALL_HEADERS_MAX) in reason


def test_as_many_headers_as_are_read_are_read() -> None:
    records = [(b"k", b"v", [("n", b"1")] * ALL_HEADERS_MAX)] * 3
    found = list(Records(_raw(records, 0)).next_batch())
    assert [len(one.headers) for one in found] == [ALL_HEADERS_MAX] * 3


@pytest.mark.parametrize("size", [15 << 20, 20 << 20], ids=["read", "too large"])
def test_a_fetch_of_many_bombs_is_read_in_portions_and_none_is_lost(size: int) -> None:
    """Each is bounded, and a fetch of a megabyte holds sixty-four: together they took a gigabyte."""
    bomb = _raw([(b"k", b"x" * size, [])], 1)
    bombs = [struct.pack(">q", number) + bomb[8:] for number in range(9)]
    offsets: list[int] = []
    while len(offsets) < len(bombs):
        share = PartitionRecords(
            TopicPartition("t", 0),
            Records(b"".join(bombs[len(offsets) :])),
            None,
            len(offsets),
            None,
            None,
            True,
            0,
        )
        portion = list(share)
        assert 1 <= len(portion) <= 3
        offsets += [record.offset for record in portion]
        assert share.next_fetch_offset == len(offsets)
    assert offsets == list(range(len(bombs)))


@pytest.mark.parametrize("count", [ALL_HEADERS_MAX, ALL_HEADERS_MAX + 10])
def test_a_letter_of_many_headers_says_where_it_was_and_why(count: int) -> None:
    """A letter has more headers than its record; one that nobody reads whole has lost its reason."""
    kept = Kept(b"k", b"v", [(f"n{number}", b"1") for number in range(count)], 7)
    key, value, headers = _letter(kept, "because")
    (read,) = list(Records(_raw([(key or b"", value or b"", headers)], 0)).next_batch())
    found = dict(read.headers)
    assert (found["dead_reason"], found["dead_offset"]) == (b"because", b"7")
    assert sum(name.startswith("n") for name in found) == ALL_HEADERS_MAX
    assert ("dead_bytes" in found) == (count > ALL_HEADERS_MAX)


def test_portions_leave_nothing_out() -> None:
    """Would catch a record at the seam of two portions that nobody handles."""
    sizes = itertools.cycle([0, 1, 5 << 20, 100])
    records = [
        (Kept(b"k", b"x" * next(sizes), [("a", None)] * (number % 9_000), number), number)
        for number in range(0, 9_000, 17)
    ]
    made = list(portions(records))
    assert [one for portion in made for one in portion] == records
    assert all(made)
    assert len(made) > 10


async def test_neither_a_relay_nor_a_reader_of_dead_letters_stalls(
    service_database: ServiceDatabase, tmp_path: Path
) -> None:
    """A crash leaves rows in the outbox that are read a thousand at once, with all of their headers."""
    letters = 600
    headers = stored_headers([*_many_headers(ALL_HEADERS_MAX - 20), ("dead_topic", b"t")])
    url = await service_database("registry")
    async with _built("registry", url, tmp_path) as (service, _), EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, embedded=True)
        await create_topics(settings)
        async with service.database.transaction() as tx:
            await tx.fetch(
                "insert into outbox (topic, key, body, headers, epoch)"
                " select $1, 'k', convert_to(n || repeat('x', 10000), 'UTF8'), $2::text::json, 0"
                " from generate_series(1, $3) n",
                *(dead_letters("registry").name, headers, letters),
            )
        relay = Relay(service.database, settings)

        async def left() -> int:
            async with service.database.transaction() as tx:
                [[count]] = await tx.fetch("select count(*) from outbox")
                return int(count)

        async with no_stall():
            await relay.start()
            await eventually(left, lambda count: count == 0)
        await relay.stop()
        async with no_stall():
            assert len(await read_dead_letters(settings, "registry")) == letters
