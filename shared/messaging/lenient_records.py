"""Header names that are not UTF-8: aiokafka stops for good at such a record; here it is read as any other.

The protocol says that a name is text, and no broker looks. Its bytes are kept as Python keeps those of file
names, by surrogates, so that whoever reads the record can tell (`shared.contracts.header_names`).
Source of the format: https://kafka.apache.org/documentation/#recordbatch
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from shared.contracts.envelope import ALL_HEADERS_MAX
from shared.messaging.compressed_batches import (
    BATCH_BYTES_MAX,
    UNREAD,
    Unread,
    expanded,
    is_compressed,
    plain_batch,
)

_READ_MAX = ALL_HEADERS_MAX + 16
"""Of a dead letter's headers too, which has some more than the record that it keeps."""
_EXPANDED_MAX = 32 << 20
"""The most that the batches of one share of a fetch become together: a megabyte holds sixty-four bombs."""
_VARINT_BITS = 70
"""Ten bytes of seven bits: the longest number that the format has."""
_LENGTH_AT, _OVERHEAD, _MAGIC_AT = 8, 12, 16
"""Of a batch: where the length of what follows its overhead stands, four bytes long, and its version."""
_COUNT_AT, _RECORDS_AT = 57, 61
"""Of a batch of version 2: where the count of its records stands, and where they begin."""


def read_all_names() -> None:
    """From here on every consumer of this process reads such records. Safe to repeat."""
    fetcher.MemoryRecords = Records


class Records:
    """Stands in for aiokafka's MemoryRecords: the batches of one partition's share of a fetch."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._records = MemoryRecords(data)
        self._expanded = 0

    def has_next(self) -> bool:
        """False also where enough was expanded: the reader fetches from the next batch on again."""
        found: bool = self._records.has_next()
        return found and self._expanded < _EXPANDED_MAX

    def size_in_bytes(self) -> int:
        size: int = self._records.size_in_bytes()
        return size

    def next_batch(self) -> "_Batch":
        begin, length_at = self._at, self._at + _LENGTH_AT
        length = int.from_bytes(self._data[length_at : length_at + 4], "big", signed=True)
        self._at += _OVERHEAD + length
        return _Batch(self._records.next_batch(), self._data[begin : self._at], self._has_expanded)

    def _has_expanded(self, size: int) -> None:
        self._expanded += size


class _Batch:
    """A batch of aiokafka's; what it cannot or must not read is read from the `data` of the batch."""

    def __init__(self, batch: Any, data: memoryview, has_expanded: Callable[[int], None]) -> None:
        self._batch = batch
        self._data = data
        self._has_expanded = has_expanded

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
            # As much was tried as one may become.
            self._has_expanded(BATCH_BYTES_MAX)
            yield plain
        else:
            self._has_expanded(len(plain))
            yield from _records_of(plain_batch(plain), memoryview(plain))


def _records_of(batch: Any, data: memoryview) -> Iterator[Any]:
    """The records of a batch; from the first that aiokafka cannot or must not read on they are read here."""
    if data[_MAGIC_AT] < 2:
        yield from batch  # such a batch has no headers
        return
    theirs = iter(batch)
    fields = _Fields(data, _RECORDS_AT)
    [count] = struct.unpack_from(">i", data, _COUNT_AT)
    for number in range(count):
        begin = fields.at
        try:
            if _passes_over_one(fields):
                yield next(theirs)
                continue
        except (CorruptRecordException, UnicodeDecodeError, IndexError, ValueError):
            pass  # ours tells the two apart, and raises what is wrong
        except StopIteration:
            return
        yield from _all_records(data, begin, count - number)
        return


def _passes_over_one(fields: "_Fields") -> bool:
    """Go to the next record; False if this one has too many headers to be read."""
    length = fields.number()
    end = fields.at + length
    if length < 0:
        raise ValueError("a record has no length")
    few = True
    # Each header takes two bytes or more.
    if length > 2 * _READ_MAX:
        fields.at += 1
        fields.number(), fields.number()
        for _ in ("key", "value"):
            fields.skip()
        few = fields.number() <= _READ_MAX
    fields.at = end
    return few


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


def _all_records(data: memoryview, begin: int = _RECORDS_AT, count: int | None = None) -> Iterator[_Record]:
    """The records of one batch, or `count` from `begin` on. Raises CorruptRecordException for others."""
    batch = _DefaultRecordBatchPy(bytes(data[:_RECORDS_AT]))
    fields = _Fields(data, begin)
    try:
        for _ in range(batch._num_records if count is None else count):
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
    if count > _READ_MAX:
        # Half a million fit into a megabyte, and millions into what a few kilobytes expand to.
        fields.at = end
        said = f"it has {count} headers, at most {ALL_HEADERS_MAX} are read"
        return _Record(offset, timestamp, batch.timestamp_type, key, value, [(UNREAD, said.encode())])
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

    def __init__(self, data: memoryview, at: int) -> None:
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
        return bytes(self._data[begin : self.at])

    def skip(self) -> None:
        """Pass over what `bytes` would read."""
        length = self.number()
        self.at += max(length, 0)
