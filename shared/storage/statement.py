"""A commit as one statement: every part of it is a CTE, and all of them hang on one guard.

A part writes only `where (select holds from guard)`, so that what somebody else has changed meanwhile
leaves nothing done, in one round trip and without a `begin`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_PLACEHOLDER = re.compile(r"\$(\d+)")
ALWAYS = "select true as holds"
HOLDS = "(select holds from guard)"
"""What every part that writes asks for."""


@dataclass(frozen=True)
class Part:
    """A statement of its own with `$1`, `$2`, … and what they stand for."""

    sql: str
    args: tuple[Any, ...] = ()
    name: str | None = None
    """By which what is selected beside can speak of its rows."""


def joined(guard: Part | None, parts: Sequence[Part], also: str = "") -> Part:
    """One statement that does all parts if the guard holds, and answers one row: `holds`.

    The guard is a query of one row with the column `holds`; it is asked once, before anything is written.
    `also` is selected beside it, from named parts.
    """
    every = (guard or Part(ALWAYS), *parts)
    sql = _text(tuple((part.sql, len(part.args), part.name) for part in every))
    return Part(f"{sql}{also} from guard", tuple(arg for part in every for arg in part.args))


@lru_cache(maxsize=256)
def _text(parts: tuple[tuple[str, int, str | None], ...]) -> str:
    written, taken = [], 0
    for number, (sql, count, given) in enumerate(parts):
        name = f"{given or f'part_{number}'} as" if number else "guard as materialized"
        written.append(f"{name} ({_PLACEHOLDER.sub(_moved_by(taken), sql)})")
        taken += count
    return f"with {', '.join(written)} select holds"


def _moved_by(count: int) -> Any:
    return lambda found: f"${int(found[1]) + count}"
