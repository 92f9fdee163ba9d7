"""The tar layer of a package, read here and nowhere else: each header is 512 bytes, each extension bounded.

Python's own tarfile parses extended headers in quadratic time before 3.11.10 and 3.12.6 (CVE-2024-6232),
and takes much that a package may not have. Here is read how GNU tar, bsdtar, Git and Python write files.

Source of the format: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13
"""

from collections.abc import Iterator
from dataclasses import dataclass

BLOCK_BYTES = 512
EXTENSION_BYTES_MAX = 4096
_END_BYTES = 2 * BLOCK_BYTES
_DIGITS_MAX = 12
_ZERO_BLOCK = bytes(BLOCK_BYTES)

_FILE = (b"0", b"\0")
_FOLDER = b"5"
_PAX, _PAX_GLOBAL, _LONG_NAME = b"x", b"g", b"L"
_EXTENSIONS = (_PAX, _PAX_GLOBAL, _LONG_NAME)
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"6")
_USTAR, _GNU, _OLD = b"ustar\x0000", b"ustar  \0", bytes(8)
_DECIDES = ("path", "size", "linkpath")
_SPARSE = "GNU.sparse."


class DamagedTar(ValueError):
    """The bytes are not a sound tar; the text says why."""


@dataclass(frozen=True)
class Entry:
    """One member: `kind` is `file`, `folder` or `other`; its content is `size` bytes from `start`."""

    path: str
    kind: str
    executable: bool
    start: int
    size: int


@dataclass(frozen=True)
class _Header:
    kind: bytes
    name: bytes
    mode: int
    size: int


def entries(data: bytes | bytearray) -> Iterator[Entry]:
    """Every member in order. Raises `DamagedTar` where the tar stops being sound."""
    view = memoryview(data)
    at, extension = 0, _Extension()
    while True:
        block = bytes(view[at : at + BLOCK_BYTES])
        if len(block) < BLOCK_BYTES:
            raise DamagedTar("it ends without the two blocks of zeros that end a tar")
        if block == _ZERO_BLOCK:
            break
        header = _header(block, at)
        start = at + BLOCK_BYTES
        at = start + _padded(header.size)
        if at > len(view):
            raise DamagedTar(f"the member at byte {start - BLOCK_BYTES} ends early")
        if any(view[start + header.size : at]):
            raise DamagedTar(
                f"there are bytes behind the content of the member at byte {start - BLOCK_BYTES}"
            )
        if header.kind in _EXTENSIONS:
            extension.read(header, view[start : start + header.size])
            continue
        yield _entry(header, extension, start)
        extension = _Extension()
    if extension.given:
        raise DamagedTar("an extended header has no member")
    _require_zeros(view[at:])


def _require_zeros(end: memoryview) -> None:
    if len(end) < _END_BYTES:
        raise DamagedTar("it ends without the two blocks of zeros that end a tar")
    # Compared in pieces: an end may be as long as the whole.
    for at in range(0, len(end), 1 << 16):
        if bytes(end[at : at + (1 << 16)]).strip(b"\0"):
            raise DamagedTar("there are bytes behind the archive's end")


def _entry(header: _Header, extension: "_Extension", start: int) -> Entry:
    if extension.size is not None and extension.size != header.size:
        raise DamagedTar("an extended header says another size than the member's own header")
    name = extension.path if extension.path is not None else header.name
    # A name that is not UTF-8 is refused by name, so it has to be shown.
    path = name.decode(errors="surrogateescape")
    kind = "other" if extension.sparse else _kind(header, path)
    if kind == "folder" and header.size:
        raise DamagedTar("a folder has content")
    if header.kind in _WITHOUT_CONTENT and header.size:
        raise DamagedTar("a link or a device has content")
    return Entry(path, kind, bool(header.mode & 0o100), start, header.size)


def _kind(header: _Header, path: str) -> str:
    if header.kind == _FOLDER:
        return "folder"
    if header.kind not in _FILE:
        return "other"
    # Before POSIX, a name's last slash was all that made it a folder's.
    return "folder" if path.endswith("/") else "file"


class _Extension:
    """What an extended header says of the next member."""

    def __init__(self) -> None:
        self.given = False
        self.path: bytes | None = None
        self.size: int | None = None
        self.sparse = False

    def read(self, header: _Header, content: memoryview) -> None:
        if self.given:
            raise DamagedTar("a member has more than one extended header")
        if header.size > EXTENSION_BYTES_MAX:
            raise DamagedTar(f"an extended header has more than {EXTENSION_BYTES_MAX} bytes")
        self.given = True
        data = bytes(content)
        if header.kind == _LONG_NAME:
            self.path = data.removesuffix(b"\0")
            return
        values = _records(data)
        if header.kind == _PAX_GLOBAL:
            if any(_decides(key) for key in values):
                raise DamagedTar("a global header says something of single members")
            return
        self.path = values.get("path")
        self.sparse = any(key.startswith(_SPARSE) for key in values)
        if "size" in values:
            self.size = _decimal(values["size"])


def _decides(key: str) -> bool:
    return key in _DECIDES or key.startswith(_SPARSE)


def _records(data: bytes) -> dict[str, bytes]:
    """The records of a PAX header, each `<length> <key>=<value>` and a line end, in linear time."""
    values: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        # A length of more than five digits is longer than the header may be.
        space = data.find(b" ", at, at + 6)
        digits = data[at:space] if space > at else b""
        length = int(digits) if digits.isdigit() and digits[:1] != b"0" else 0
        record = data[space + 1 : at + length]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not length or at + length > len(data) or not record.endswith(b"\n") or not equals or not key:
            raise DamagedTar("an extended header is damaged")
        name = key.decode(errors="replace")
        if name in values:
            raise DamagedTar(f"an extended header says {name[:40]!r} twice")
        values[name] = value
        at += length
    return values


def _decimal(value: bytes) -> int:
    if not value.isdigit() or len(value) > _DIGITS_MAX:
        raise DamagedTar("an extended header says a size that is no number")
    return int(value)


def _header(block: bytes, at: int) -> _Header:
    claimed = _number(block[148:156], "a checksum", at)
    if claimed != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
        raise DamagedTar(f"the header at byte {at} has a wrong checksum")
    magic = block[257:265]
    if magic not in (_USTAR, _GNU, _OLD):
        raise DamagedTar(f"the header at byte {at} is of no kind of tar that is read")
    name = _text(block[:100], at)
    if magic == _USTAR and (prefix := _text(block[345:500], at)):
        name = prefix + b"/" + name
    return _Header(
        kind=block[156:157],
        name=name,
        mode=_number(block[100:108], "a mode", at),
        size=_number(block[124:136], "a size", at),
    )


def _text(field: bytes, at: int) -> bytes:
    text = field.rstrip(b"\0")
    if b"\0" in text:
        raise DamagedTar(f"the header at byte {at} has bytes behind the end of a name")
    return text


def _number(field: bytes, what: str, at: int) -> int:
    """A number in octal digits, or in base 256 as GNU tar writes large ones; never less than zero."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.lstrip(b" ").rstrip(b" \0") or b"0"
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise DamagedTar(f"the header at byte {at} has {what} that is no number")
    return int(digits, 8)


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES
