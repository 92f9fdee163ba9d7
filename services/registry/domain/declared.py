"""What a package declares, as far as the gate compares it: models, types of defaults, patterns."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import JsonValue

_BLOCK = re.compile(r"\s*(?:model|view|enum|type)\s+(?P<name>[A-Za-z]\w*)\s*\{")
_EXTENDS = re.compile(r"///\s*@extends\b")
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "text", list: "list", dict: "table"}


@dataclass(frozen=True)
class Fragment:
    """Names of models, views, enums and types: its own, and those of others that it reopens."""

    defines: tuple[str, ...]
    extends: tuple[str, ...]


def read_fragment(schema: str) -> Fragment:
    """Read a schema fragment; what stands under `/// @extends system` reopens another System's model."""
    defines: list[str] = []
    extends: list[str] = []
    marked = False
    for line in schema.splitlines():
        if line.lstrip().startswith("///"):
            marked = marked or _EXTENDS.match(line.lstrip()) is not None
            continue
        block = _BLOCK.match(line)
        if block is not None:
            (extends if marked else defines).append(block["name"])
        marked = False
    return Fragment(tuple(defines), tuple(extends))


def types_of(config: Mapping[str, JsonValue], prefix: str = "") -> dict[str, str]:
    """The type of every default by its dotted key: `session_minutes: integer`, `mail.sender: text`."""
    types: dict[str, str] = {}
    for key, value in config.items():
        types[f"{prefix}{key}"] = _TYPES.get(type(value), "nothing")
        if isinstance(value, dict):
            types |= types_of(value, f"{prefix}{key}.")
    return types


def matches_any(pattern: str, paths: Iterable[str]) -> bool:
    """Whether a pattern under files/ matches something; `**` crosses folders and may stand for none."""
    spellings = {pattern, pattern.removeprefix("**/"), pattern.replace("/**/", "/")}
    return any(fnmatchcase(path, spelling) for path in paths for spelling in spellings)
