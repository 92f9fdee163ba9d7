"""Names of headers as they were sent: one that is not UTF-8 carries its bytes as surrogates."""


def is_text(name: str) -> bool:
    """Whether this header name came as UTF-8."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


def to_bytes(name: str) -> bytes:
    """The name as it was sent."""
    return name.encode(errors="surrogateescape")


def to_text(name: str) -> str:
    """The name for people: what is no UTF-8 in it stands as `\\xff`."""
    return to_bytes(name).decode(errors="backslashreplace")
