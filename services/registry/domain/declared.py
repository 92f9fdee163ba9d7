"""What a package declares, as far as the gate compares it: models, types of defaults, patterns."""

from collections.abc import Mapping

from pydantic import JsonValue

from shared.packages.package import SCHEMA
from shared.prisma.blocks import read_fragment
from shared.prisma.mask_words import mask_word, parse_rule

_CONFIGURATION = frozenset({"datasource", "generator"})
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "text", list: "list", dict: "table"}


def defined_names(schema: str) -> list[str]:
    """What a fragment defines, and so not what it reopens of others. Raises `Unreadable`."""
    return [
        block.name
        for block in read_fragment(SCHEMA, schema).blocks
        if block.extends is None and block.kind not in _CONFIGURATION
    ]


def configuration(schema: str) -> list[str]:
    """The datasources and generators of a fragment, as they are written. Raises `Unreadable`."""
    blocks = read_fragment(SCHEMA, schema).blocks
    return [f"{block.kind} {block.name}" for block in blocks if block.kind in _CONFIGURATION]


def misspelt_masks(schema: str) -> list[tuple[int, str, str]]:
    """Line, field and word of each `@mask` that no copy would understand. Raises `Unreadable`."""
    return [
        (member.line + 1, f"{block.name}.{member.key}", word)
        for block in read_fragment(SCHEMA, schema).blocks
        for member in block.members
        if (word := mask_word(member)) is not None and parse_rule(word) is None
    ]


def types_of(config: Mapping[str, JsonValue], prefix: str = "") -> dict[str, str]:
    """The type of every default by its dotted key: `session_minutes: integer`, `mail.sender: text`."""
    types: dict[str, str] = {}
    for key, value in config.items():
        types[f"{prefix}{key}"] = _TYPES.get(type(value), "nothing")
        if isinstance(value, dict):
            types |= types_of(value, f"{prefix}{key}.")
    return types
