"""A System's configuration defaults merged into the Project's `config/<system>.toml`, key by key.

A key that the Project set itself stays. One that still has the old default gets the new one, and goes when
the default goes. One that the Project took out stays out. Every byte of what does not change stays. Pure.
"""

import copy
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tomlkit
from pydantic import JsonValue

from services.executor.stages.toml_edit import edited
from shared.bounds import OutOfBounds
from shared.contracts.facts import ConfigChange
from shared.contracts.values import SystemName
from shared.toml_bounds import bound_toml
from shared.toml_layout import Key

_BYTE_ORDER_MARK = "\ufeff"


class UnreadableConfig(Exception):
    """The Project's file is not TOML."""


@dataclass(frozen=True)
class MergedConfig:
    """The file's new text (none: no file), and one change per default that the package moved."""

    text: str | None
    changes: tuple[ConfigChange, ...]


@dataclass(frozen=True)
class _Value:
    """A value, to be told from no value at all: TOML has no null, but a mapping's `get` has."""

    value: Any

    @property
    def plain(self) -> JsonValue:
        """As JSON has it: dates are text there."""
        told: JsonValue = json.loads(json.dumps(self.value, default=str))
        return told


@dataclass
class _Document:
    """What the Project's file says, and what of it changes."""

    values: dict[str, Any]
    removed: list[Key] = field(default_factory=list)
    replaced: dict[Key, JsonValue] = field(default_factory=dict)
    added: dict[Key, JsonValue] = field(default_factory=dict)


def merge_config(
    system: SystemName, text: str | None, old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]
) -> MergedConfig:
    """Merge the defaults' way from `old` to `new` into `text`. Raises `UnreadableConfig`."""
    mark = _BYTE_ORDER_MARK if text is not None and text.startswith(_BYTE_ORDER_MARK) else ""
    body = (text or "")[len(mark) :]
    try:
        bound_toml(body)
        document = _Document(tomllib.loads(body))
    except (OutOfBounds, ValueError, RecursionError) as error:
        raise UnreadableConfig(str(error)) from None
    before, after = _leaves(old), _leaves(new)
    moved = [key for key in before | after if not _same(before.get(key), after.get(key))]
    # Removals first: a key may become a table, or a table a key.
    changes = [_remove(system, document, key, before[key]) for key in moved if key not in after]
    changes += [_put(system, document, key, before.get(key), after[key]) for key in moved if key in after]
    told = tuple(change for change in changes if change is not None)
    if all(change.kept for change in told):
        return MergedConfig(text, told)
    return MergedConfig(mark + _written(body, document), told)


def _written(text: str, document: _Document) -> str:
    """The text with what changes; the whole file anew, which costs its comments, if that said otherwise."""
    try:
        found = edited(text, document.removed, document.replaced, document.added)
        if _says(found, document.values):
            return found
    except (ValueError, RecursionError):
        # The layout is not one that we can change in place.
        found = ""
    found = tomlkit.dumps(document.values)
    if not _says(found, document.values):
        keys = ", ".join(".".join(key) for key in (*document.removed, *document.replaced, *document.added))
        raise UnreadableConfig(f"these keys cannot be changed in it, change them by hand: {keys}")
    return found


def _says(text: str, meant: Mapping[str, Any]) -> bool:
    try:
        return _spelled(tomllib.loads(text)) == _spelled(meant)
    except tomllib.TOMLDecodeError:
        return False


def _spelled(values: Any) -> str:
    # For Python 1, 1.0 and true are equal and nan is not; for who reads the file it is the other way round.
    return json.dumps(values, sort_keys=True, default=lambda value: f"\0{type(value).__name__} {value}")


def _leaves(values: Mapping[str, Any], above: Key = ()) -> dict[Key, _Value]:
    """Every value by its whole key; arrays are values, tables are not."""
    found: dict[Key, _Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, (*above, name))
        else:
            found[*above, name] = _Value(value)
    return found


def _same(one: _Value | None, other: _Value | None) -> bool:
    if one is None or other is None:
        return one is other
    return _spelled(one.value) == _spelled(other.value)


def _found(document: Mapping[str, Any], key: Key) -> _Value | None:
    """What the Project has there; a table counts as a value of its own."""
    value: Any = document
    for part in key:
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return _Value(value)


def _remove(system: SystemName, document: _Document, key: Key, default: _Value) -> ConfigChange | None:
    there = _found(document.values, key)
    if there is None:
        return None
    if not _same(there, default):
        return _told(system, key, there, None, there, kept=True)
    parents = [_table(document.values, key[:depth]) for depth in range(len(key))]
    del parents[-1][key[-1]]
    gone = len(key)
    # A table that the defaults made goes with its last key.
    while gone > 1 and not parents[gone - 1]:
        gone -= 1
        del parents[gone - 1][key[gone - 1]]
    document.removed.append(key[:gone])
    return _told(system, key, there, None, None, kept=False)


def _put(
    system: SystemName, document: _Document, key: Key, old: _Value | None, new: _Value
) -> ConfigChange | None:
    there = _found(document.values, key)
    untouched = there is not None and _same(there, old)
    if there is not None and _same(there, new):
        return None
    taken_out = there is None and old is not None
    if (there is not None and not untouched) or taken_out or _blocked(document.values, key):
        return _told(system, key, there, new, there, kept=True)
    _table(document.values, key[:-1], make=True)[key[-1]] = copy.deepcopy(new.value)
    (document.added if there is None else document.replaced)[key] = new.value
    return _told(system, key, there, new, new, kept=False)


def _blocked(document: Mapping[str, Any], key: Key) -> bool:
    """Whether the Project has a plain value where the key needs a table."""
    return any(
        (there := _found(document, key[:depth])) is not None and not isinstance(there.value, dict)
        for depth in range(1, len(key))
    )


def _table(document: dict[str, Any], key: Key, *, make: bool = False) -> dict[str, Any]:
    table = document
    for part in key:
        table = table.setdefault(part, {}) if make else table[part]
    return table


def _told(
    system: str, key: Key, before: _Value | None, default: _Value | None, after: _Value | None, *, kept: bool
) -> ConfigChange:
    return ConfigChange(
        system=system,
        key=".".join(key),
        before=before.plain if before else None,
        default=default.plain if default else None,
        after=after.plain if after else None,
        kept=kept,
    )
