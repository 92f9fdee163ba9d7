"""How much a JSON text holds, told without parsing it: every step is one pass in C."""

import re

MESSAGE_VALUES_MAX = 30_000
"""Values of a message on a topic. A megabyte of empty lists kept an event loop for a second."""


_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")


def has_nul(body: bytes) -> bool:
    """True when a string of a JSON text has the character NUL, which PostgreSQL reads in no document."""
    return b"\\u0000" in body and _NUL.search(body) is not None


def without_nul(body: bytes) -> bytes:
    """The JSON text with U+FFFD in the place of each NUL."""
    if not has_nul(body):
        return body
    return _NUL.sub(lambda found: found[0][:-6] + b"\\ufffd", body)


def outside_strings(body: bytes) -> bytes:
    """All of a JSON text but its strings; of no JSON at all, any part of it."""
    # Without escaped quotes, every other part between quotes is a string.
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(unescaped.split(b'"')[::2])


def values_in(bare: bytes) -> int:
    """At most so many values stand in a JSON text whose strings were left out."""
    return bare.count(b",") + bare.count(b"[") + bare.count(b"{")


def has_more_values(body: bytes, most: int) -> bool:
    """True when a JSON text holds more than `most` values.

    The text is taken apart only where signs in strings may have been counted, and where its quotes do not
    say it by themselves: a value and its name have four.
    """
    if values_in(body) <= most:
        return False
    return body.count(b'"') - body.count(b'\\"') > 5 * most or values_in(outside_strings(body)) > most
