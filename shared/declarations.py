"""What people write by hand, read strictly: every mistake at once, each with its field and its cure."""

import tomllib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.bounds import FILE_BYTES_MAX, OutOfBounds, bounded_values
from shared.contracts.bounded import naming_every_fault, said_of
from shared.contracts.refusals import Refusal
from shared.errors import Reject
from shared.toml_bounds import bound_toml
from shared.toml_layout import layout_of

Model = TypeVar("Model", bound=BaseModel)

_Words: TypeAlias = tuple[str, str]
"""A reason and its cure; both may name what pydantic says of the fault in braces."""

_WORDS: dict[str, _Words] = {
    "missing": ("this key is missing", "add it"),
    "extra_forbidden": ("there is no such key", "remove it, or check its spelling"),
    "string_type": ("it is no text", "write it in quotes"),
    "bool_type": ("it is neither true nor false", "write true or false, without quotes"),
    "bool_parsing": ("it is neither true nor false", "write true or false, without quotes"),
    "int_type": ("it is no whole number", "write digits alone, without quotes"),
    "int_parsing": ("it is no whole number", "write digits alone, without quotes"),
    "int_from_float": ("it is no whole number", "write digits alone"),
    "float_type": ("it is no number", "write a number, without quotes"),
    "float_parsing": ("it is no number", "write a number, without quotes"),
    "tuple_type": ("it is no list", 'write a list: ["…", "…"]'),
    "list_type": ("it is no list", 'write a list: ["…", "…"]'),
    "dict_type": ("it is no table", "write it as a table: [name], and its keys below it"),
    "model_type": ("it is no table", "write it as a table: [name], and its keys below it"),
    "model_attributes_type": ("it is no table", "write it as a table: [name], and its keys below it"),
    "string_too_long": ("it has more than {max_length} characters", "make it shorter"),
    "string_too_short": ("it is empty", "write something there"),
    "too_short": ("it has fewer than {min_length} entries", "give at least one"),
    "too_long": ("it has more than {max_length} entries", "leave some out"),
    "greater_than": ("it is not more than {gt}", "write a larger number"),
    "greater_than_equal": ("it is less than {ge}", "write a larger number"),
    "less_than": ("it is not less than {lt}", "write a smaller number"),
    "less_than_equal": ("it is more than {le}", "write a smaller number"),
    "invalid-json-value": ("a date or a time cannot be kept there", "write it as text, in quotes"),
}
_PATTERNS: dict[str, _Words] = {
    r"^[a-z][a-z0-9-]{0,62}$": (
        "it is no name",
        "use small letters, digits and hyphens; begin with a letter; at most 63 characters",
    ),
    r"^[^\r\n]+$": ("it has several lines", "write it on one line"),
}
_CURES = {
    "string_pattern_mismatch": "write it in the form that the reason shows",
    "union_tag_not_found": "name the kind of the check in `kind`",
    "union_tag_invalid": "use one of the kinds that the reason lists",
    "literal_error": "use one of the values that the reason lists",
}
_NO_VERSION = "is not valid SemVer string"
_CHECK_KINDS = ("command", "http", "sql", "log", "sign-off")
_VALUE_CHARACTERS = 200
_FAULTS_MAX = 100


def read_toml(
    text: str, model: type[Model], *, file: str, bytes_max: int = FILE_BYTES_MAX, nul: bool = False
) -> Model:
    """Parse TOML into `model`; raises `Reject` with one refusal per mistake."""
    values = parse_toml(text, file=file, bytes_max=bytes_max, nul=nul)
    try:
        return model.model_validate(values, extra="forbid")
    except ValidationError as error:
        found = _every_fault(values, model) or error.errors(include_url=False)
        places = _Places(text.removeprefix("\ufeff"))
        raise Reject(*(_refusal(each, places) for each in islice(found, _FAULTS_MAX))) from None


def parse_toml(text: str, *, file: str, bytes_max: int = FILE_BYTES_MAX, nul: bool = False) -> dict[str, Any]:
    """Parse TOML that was bounded before; raises `Reject` naming the file and the line.

    `nul`: text may hold NUL characters, because it goes into no database.
    """
    # Editors on Windows begin files so.
    text = text.removeprefix("\ufeff")
    try:
        bound_toml(text, bytes_max=bytes_max)
        values = tomllib.loads(text)
        bounded_values(values, nul=nul)
    except OutOfBounds as error:
        raise _unreadable(file, f"{file} is not read: {error}", "make it smaller or flatter") from None
    except (ValueError, RecursionError) as error:
        # ValueError alone: Python makes no number of more than 4300 digits.
        raise _unreadable(file, f"{file} is no TOML: {error}", "correct the TOML there") from None
    return values


def _unreadable(file: str, reason: str, cure: str) -> Reject:
    return Reject(Refusal(kind="invalid", reason=reason, field=file, cure=cure))


def _every_fault(values: dict[str, Any], model: type[Model]) -> list[ErrorDetails]:
    """Also those of a list behind its first one: who writes the file corrects all of them at once."""
    try:
        naming_every_fault(model).validate_python(values, extra="forbid")
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A list of which no item fits is not too short: that is no fault of its own.
        lists = {each["loc"][:-1] for each in found}
        return [each for each in found if each["type"] != "too_short" or each["loc"] not in lists]
    return []


class _Places:
    """On which lines the keys of a text stand."""

    def __init__(self, text: str) -> None:
        self._text = text
        layout = layout_of(text)
        self._places: dict[tuple[str, ...], list[int]] = {}
        for key, start in [
            *((each.key, each.start) for each in layout.headers),
            *((each.key, each.start) for each in layout.every()),
        ]:
            self._places.setdefault(key, []).append(start)
        for each in layout.every():
            # `a.b = 1` says something of a, too.
            for length in range(len(each.table) + 1, len(each.key)):
                self._places.setdefault(each.key[:length], [each.start])

    def line(self, location: Sequence[str | int]) -> int | None:
        """The line, from 1, of the key or else of the innermost one around it; none if that is not sure."""
        key = tuple(part for part in location if isinstance(part, str) and part != "[key]")
        for length in range(len(key), 0, -1):
            found = self._places.get(key[:length], ())
            if len(found) == 1:
                return self._text.count("\n", 0, found[0]) + 1
            if found:
                return None
        return None


def _refusal(error: ErrorDetails, places: _Places) -> Refusal:
    given = error["input"]
    plain = isinstance(given, str | int | float)
    line = places.line(error["loc"])
    reason, cure = _words(error)
    return Refusal(
        kind="invalid",
        reason=reason if line is None else f"line {line}: {reason}",
        field=_field(error["loc"]),
        value=str(given)[:_VALUE_CHARACTERS] if plain else None,
        cure=cure,
    )


def _words(error: ErrorDetails) -> _Words:
    """The reason and the cure in the reader's words; pydantic's own where there are none."""
    kind, message = error["type"], said_of(error)
    context = error.get("ctx", {})
    if message.endswith(_NO_VERSION):
        return message.replace(_NO_VERSION, "is no version"), "write it as 1.3.0, or as 1.3.0-rc.1"
    words = _PATTERNS.get(str(context.get("pattern"))) if "pattern" in context else _WORDS.get(kind)
    if words is None:
        return message, _CURES.get(kind, "correct it as the reason says")
    return words[0].format(**context), words[1]


def _field(location: Iterable[str | int]) -> str:
    parts = [str(part) for part in location if part != "[key]"]
    # pydantic also names the member of a union that it chose; no person wrote that.
    if len(parts) > 3 and parts[0] == "checks" and parts[3] in _CHECK_KINDS:
        del parts[3]
    return ".".join(parts)
