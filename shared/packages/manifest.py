"""`system.toml`: what a System says of one of its versions."""

import math
import re
from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from shared.contracts.values import SystemName, Version
from shared.errors import Reject
from shared.versions import parse_constraint

# Real histories have spaces, capitals and umlauts in them; only the order by name must be the order of time.
MIGRATION_FOLDER = re.compile(r'[0-9][^/\\"\x00-\x1f\x7f]{0,199}')

_WILDCARD = re.compile(r"\*+|\?")
_WILDCARDS_MAX = 3


def _constraint(text: str) -> str:
    try:
        parse_constraint(text)
    except Reject as rejected:
        (refusal,) = rejected.refusals
        raise ValueError(f"{refusal.reason}; {refusal.cure}") from None
    return text


def _glob(text: str) -> str:
    if text.startswith("/") or ".." in text.split("/"):
        raise ValueError("a pattern is a path under files/, without ..")
    if len(_WILDCARD.findall(text)) > _WILDCARDS_MAX:
        # Each more multiplies how long a name may take that does not match.
        raise ValueError(f"a pattern has at most {_WILDCARDS_MAX} of **, * and ?")
    return text


def _storable(value: JsonValue) -> JsonValue:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a default is a finite number")
    if isinstance(value, dict):
        for part in value.values():
            _storable(part)
    if isinstance(value, list):
        for part in value:
            _storable(part)
    return value


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRules(_Declared):
    """`[files]`."""

    overwrite: tuple[Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_glob)], ...] = Field(
        default=(), max_length=100, description="patterns under files/; what they match is never merged"
    )


class MigrationRules(_Declared):
    """`[migrations]`."""

    contract: tuple[str, ...] = Field(default=(), description="folder names that run after the activation")

    @cached_property
    def contracting(self) -> frozenset[str]:
        """The same, to be asked of each of thousands of migrations."""
        return frozenset(self.contract)


class Manifest(_Declared):
    """The whole of `system.toml`."""

    name: SystemName
    version: Version
    summary: str = Field(min_length=1, max_length=200, pattern=r"^[^\r\n]+$")
    required: bool = False
    breaking: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    requires: dict[SystemName, Annotated[str, AfterValidator(_constraint)]] = Field(default={})
    config: dict[str, Annotated[JsonValue, AfterValidator(_storable)]] = Field(default={})
    files: FileRules = FileRules()
    migrations: MigrationRules = MigrationRules()
