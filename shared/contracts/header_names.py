"""Names of headers as they were sent: one that is not UTF-8 carries its bytes as surrogates."""

import re
from collections.abc import Iterable

TOKEN = "ce_authorization"
"""The bearer token of the person who sends a command; it is read once and never kept."""

_SECRET = re.compile(r"\s*(ce[_-])?authorization\s*", re.IGNORECASE)
_JWT = re.compile(rb"\s*(Bearer\s+)?eyJ[\w-]*\.[\w-]*\.[\w-]+\s*", re.IGNORECASE)


def is_text(name: str) -> bool:
    """Whether this header name came as UTF-8."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


def to_bytes(name: str) -> bytes:
    """The name as it was sent."""
    return name.encode(errors="surrogateescape")


def to_text(name: str) -> str:
    """The name for people and databases: what is no UTF-8 in it stands as `\\xff`, and NUL as `\\x00`."""
    return to_bytes(name).decode(errors="backslashreplace").replace("\0", "\\x00")


def holds_token(name: str, value: bytes | None) -> bool:
    """Whether this header is one for a token, or its value looks like one."""
    return _SECRET.fullmatch(name) is not None or (value is not None and _JWT.fullmatch(value) is not None)


def without_tokens(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """The headers that may be kept and shown."""
    return [(name, value) for name, value in headers if not holds_token(name, value)]
