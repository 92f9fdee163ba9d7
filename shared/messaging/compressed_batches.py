"""Compressed batches of records: a small one may expand to gigabytes, so what one becomes is bounded.

A codec writes into memory of a fixed size and fails when that is full. A batch that cannot be expanded is not
read: one record stands for it, which becomes a dead letter, and the batch behind it is the next.
Source of the format: https://kafka.apache.org/documentation/#recordbatch
"""

import mmap
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import cramjam
from aiokafka.record.default_records import DefaultRecordBatch

BATCH_BYTES_MAX: Final = 16 << 20
"""What a batch may become: a topic takes 1 MiB, and JSON becomes a tenth of its length, seldom less."""

UNREAD: Final = "unread_batch"
"""The header of the record that stands for a batch which is not read; it says why."""

_MAGIC_AT, _ATTRIBUTES_AT, _LAST_OFFSET_AT, _TIMES_AT, _RECORDS_AT = 16, 21, 23, 27, 61
"""In a batch of version 2; what `_LENGTH` says is counted from `_COUNTED_FROM`."""
_LENGTH_AT, _COUNTED_FROM = 8, 12
_LEGACY_ATTRIBUTES_AT = 17
_CODEC, _LOG_APPEND_TIME = 0x07, 0x08
_XERIAL = b"\x82SNAPPY\0"
_XERIAL_HEADER = 16
_GZIP = 31
_MEMBERS_MAX = 16


class TooLarge(ValueError):
    """What a batch becomes has no room."""


@dataclass(frozen=True)
class Unread:
    """The record that stands for a batch; fields as aiokafka's records have them."""

    offset: int
    timestamp: int
    timestamp_type: int
    value: bytes
    """The whole batch, as it came."""
    headers: list[tuple[str, bytes | None]]
    key: None = None
    checksum: None = field(default=None)


def is_compressed(batch: memoryview) -> bool:
    """Whether the records of this batch are compressed."""
    if batch[_MAGIC_AT] < 2:
        return bool(batch[_LEGACY_ATTRIBUTES_AT] & _CODEC)
    return bool(_attributes(batch) & _CODEC)


def expanded(batch: memoryview) -> bytes | Unread:
    """The same batch without compression; the record that stands for it when it cannot be expanded."""
    if batch[_MAGIC_AT] < 2:
        return _unread(batch, "it is compressed in a form that Kafka's clients used before 2017")
    attributes = _attributes(batch)
    decode = _DECODERS.get(attributes & _CODEC)
    if decode is None:
        return _unread(batch, f"nobody knows its compression, {attributes & _CODEC}")
    try:
        records = decode(bytes(batch[_RECORDS_AT:]))
    except TooLarge:
        return _unread(batch, f"it expands to more than {BATCH_BYTES_MAX >> 20} MiB: send less at once")
    except (ValueError, IndexError, EOFError, zlib.error, struct.error, cramjam.DecompressionError) as error:
        return _unread(batch, f"it cannot be expanded: {error}")
    head = bytearray(batch[:_RECORDS_AT])
    struct.pack_into(">i", head, _LENGTH_AT, len(head) + len(records) - _COUNTED_FROM)
    struct.pack_into(">h", head, _ATTRIBUTES_AT, attributes & ~_CODEC)
    return bytes(head) + records


def plain_batch(data: bytes) -> Any:
    """aiokafka's reading of an expanded batch."""
    return DefaultRecordBatch(data)


def _attributes(batch: memoryview) -> int:
    found: int = struct.unpack_from(">h", batch, _ATTRIBUTES_AT)[0]
    return found


def _unread(batch: memoryview, reason: str) -> Unread:
    offset: int = struct.unpack_from(">q", batch, 0)[0]
    said = f"a batch of {len(batch)} bytes, which ends at this offset, is not read: {reason}"
    headers: list[tuple[str, bytes | None]] = [(UNREAD, said.encode(errors="replace"))]
    if batch[_MAGIC_AT] < 2:
        return Unread(offset, -1, 0, bytes(batch), headers)
    last, _, newest = struct.unpack_from(">iqq", batch, _LAST_OFFSET_AT)
    kind = int(bool(_attributes(batch) & _LOG_APPEND_TIME))
    return Unread(offset + last, newest, kind, bytes(batch), headers)


def _gunzip(data: bytes) -> bytes:
    found = b""
    # Clients write one member. Each costs a copy of all that follows it.
    for _ in range(_MEMBERS_MAX):
        if not data:
            return found
        member = zlib.decompressobj(wbits=_GZIP)
        found += member.decompress(data, BATCH_BYTES_MAX + 1 - len(found))
        if len(found) > BATCH_BYTES_MAX:
            raise TooLarge
        if not member.eof:
            raise EOFError("it ends too early")
        data = member.unused_data
    raise ValueError(f"it has more than {_MEMBERS_MAX} members")


def _unsnap(data: bytes) -> bytes:
    if not data.startswith(_XERIAL):
        return _unsnapped(data, BATCH_BYTES_MAX)
    found, at = [], _XERIAL_HEADER
    room = BATCH_BYTES_MAX
    while at < len(data):
        [length] = struct.unpack_from(">i", data, at)
        if length <= 0:
            raise ValueError("a block has no length")
        found.append(_unsnapped(data[at + 4 : at + 4 + length], room))
        room -= len(found[-1])
        at += 4 + length
    return b"".join(found)


def _unsnapped(block: bytes, room: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > room:
        raise TooLarge
    return bytes(cramjam.snappy.decompress_raw(block))


def _by(codec: Any) -> Callable[[bytes], bytes]:
    def decode(data: bytes) -> bytes:
        # Of mapped memory only what is written to is used: an array of zeros would cost 5 ms for each batch.
        with mmap.mmap(-1, BATCH_BYTES_MAX) as mapped, memoryview(mapped) as room:
            try:
                length = codec.decompress_into(data, room)
            except cramjam.DecompressionError as error:
                if "whole buffer" in str(error):
                    raise TooLarge from error
                raise
            return bytes(room[:length])

    return decode


_DECODERS: Mapping[int, Callable[[bytes], bytes]] = {
    1: _gunzip,
    2: _unsnap,
    3: _by(cramjam.lz4),
    4: _by(cramjam.zstd),
}
