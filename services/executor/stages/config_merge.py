"""A System's configuration defaults merged into the Project's `config/<system>.toml`, key by key.

A key that the Project set itself stays. One that still has the old default gets the new one, and goes when
the default goes. One that the Project took out stays out. Comments and order stay. Pure.
"""

import json
import tomllib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import tomlkit
from pydantic import JsonValue
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from shared.bounds import OutOfBounds
from shared.contracts.facts import ConfigChange
from shared.contracts.values import SystemName
from shared.toml_bounds import bound_toml

Key: TypeAlias = tuple[str, ...]
"""A key's parts from the root: `[mail] from = …` is ("mail", "from")."""


class UnreadableConfig(Exception):
    """The Project's file is no TOML."""


@dataclass(frozen=True)
class MergedConfig:
    """The file's new text (none: no file), and one change per default that the package moved."""

    text: str | None
    changes: tuple[ConfigChange, ...]


def merge_config(
    system: SystemName, text: str | None, old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]
) -> MergedConfig:
    """Merge the defaults' way from `old` to `new` into `text`. Raises `UnreadableConfig`."""
    try:
        bound_toml(text or "")
        document = tomlkit.parse(text or "")
    except (TOMLKitError, OutOfBounds, ValueError, RecursionError) as error:
        raise UnreadableConfig(str(error)) from None
    before, after = _leaves(old), _leaves(new)
    moved = [key for key in before | after if not _same(before.get(key), after.get(key))]
    # Removals first: a key may become a table, or a table a key.
    changes = [_remove(system, document, key, before[key]) for key in moved if key not in after]
    changes += [_put(system, document, key, before.get(key), after[key]) for key in moved if key in after]
    told = tuple(change for change in changes if change is not None)
    if all(change.kept for change in told):
        return MergedConfig(text, told)
    return MergedConfig(_written(document, {key[0] for key in moved}), told)


def _written(document: tomlkit.TOMLDocument, touched: set[str]) -> str:
    """The document's text, which says what the document means.

    tomlkit writes a table's header into the midst of its parent's dotted keys, and what follows would then
    belong to that table. Where that happens, the touched tables are written out plainly, at the end; and
    if even that reads otherwise, the whole file is, which costs its comments but no value.
    """
    meant = document.unwrap()
    text = tomlkit.dumps(document)
    if _says(text, meant):
        return text
    for name in touched & document.keys():
        if isinstance(meant[name], dict):
            del document[name]
            document[name] = tomlkit.item(meant[name])
    text = tomlkit.dumps(document)
    return text if _says(text, meant) else tomlkit.dumps(meant)


def _says(text: str, meant: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == meant
    except tomllib.TOMLDecodeError:
        return False


@dataclass(frozen=True)
class _Value:
    """A value, to be told from no value at all: TOML has no null, but a mapping's `get` has."""

    value: JsonValue


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
    # For Python 1, 1.0 and true are equal; for who reads the file they are not.
    return json.dumps(one.value, sort_keys=True) == json.dumps(other.value, sort_keys=True)


def _found(document: Mapping[str, Any], key: Key) -> _Value | None:
    """What the Project has there; a table counts as a value of its own."""
    value: Any = document
    for part in key:
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    plain = value.unwrap() if hasattr(value, "unwrap") else value
    return _Value(json.loads(json.dumps(plain, default=str)))


def _remove(system: str, document: tomlkit.TOMLDocument, key: Key, default: _Value) -> ConfigChange | None:
    there = _found(document, key)
    if there is None:
        return None
    if not _same(there, default):
        return _told(system, key, there, None, there, kept=True)
    parents = [document, *(_table(document, key[:depth]) for depth in range(1, len(key)))]
    del parents[-1][key[-1]]
    # A table that the defaults made goes with its last key.
    for depth in range(len(key) - 1, 0, -1):
        if not parents[depth]:
            del parents[depth - 1][key[depth - 1]]
    return _told(system, key, there, None, None, kept=False)


def _put(
    system: str, document: tomlkit.TOMLDocument, key: Key, old: _Value | None, new: _Value
) -> ConfigChange | None:
    there = _found(document, key)
    untouched = there is not None and _same(there, old)
    if there is not None and _same(there, new):
        return None
    taken_out = there is None and old is not None
    if (there is not None and not untouched) or taken_out or _blocked(document, key):
        return _told(system, key, there, new, there, kept=True)
    table: MutableMapping[str, Any] = document
    for part in key[:-1]:
        if part not in table:
            table[part] = tomlkit.inline_table() if isinstance(table, InlineTable) else tomlkit.table()
        table = table[part]
    table[key[-1]] = new.value
    return _told(system, key, there, new, new, kept=False)


def _blocked(document: Mapping[str, Any], key: Key) -> bool:
    """Whether the Project has a plain value where the key needs a table."""
    return any(
        (there := _found(document, key[:depth])) is not None and not isinstance(there.value, dict)
        for depth in range(1, len(key))
    )


def _table(document: MutableMapping[str, Any], key: Key) -> Any:
    table: Any = document
    for part in key:
        table = table[part]
    return table


def _told(
    system: str, key: Key, before: _Value | None, default: _Value | None, after: _Value | None, *, kept: bool
) -> ConfigChange:
    return ConfigChange(
        system=system,
        key=".".join(key),
        before=before.value if before else None,
        default=default.value if default else None,
        after=after.value if after else None,
        kept=kept,
    )
