"""A concern: SQL that a Release may not bring, or that a person should know of before it runs. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

_STATEMENT_CHARACTERS = 160
_NAMED_MAX = 10
_REASONS_MAX = 30
LEAVE_OUT = "leave it out; whoever runs the server does it there, by hand and knowingly"
INSIDE = "write it so that it stays within the Project's own schemas"


@dataclass(frozen=True)
class Concern:
    """`line` counts from 1; `statement` is the beginning of the statement, on one line."""

    kind: Literal["refused", "risk"]
    line: int
    statement: str
    reason: str
    cure: str = ""
    grave: bool = False


@dataclass(frozen=True)
class Grouped:
    """One reason with all of its places; `first` is where it stands first, by the name of its script."""

    reason: str
    cure: str
    first: str
    places: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The reason and the places, ten of them at the most."""
        named = "; ".join(self.places[:_NAMED_MAX])
        left = len(self.places) - _NAMED_MAX
        return f"{named}{f'; and {left} more' if left > 0 else ''}: {self.reason}"


def excerpt(sql: str) -> str:
    """The beginning of a statement, on one line."""
    text = " ".join(sql[: _STATEMENT_CHARACTERS * 4].split())
    return text if len(text) <= _STATEMENT_CHARACTERS else text[: _STATEMENT_CHARACTERS - 1] + "…"


def grouped(found: Iterable[tuple[str, Concern]]) -> Iterator[Grouped]:
    """Concerns by the names of their scripts: one for each reason, and not more than 30."""
    places: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, concern in found:
        place = f"{name} line {concern.line} ({concern.statement})"
        places.setdefault((concern.reason, concern.cure), []).append((name, place))
    for (reason, cure), named in islice(places.items(), _REASONS_MAX):
        yield Grouped(reason, cure, named[0][0], tuple(dict.fromkeys(place for _, place in named)))
    if len(places) > _REASONS_MAX:
        (_, cure), named = list(places.items())[_REASONS_MAX]
        yield Grouped(
            f"… and {len(places) - _REASONS_MAX} other reasons", cure, named[0][0], ("from here on",)
        )
