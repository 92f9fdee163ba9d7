"""Keys of a TOML text changed, taken away and added, and every other byte left as it is. Pure."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from shared.toml_layout import Entry, Key, Layout, layout_of

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_INDENT = re.compile(r"[ \t]*")


def edited(text: str, removed: Iterable[Key], replaced: Mapping[Key, Any], added: Mapping[Key, Any]) -> str:
    """The text without `removed`, keys and whole tables, with other values, and with new keys.

    Raises ValueError for a text that is not TOML. The caller compares what the result says: an order that
    nobody foresaw must not go unnoticed.
    """
    layout = layout_of(text)
    there = {each.key for each in layout.every()}
    # An array of tables has no one value to be replaced: it goes, and comes again as an array.
    anew = {key: value for key, value in replaced.items() if key not in there}
    text = _replaced(text, layout, {key: value for key, value in replaced.items() if key in there})
    text = _without(text, [*removed, *anew])
    return _with_new(text, {**anew, **added})


def _replaced(text: str, layout: Layout, values: Mapping[Key, Any]) -> str:
    entries = [each for each in layout.every() if each.key in values]
    return _spliced(text, [(each.value, each.end, literal(values[each.key])) for each in entries])


def _without(text: str, removed: Sequence[Key]) -> str:
    if not removed:
        return text
    layout, gone = layout_of(text), frozenset(removed)
    changes: list[tuple[int, int, str]] = []
    for header in layout.headers:
        if _is_below(header.key, gone):
            changes.append((*_lines(text, header.start, header.end), ""))
    for entry in layout.entries:
        if _is_below(entry.key, gone):
            changes.append((*_lines(text, entry.start, entry.end), ""))
        elif any(_is_below(each.key, gone) for each in entry.every()):
            changes.append((entry.start, entry.end, _kept(text, entry, gone)))
    return _spliced(text, changes)


def _kept(text: str, entry: Entry, removed: AbstractSet[Key]) -> str:
    """An entry with an inline table, without what goes of it."""
    if entry.inner is None or not any(_is_below(each.key, removed) for each in entry.every()):
        return text[entry.start : entry.end]
    left = [_kept(text, each, removed) for each in entry.inner if not _is_below(each.key, removed)]
    return text[entry.start : entry.value] + "{ " + ", ".join(left) + " }"


def _with_new(text: str, added: Mapping[Key, Any]) -> str:
    if not added:
        return text
    layout = layout_of(text)
    places, newline = _Places(layout), "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    at: dict[int, str] = {}
    tables: dict[Key, list[str]] = {}
    for key, value in added.items():
        place = _place(text, places, key, value, newline)
        if place is None:
            tables.setdefault(key[:-1], []).append(f"{_dotted(key[-1:])} = {literal(value)}{newline}")
        else:
            at[place[0]] = _joined(at.get(place[0], ""), place[1], newline)
    text = _spliced(text, [(place, place, new) for place, new in at.items()])
    for table, lines in tables.items():
        if text:
            text += newline if text.endswith("\n") else newline * 2
        text += f"[{_dotted(table)}]{newline}{''.join(lines)}"
    return text


def _joined(before: str, new: str, newline: str) -> str:
    """Two new keys at one place: of an inline table that was empty, or of a text without a last newline."""
    if before and new.startswith(" ") and not new.endswith("\n"):
        return f"{before.rstrip()},{new}"
    return before + (new.removeprefix(newline) if before else new)


class _Places:
    """Where the tables of a layout end, found once for all new keys; of several places the last counts."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.inner: dict[Key, Entry] = {}
        """Each entry with an inline table or, where dotted keys make the table, the last of these."""
        for entry in layout.every():
            if entry.inner is not None:
                self.inner[entry.key] = entry
            for depth in range(len(entry.table) + 1, len(entry.key)):
                self.inner[entry.key[:depth]] = entry
        self.headers = {each.key: each for each in layout.headers if not each.is_array}
        self.last = {each.table: each for each in layout.entries}


def _place(text: str, places: _Places, key: Key, value: Any, newline: str) -> tuple[int, str] | None:
    """Where a new key goes and what is written there; none for one that needs a header of its own."""
    for depth in range(len(key) - 1, 0, -1):
        table, rest = key[:depth], key[depth:]
        entry = places.inner.get(table)
        if entry is not None and entry.key == table and entry.inner is not None:
            new = f"{_dotted(rest)} = {literal(value)}"
            last = entry.inner[-1].end if entry.inner else None
            return (entry.end - 1, f" {new} ") if last is None else (last, f", {new}")
        if entry is not None:
            # A table that dotted keys make has no header, and gets none.
            return _behind(text, entry.end, entry.start, key[len(entry.table) :], value, newline)
        if table in places.headers:
            if len(rest) > 1:
                return None
            last_one = places.last.get(table, places.headers[table])
            return _behind(text, last_one.end, last_one.start, rest, value, newline)
    return _at_root(text, places.layout, key, value, newline) if len(key) == 1 else None


def _at_root(text: str, layout: Layout, key: Key, value: Any, newline: str) -> tuple[int, str]:
    entries = [each for each in layout.entries if not each.table]
    if entries:
        return _behind(text, entries[-1].end, entries[-1].start, key, value, newline)
    new = f"{_dotted(key)} = {literal(value)}{newline}"
    if not layout.headers:
        return len(text), new if not text or text.endswith("\n") else newline + new
    start = _line_start(text, layout.headers[0].start)
    # A comment above a header is about its table.
    while start and text.startswith("#", _line_start(text, start - 1)):
        start = _line_start(text, start - 1)
    return start, new + newline


def _behind(text: str, end: int, start: int, key: Key, value: Any, newline: str) -> tuple[int, str]:
    """A line of its own behind the one that ends there, indented as that one."""
    indent = _INDENT.match(text, _line_start(text, start))
    new = f"{indent[0] if indent else ''}{_dotted(key)} = {literal(value)}{newline}"
    line_end = text.find("\n", end)
    return (line_end + 1, new) if line_end >= 0 else (len(text), newline + new)


def _lines(text: str, start: int, end: int) -> tuple[int, int]:
    """The whole lines from `start` to `end`."""
    line_end = text.find("\n", end)
    return _line_start(text, start), len(text) if line_end < 0 else line_end + 1


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _is_below(key: Key, tables: AbstractSet[Key]) -> bool:
    return any(key[:depth] in tables for depth in range(1, len(key) + 1))


def _spliced(text: str, changes: Iterable[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _dotted(key: Key) -> str:
    return ".".join(part if _BARE.fullmatch(part) else _text(part) for part in key)


def literal(value: Any) -> str:
    """A value as TOML writes it on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            return str(value)
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case Mapping():
            inside = ", ".join(f"{_dotted((name,))} = {literal(each)}" for name, each in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case Sequence():
            return f"[{', '.join(map(literal, value))}]"
        case _:
            raise ValueError(f"{type(value).__name__} is not a value of a default")


def _text(value: str) -> str:
    # JSON writes every control character but this one as TOML wants it.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
