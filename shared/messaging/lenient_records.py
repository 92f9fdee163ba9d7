"""Header names that are not UTF-8: aiokafka stops for good at such a record; here it is read as any other.

The protocol says that a name is text, and no broker looks. Its bytes are kept as Python keeps those of file
names, by surrogates, so that whoever reads the record can tell (`shared.contracts.header_names`).
Source of the format: https://kafka.apache.org/documentation/#recordbatch
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from shared.messaging.compressed_batches import Unread, expanded, is_compressed, plain_batch

_VARINT_BITS = 70
"""Ten bytes of seven bits: the longest number that the format has."""
_LENGTH_AT, _OVERHEAD, _MAGIC_AT = 8, 12, 16
"""Of a batch: where the length of what follows its overhead stands, four bytes long, and its version."""


def read_all_names() -> None:
    """From here on every consumer of this process reads such records. Safe to repeat."""
    fetcher.MemoryRecords = Records


class Records:
    """Stands in for aiokafka's MemoryRecords: the batches of one partition's share of a fetch."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._records = MemoryRecords(data)

    def has_next(self) -> bool:
        found: bool = self._records.has_next()
        return found

    def size_in_bytes(self) -> int:
        size: int = self._records.size_in_bytes()
        return size

    def next_batch(self) -> "_Batch":
        begin, length_at = self._at, self._at + _LENGTH_AT
        length = int.from_bytes(self._data[length_at : length_at + 4], "big", signed=True)
        self._at += _OVERHEAD + length
        return _Batch(self._records.next_batch(), self._data[begin : self._at])


class _Batch:
    """A batch of aiokafka's; what it cannot or must not read is read from the `data` of the batch."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(iter(self))

    def __iter__(self) -> Iterator[Any]:
        if not is_compressed(self._data):
            yield from _records_of(self._batch, self._data)
            return
        plain = expanded(self._data)
        if isinstance(plain, Unread):
            yield plain
        else:
            yield from _records_of(plain_batch(plain), memoryview(plain))


def _records_of(batch: Any, data: memoryview) -> Iterator[Any]:
    read = 0
    try:
        for record in batch:
            yield record
            read += 1
    except (CorruptRecordException, UnicodeDecodeError):
        if data[_MAGIC_AT] < 2:
            raise  # such a batch has no headers
        yield from islice(_all_records(bytes(data)), read, None)


@dataclass(frozen=True)
class _Record:
    """As aiokafka's records are."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


def _all_records(data: bytes) -> Iterator[_Record]:
    """The records of one batch. Raises CorruptRecordException for what is no batch at all."""
    batch = _DefaultRecordBatchPy(data)
    fields = _Fields(bytes(batch._buffer), batch._pos)
    try:
        for _ in range(batch._num_records):
            yield _record(batch, fields)
    except (IndexError, ValueError) as error:
        raise CorruptRecordException(f"the batch at offset {batch.base_offset}: {error}") from error


def _record(batch: Any, fields: "_Fields") -> _Record:
    end = fields.number() + fields.at
    fields.at += 1  # attributes, of which there are none
    timestamp = batch.first_timestamp + fields.number()
    if batch.timestamp_type == batch.LOG_APPEND_TIME:
        timestamp = batch.max_timestamp
    offset = batch.base_offset + fields.number()
    key, value = fields.bytes(), fields.bytes()
    count = fields.number()
    headers = [_header(fields) for _ in range(count)]
    if count < 0 or fields.at != end:
        raise ValueError(f"the record at offset {offset} has another length than it says")
    return _Record(offset, timestamp, batch.timestamp_type, key, value, headers)


def _header(fields: "_Fields") -> tuple[str, bytes | None]:
    name = fields.bytes()
    if name is None:
        raise ValueError("a header has no name")
    return name.decode(errors="surrogateescape"), fields.bytes()


class _Fields:
    """Reads one field of a record after another."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def number(self) -> int:
        """A signed varint in zigzag form. Raises IndexError at the end, ValueError when too long."""
        value = shift = 0
        while shift < _VARINT_BITS:
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
        raise ValueError(f"a number at {self.at} does not end")

    def bytes(self) -> bytes | None:
        """A length, and as many bytes; None for -1. Raises ValueError when they are not there."""
        length = self.number()
        if length == -1:
            return None
        begin = self.at
        self.at += length
        if length < 0 or self.at > len(self._data):
            raise ValueError(f"a field of {length} bytes at {begin} of {len(self._data)}")
        return self._data[begin : self.at]
