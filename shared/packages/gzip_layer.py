"""The gzip layer around a package: one member, bounded before it is kept, and nothing behind it."""

import zlib

from shared.errors import Reject, invalid

RATIO_MAX = 200
"""Unpacked bytes per packed byte, once `_RATIO_FREE_BYTES` are through."""
_RATIO_FREE_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20
_PIECE_BYTES = 64 << 10
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS


def unpack(data: bytes, *, bytes_max: int) -> bytearray:
    """Decompress one gzip member, to `bytes_max` at the most.

    Raises `Reject` for damage, for too much, and for bytes behind it.
    """
    unpacked = bytearray()
    stream = zlib.decompressobj(_WITH_GZIP_HEADER)
    at = 0
    try:
        while not stream.eof:
            # In small pieces: zlib copies whatever it has not come to yet, each time.
            piece = stream.unconsumed_tail or data[at : at + _PIECE_BYTES]
            if not stream.unconsumed_tail:
                at += len(piece)
            if not piece:
                raise _no_gzip("it ends early")
            unpacked += stream.decompress(piece, _CHUNK_BYTES)
            _bound(len(unpacked), len(data), bytes_max)
    except zlib.error as error:
        raise _no_gzip(str(error)) from None
    behind = len(stream.unused_data) + len(data) - at
    if behind:
        raise invalid(
            f"{behind} bytes follow the end of the gzip file",
            field="package",
            cure="pack it as one gzip member, with nothing behind it",
        )
    return unpacked


def _bound(unpacked: int, packed: int, bytes_max: int) -> None:
    if unpacked > bytes_max:
        raise invalid(
            f"the unpacked archive has more than {bytes_max >> 20} MiB",
            field="package",
            cure="leave out what need not be installed",
        )
    if unpacked > _RATIO_FREE_BYTES and unpacked > RATIO_MAX * packed:
        raise invalid(
            f"the archive unpacks to more than {RATIO_MAX} times its size",
            field="package",
            cure="leave out files that hold the same bytes over and over",
        )


def _no_gzip(why: str) -> Reject:
    return invalid(f"this is no gzip file: {why}", field="package", cure="pack it as tar.gz")
