"""Archives made byte by byte, for what no honest program writes."""

import gzip
from collections.abc import Mapping

END = bytes(1024)
_MAGIC = {"ustar": b"ustar\x0000", "gnu": b"ustar  \0", "old": bytes(8)}


def header(
    name: bytes = b"files/x",
    *,
    size: int | bytes = 0,
    kind: bytes = b"0",
    magic: str | bytes = "ustar",
    mode: bytes = b"0000644\0",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One header of 512 bytes; `size` and `checksum` may be the field's bytes themselves."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = mode
    block[108:124] = b"0000000\0" * 2
    block[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[257:265] = magic if isinstance(magic, bytes) else _MAGIC[magic]
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block) if checksum is None else checksum
    return bytes(block)


def member(name: bytes = b"files/x", content: bytes = b"", **fields: object) -> bytes:
    """A header and its content, padded."""
    made = header(name, size=len(content), **fields)  # type: ignore[arg-type]
    return made + padded(content)


def padded(content: bytes, filling: bytes = b"\0") -> bytes:
    """The content, filled up to whole blocks."""
    return content + filling * (-len(content) % 512)


def record(key: str, value: str | bytes) -> bytes:
    """A record of a PAX header, with the right length."""
    text = value.encode() if isinstance(value, str) else value
    body = b" " + key.encode() + b"=" + text + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def extended(records: bytes, kind: bytes = b"x") -> bytes:
    """An extended header of these records."""
    return member(b"PaxHeader", records, kind=kind)


def pax(values: Mapping[str, str], kind: bytes = b"x") -> bytes:
    return extended(b"".join(record(key, value) for key, value in values.items()), kind)


def packed(*parts: bytes, end: bytes = END) -> bytes:
    """A tar.gz of these parts."""
    return gzip.compress(b"".join(parts) + end, 1)
