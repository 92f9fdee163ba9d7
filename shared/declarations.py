"""What people write by hand, read strictly: every mistake at once, each with its field and its cure."""

import tomllib
from collections.abc import Iterable
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.bounds import FILE_BYTES_MAX, OutOfBounds, bounded_values
from shared.contracts.bounded import naming_every_fault
from shared.contracts.refusals import Refusal
from shared.errors import Reject
from shared.toml_bounds import bound_toml

Model = TypeVar("Model", bound=BaseModel)

_CURES = {
    "missing": "add it",
    "extra_forbidden": "remove it, or check its spelling",
    "string_pattern_mismatch": "write it in the form that the reason shows",
    "union_tag_not_found": "name the kind of the check in `kind`",
    "union_tag_invalid": "use one of the kinds that the reason lists",
    "literal_error": "use one of the values that the reason lists",
    "too_short": "give at least one",
}
_CHECK_KINDS = ("command", "http", "sql", "log", "sign-off")
_VALUE_CHARACTERS = 200
_FAULTS_MAX = 100


def read_toml(
    text: str, model: type[Model], *, file: str, bytes_max: int = FILE_BYTES_MAX, nul: bool = False
) -> Model:
    """Parse TOML into `model`; raises `Reject` with one refusal per mistake."""
    return read_values(parse_toml(text, file=file, bytes_max=bytes_max, nul=nul), model)


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


def read_values(values: dict[str, Any], model: type[Model]) -> Model:
    """Make a model of parsed values; raises `Reject` with one refusal per mistake."""
    try:
        return model.model_validate(values, extra="forbid")
    except ValidationError as error:
        found = _every_fault(values, model) or error.errors(include_url=False)
        raise Reject(*map(_refusal, islice(found, _FAULTS_MAX))) from None


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


def _refusal(error: ErrorDetails) -> Refusal:
    given = error["input"]
    plain = isinstance(given, str | int | float)
    return Refusal(
        kind="invalid",
        reason=error["msg"].removeprefix("Value error, "),
        field=_field(error["loc"]),
        value=str(given)[:_VALUE_CHARACTERS] if plain else None,
        cure=_CURES.get(error["type"], "correct it as the reason says"),
    )


def _field(location: Iterable[str | int]) -> str:
    parts = [str(part) for part in location if part != "[key]"]
    # pydantic also names the member of a union that it chose; no person wrote that.
    if len(parts) > 3 and parts[0] == "checks" and parts[3] in _CHECK_KINDS:
        del parts[3]
    return ".".join(parts)
