"""Line ends of texts that are merged: what both sides agree on is no conflict. Pure.

Git compares lines with their ends, so a file that somebody saved with other ends conflicts as a whole.
"""

from difflib import SequenceMatcher
from typing import Literal

Ends = Literal["none", "lf", "crlf", "mixed"]

# As far as Git looks for a NUL before it calls a file binary.
_LOOKED_AT = 8000
_LINES_MAX = 5_000
"""Of a file with both ends, whose lines are compared one by one."""


def is_text(data: bytes) -> bool:
    """Whether Git merges it line by line."""
    return b"\0" not in data[:_LOOKED_AT]


def ends_of(data: bytes) -> Ends:
    """How its lines end."""
    windows = data.count(b"\r\n")
    unix = data.count(b"\n") - windows
    if not windows:
        return "lf" if unix else "none"
    return "mixed" if unix else "crlf"


def with_unix_ends(data: bytes) -> bytes:
    """The same lines, each ending with LF alone."""
    return data.replace(b"\r\n", b"\n")


def is_same_but_for_ends(one: bytes, other: bytes) -> bool:
    return is_text(one) and is_text(other) and with_unix_ends(one) == with_unix_ends(other)


def with_ends_of(merged: bytes, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """A merge of the three, made with LF ends, with the ends that a merge of the ends gives.

    Ends that we have changed stay as we have them, else they are theirs. Where we have both, each line of
    ours keeps its own. None for more lines than are compared.
    """
    mine, before, brought = ends_of(ours), ends_of(base), ends_of(theirs)
    if mine == before and brought in ("lf", "crlf"):
        return _all(merged, brought)
    if mine == "mixed":
        return _line_by_line(merged, ours)
    known = [each for each in (mine, brought, before) if each in ("lf", "crlf")]
    return _all(merged, known[0]) if known else merged


def _all(merged: bytes, ends: Ends) -> bytes:
    return merged.replace(b"\n", b"\r\n") if ends == "crlf" else merged


def _line_by_line(merged: bytes, ours: bytes) -> bytes | None:
    """Our lines with our ends; a new line ends as the one of ours before it."""
    had, lines = ours.split(b"\n"), merged.split(b"\n")
    if max(len(had), len(lines)) > _LINES_MAX:
        return None
    plain = [line.removesuffix(b"\r") for line in had]
    found: dict[int, int] = {}
    for block in SequenceMatcher(None, plain, lines).get_matching_blocks():
        found |= {block.b + number: block.a + number for number in range(block.size)}
    ended, windows = [], had[0].endswith(b"\r")
    for number, line in enumerate(lines[:-1]):
        at = found.get(number)
        if at is not None and at < len(had) - 1:
            windows = had[at].endswith(b"\r")
        ended.append(line + (b"\r" if windows else b""))
    return b"\n".join([*ended, lines[-1]])
