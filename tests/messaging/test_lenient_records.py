"""What aiokafka can read is read alike by our own reader, and what it cannot is read besides."""

import gzip
import tracemalloc
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.header_names import is_text, to_bytes
from shared.messaging.compressed_batches import BATCH_BYTES_MAX, UNREAD, expanded, is_compressed
from shared.messaging.lenient_records import Records, _all_records

FIELDS = st.none() | st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.text(max_size=10), FIELDS), max_size=4)
RECORDS = st.lists(st.tuples(st.integers(0, 2**41), FIELDS, FIELDS, HEADERS), min_size=1, max_size=8)
BUILDER = _DefaultRecordBatchBuilderPy
CODECS = st.sampled_from(
    [BUILDER.CODEC_NONE, BUILDER.CODEC_GZIP, BUILDER.CODEC_SNAPPY, BUILDER.CODEC_LZ4, BUILDER.CODEC_ZSTD]
)


class Raw(str):
    """A name that is sent as the bytes that it carries."""

    def encode(self, *_: object) -> bytes:
        return super().encode(errors="surrogateescape")


def batch(records: list[Any], codec: int = 0) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(
        2, codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1 << 30
    )
    for offset, (timestamp, key, value, headers) in enumerate(records):
        builder.append(offset, timestamp, key, value, headers)
    return bytes(builder.build())


def fields(record: Any) -> tuple[Any, ...]:
    return (record.offset, record.timestamp, record.timestamp_type, record.key, record.value, record.headers)


@given(RECORDS, CODECS)
def test_what_aiokafka_reads_is_read_alike(records: list[Any], codec: int) -> None:
    data = batch(records, codec)
    theirs = list(MemoryRecords(data).next_batch() or [])
    assert [fields(one) for one in Records(data).next_batch()] == [fields(one) for one in theirs]
    plain = expanded(memoryview(data)) if is_compressed(memoryview(data)) else data
    assert isinstance(plain, bytes)
    assert [fields(one) for one in _all_records(memoryview(plain))] == [fields(one) for one in theirs]


@given(RECORDS, CODECS, st.binary(min_size=1, max_size=8))
def test_names_of_any_bytes_come_as_they_were_sent(records: list[Any], codec: int, name: bytes) -> None:
    strange = Raw(name.decode(errors="surrogateescape"))
    sent = [*records, (0, b"key", b"value", [(strange, b"1")]), *records]
    read = Records(batch(sent, codec) * 2)
    found = []
    while read.has_next():
        found += list(read.next_batch())
    assert len(found) == 2 * len(sent)
    for one in (found[len(records)], found[len(sent) + len(records)]):
        [(read_name, value)] = one.headers
        assert (to_bytes(read_name), value) == (name, b"1")
        assert is_text(read_name) is (name.decode(errors="ignore").encode() == name)


@pytest.mark.parametrize("header_count", [0x01, 0x02])
def test_what_is_no_record_is_still_an_error(header_count: int) -> None:
    data = bytearray(batch([(0, b"key", b"value", [])]))
    data[-1] = header_count  # -1, and one that is not there
    with pytest.raises(CorruptRecordException):
        list(Records(bytes(data)).next_batch())


# --- bombs ---------------------------------------------------------------------------------------

CODEC_NAMES = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}


@pytest.mark.parametrize("codec", CODEC_NAMES, ids=CODEC_NAMES.get)
def test_a_batch_that_expands_too_far_is_one_record_and_its_neighbours_are_read(codec: int) -> None:
    """Else a megabyte on a topic is gigabytes in each of its readers."""
    good = batch([(0, b"key", b"value", [])])
    bomb = batch([(5, b"key", bytes(4 * BATCH_BYTES_MAX), []), (6, b"key", b"behind it", [])], codec)
    assert len(bomb) < BATCH_BYTES_MAX
    tracemalloc.start()
    records = Records(good + bomb + good)
    found = [[*records.next_batch()] for _ in range(3)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not records.has_next()
    assert [len(one) for one in found] == [1, 1, 1]
    [unread] = found[1]
    [(name, reason)] = unread.headers
    assert (name, unread.value, unread.offset) == (UNREAD, bomb, 1), "its last offset: it is never skipped"
    assert b"more than 16 MiB: send less" in reason
    assert peak < 3 * BATCH_BYTES_MAX


@pytest.mark.parametrize("codec", [*CODEC_NAMES, 5, 6, 7])
def test_a_batch_of_wrong_bytes_is_one_record(codec: int) -> None:
    """Such a batch would be read again for ever, and nobody would come to those behind it."""
    plain = bytearray(batch([(0, b"key", b"value" * 100, [])]))
    plain[22] = codec  # it says so, and is not compressed
    torn = batch([(0, b"key", b"value" * 100, [])], codec)[:-9] if codec in CODEC_NAMES else bytes(plain)
    whole = bytearray(torn)
    whole[8:12] = (len(whole) - 12).to_bytes(4, "big")
    for data in (bytes(plain), bytes(whole)):
        [unread] = Records(data).next_batch()
        assert dict(unread.headers).keys() == {UNREAD}


def test_a_number_without_an_end_is_no_record() -> None:
    """Would catch arithmetic on a number of a million digits, which a few bytes of each record ask for."""
    data = batch([(0, b"k", b"v" * 200, [])])
    head = bytearray(data[:61] + b"\xff" * 200)
    head[8:12] = (len(head) - 12).to_bytes(4, "big")
    with pytest.raises(CorruptRecordException, match="does not end"):
        list(_all_records(memoryview(head)))


def test_a_batch_of_many_gzip_members_is_not_read() -> None:
    """Would catch a copy of the whole rest for each of its members: seconds for a megabyte of empty ones."""
    one = bytearray(batch([(0, b"key", b"value" * 100, [])], 1))
    data = one + gzip.compress(b"") * 40
    data[8:12] = (len(data) - 12).to_bytes(4, "big")
    [unread] = Records(bytes(data)).next_batch()
    assert b"more than 16 members" in dict(unread.headers)[UNREAD]


@given(st.binary(min_size=61, max_size=300), st.sampled_from([1, 2, 3, 4]))
def test_no_bytes_break_the_reading_of_a_compressed_batch(data: bytes, codec: int) -> None:
    whole = bytearray(data)
    whole[16], whole[21:23] = 2, bytes([0, codec])
    found = expanded(memoryview(bytes(whole)))
    assert isinstance(found, bytes) or dict(found.headers).keys() == {UNREAD}
