"""The paths that patterns match, found for all paths at once: no pattern makes a long search. Pure.

A set of places in the paths is a number with a bit for each place, and a pattern is gone through once, from
one set to the next. So the time is the patterns' length times the paths', whatever is written in them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

_WILDCARD = re.compile(rb"\*\*/|\*\*|\*|\?")
_BATCH_BYTES = 1 << 16
_END = b"\0"
_FOLLOWING = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that continue a character."""
_EVERY = bytes(range(1 << 8))


def matched(patterns: Iterable[str], paths: Iterable[str]) -> set[str]:
    """The paths among these that a pattern matches as a whole; no path has a NUL in it.

    `*` and `?` stay within a folder, `**` does not, and `**/` may stand for nothing.
    """
    tokens = [list(_tokens(_bytes(pattern))) for pattern in dict.fromkeys(patterns)]
    found: set[str] = set()
    for batch in _batches(paths if tokens else ()):
        text = _Text(batch)
        ends = 0
        for each in tokens:
            ends |= text.ends(each)
        found.update(text.paths_at(ends))
    return found


def matching(patterns: Iterable[str], paths: Iterable[str]) -> set[str]:
    """The patterns among these that match a path as a whole, as `matched` does."""
    waiting = {pattern: list(_tokens(_bytes(pattern))) for pattern in patterns}
    found: set[str] = set()
    for batch in _batches(paths if waiting else ()):
        text = _Text(batch)
        found.update(pattern for pattern, tokens in waiting.items() if text.ends(tokens))
        for pattern in found & waiting.keys():
            del waiting[pattern]
        if not waiting:
            break
    return found


def _tokens(pattern: bytes) -> Iterator[bytes]:
    """Wildcards, and every other byte by itself."""
    at = 0
    for wildcard in _WILDCARD.finditer(pattern):
        yield from (pattern[place : place + 1] for place in range(at, wildcard.start()))
        yield wildcard[0]
        at = wildcard.end()
    yield from (pattern[place : place + 1] for place in range(at, len(pattern)))


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    """The paths in groups whose sets are small enough to be quick."""
    batch: list[str] = []
    room = _BATCH_BYTES
    for path in paths:
        batch.append(path)
        room -= len(path)
        if room <= 0:
            yield batch
            batch, room = [], _BATCH_BYTES
    if batch:
        yield batch


class _Text:
    """Paths one behind the other, each with its end; a set's bit n is the place of byte n."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._text = b"".join(_bytes(path) + _END for path in paths)
        # The first byte is the lowest bit, and so the last digit.
        self._digits = self._text[::-1]
        self._of = cache(self._of_any)

    def ends(self, tokens: Sequence[bytes]) -> int:
        """The ends of the paths that match."""
        ends = self._of(_END)
        places = (ends << 1 | 1) & ~(1 << len(self._text))
        for token in tokens:
            places = self._after(token, places)
            if not places:
                return 0
        return places & ends

    def paths_at(self, ends: int) -> Iterator[str]:
        at = 0
        digits = format(ends, "b")[::-1]
        for path in self._paths:
            at += len(_bytes(path))
            if digits[at : at + 1] == "1":
                yield path
            at += 1

    def _after(self, token: bytes, places: int) -> int:
        """Where a match may go on that has come to these places, behind the token."""
        match token:
            case b"?":
                return self._character(places)
            case b"*":
                return _spread(places, self._other_than(b"/" + _END))
            case b"**":
                return _spread(places, self._other_than(b"\n" + _END))
            case b"**/":
                anywhere = _spread(places, self._other_than(b"\n" + _END))
                return places | (anywhere & self._of(b"/")) << 1
            case _:
                return (places & self._of(token)) << 1

    def _character(self, places: int) -> int:
        begun = (places & self._other_than(b"/" + _END + _FOLLOWING)) << 1
        return _spread(begun, self._of(_FOLLOWING)) & self._other_than(_FOLLOWING)

    def _other_than(self, values: bytes) -> int:
        return self._of(_EVERY.translate(None, values))

    def _of_any(self, values: bytes) -> int:
        """The places of these bytes."""
        digits = bytes(b"01"[value in values] for value in _EVERY)
        return int(self._digits.translate(digits), 2)


def _spread(places: int, passable: int) -> int:
    """These places and all that follow them without a break, up to the first that is not passable."""
    return (((places & passable) + passable) ^ passable) | places


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
