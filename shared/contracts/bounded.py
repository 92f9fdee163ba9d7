"""Every list and mapping of a contract has a most, also where its field does not say one."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import SchemaValidator

_ANY_JSON = "JsonValue"
"""JSON of any shape is bounded by the body that it comes in, and by the parser's depth of 200."""
_ITEMS = ("list", "tuple", "set", "frozenset")
_COLLECTIONS = ("list", "tuple", "dict", "set", "frozenset")


def bound_collections(schema: Any, most: int) -> None:
    """Give `most` to each collection of pydantic's core schema that has none. Changes the schema itself.

    The first item that does not fit ends a list: a message of a hundred thousand such items kept the event
    loop for eight seconds, only to name them all.
    """
    for part in _parts(schema):
        if part["type"] in _COLLECTIONS:
            part.setdefault("max_length", most)
        if part["type"] in _ITEMS:
            part.setdefault("fail_fast", True)


@cache
def naming_every_fault(model: type[BaseModel]) -> SchemaValidator:
    """Validates as the model does, but for lists: of those it names every item that does not fit.

    It is for what a person writes, whose size was bounded before.
    """
    schema = deepcopy(model.__pydantic_core_schema__)
    for part in _parts(schema):
        part.pop("fail_fast", None)
    # What was built before for a part of it would end a list at its first fault again.
    return SchemaValidator(schema, _use_prebuilt=False)


def said_of(fault: Mapping[str, Any]) -> str:
    """The words for one fault of a validation, without the library's own before those of our checks."""
    words: str = fault["msg"]
    return words.removeprefix("Value error, ")


def unbounded(schema: Any) -> list[str]:
    """The kinds of collections of a core schema that have no most: for the test of the law."""
    return [
        part["type"] for part in _parts(schema) if part["type"] in _COLLECTIONS and "max_length" not in part
    ]


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    waiting, seen = [schema], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            if _ANY_JSON in str(part.get("ref")):
                continue
            if isinstance(part.get("type"), str):
                yield part
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part
