"""Where things stand in a TOML text: every header and every key with the places of its value. Pure.

The text has been read by Python's own parser, so it is valid: what is asked here is only where.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

Key: TypeAlias = tuple[str, ...]
"""A key's parts from the root: `[mail] from = …` is ("mail", "from")."""

_STRING = (
    r'"{3}(?:[^"\\]++|\\.|"(?!""))*+"{3,5}' r"|'{3}(?:[^']++|'(?!''))*+'{3,5}"
    r'|"(?:[^"\\\n]++|\\[^\n])*+"' r"|'[^'\n]*+'"
)  # fmt: skip
_TEXT = re.compile(_STRING, re.DOTALL)
_PART = re.compile(rf"[A-Za-z0-9_-]++|{_STRING}", re.DOTALL)
_BARE_VALUE = re.compile(r"[^,\]}#\r\n]++")
_SPACE = re.compile(r"[ \t]*+")
_BETWEEN = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")


@dataclass(frozen=True)
class Entry:
    """`key = value` in a table or an inline table: from `start` to `end`, the value from `value` on."""

    key: Key
    table: Key
    start: int
    value: int
    end: int
    inner: "tuple[Entry, ...] | None" = None
    """What an inline table holds."""

    def every(self) -> "Iterator[Entry]":
        """This one, and what stands in its inline tables."""
        yield self
        for each in self.inner or ():
            yield from each.every()


@dataclass(frozen=True)
class Header:
    """`[key]` or `[[key]]`."""

    key: Key
    start: int
    end: int
    is_array: bool


@dataclass(frozen=True)
class Layout:
    """In the order of the text; an entry stands behind its table's header."""

    headers: list[Header] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def every(self) -> list[Entry]:
        """The entries, and what stands in their inline tables."""
        return [each for entry in self.entries for each in entry.every()]


def layout_of(text: str) -> Layout:
    """Raises ValueError for a text that is not TOML."""
    return _Scanner(text).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def run(self) -> Layout:
        found = Layout()
        table: Key = ()
        while self._skip(_BETWEEN) < len(self._text):
            if self._text[self._at] == "[":
                header = self._header()
                found.headers.append(header)
                table = header.key
            else:
                found.entries.append(self._entry(table, table))
        return found

    def _skip(self, what: re.Pattern[str]) -> int:
        matched = what.match(self._text, self._at)
        self._at = matched.end() if matched else self._at
        return self._at

    def _expect(self, words: str) -> None:
        if not self._text.startswith(words, self._at):
            raise ValueError(f"{words} expected at character {self._at}")
        self._at += len(words)

    def _header(self) -> Header:
        start = self._at
        is_array = self._text.startswith("[[", start)
        self._expect("[[" if is_array else "[")
        key = self._key()
        self._expect("]]" if is_array else "]")
        return Header(key, start, self._at, is_array)

    def _key(self) -> Key:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            part = _PART.match(self._text, self._at)
            if part is None:
                raise ValueError(f"a key expected at character {self._at}")
            parts.append(_plain(part[0]))
            self._at = part.end()
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(parts)
            self._at += 1

    def _entry(self, above: Key, table: Key) -> Entry:
        start = self._at
        key = (*above, *self._key())
        self._expect("=")
        value = self._skip(_SPACE)
        inner = self._value(key)
        return Entry(key, table, start, value, self._at, inner)

    def _value(self, key: Key) -> tuple[Entry, ...] | None:
        """Go behind a value; the entries of an inline table."""
        if self._text.startswith("{", self._at):
            return self._inline(key)
        if self._text.startswith("[", self._at):
            self._array(key)
        elif _TEXT.match(self._text, self._at):
            self._skip(_TEXT)
        else:
            start = self._at
            self._skip(_BARE_VALUE)
            self._at = start + len(self._text[start : self._at].rstrip(" \t"))
        return None

    def _array(self, key: Key) -> None:
        self._expect("[")
        while self._skip(_BETWEEN) < len(self._text) and self._text[self._at] != "]":
            self._value(key)
            self._skip(_BETWEEN)
            if self._text.startswith(",", self._at):
                self._at += 1
        self._expect("]")

    def _inline(self, key: Key) -> tuple[Entry, ...]:
        self._expect("{")
        found: list[Entry] = []
        while self._skip(_BETWEEN) < len(self._text) and self._text[self._at] != "}":
            found.append(self._entry(key, key))
            self._skip(_BETWEEN)
            if self._text.startswith(",", self._at):
                self._at += 1
        self._expect("}")
        return tuple(found)


def _plain(part: str) -> str:
    if part[0] not in "\"'":
        return part
    value = tomllib.loads(f"x = {part}")["x"]
    return str(value)
