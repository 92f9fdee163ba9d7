"""`version-map.yaml` in any form of YAML: what it pins, and its text with other versions. Pure."""

import re

import yaml
from semver import Version as Semantic

from shared.contracts.version_maps import Pins

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_CHARACTERS_MAX = 8 << 10
"""YAML takes its time, and more of it for what is nested."""
_BRACKETS_MAX = 100


def pins_of(text: str) -> Pins | None:
    """The pins of a text that is one mapping of names to versions; none for every other text."""
    nodes = _nodes(text)
    pins = {} if nodes is None else {name.value: version.value for name, version in nodes}
    whole = nodes is not None and len(pins) == len(nodes)
    fit = all(_NAME.fullmatch(name) and Semantic.is_valid(version) for name, version in pins.items())
    return pins if whole and fit else None


def with_pins(text: str, pins: Pins) -> str | None:
    """The text with these pins, its comments and order as they were; none where that cannot be done."""
    nodes = _nodes(text)
    if nodes is None:
        return None
    newline = "\r\n" if "\r\n" in text else "\n"
    there = {name.value for name, _ in nodes}
    found = text
    for name, version in reversed(nodes):
        wanted = pins.get(name.value)
        if wanted is None:
            found = _without_line(found, name, version)
        elif wanted != version.value:
            found = found[: version.start_mark.index] + wanted + found[version.end_mark.index :]
    new = "".join(f"{name}: {version}{newline}" for name, version in pins.items() if name not in there)
    if new and found and not found.endswith("\n"):
        found += newline
    # Whatever the layout is: what the text says decides.
    return found + new if pins_of(found + new) == pins else None


def _without_line(text: str, name: yaml.ScalarNode, version: yaml.ScalarNode) -> str:
    """The text without the whole line of one pin; only the caller knows whether it is a line of its own."""
    start = text.rfind("\n", 0, name.start_mark.index) + 1
    end = text.find("\n", version.end_mark.index)
    return text[:start] + (text[end + 1 :] if end >= 0 else "")


def _nodes(text: str) -> list[tuple[yaml.ScalarNode, yaml.ScalarNode]] | None:
    if len(text) > _CHARACTERS_MAX or text.count("[") + text.count("{") > _BRACKETS_MAX:
        return None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        return None
    pairs = [
        (name, version)
        for name, version in root.value
        if isinstance(name, yaml.ScalarNode) and isinstance(version, yaml.ScalarNode)
    ]
    return pairs if len(pairs) == len(root.value) else None
