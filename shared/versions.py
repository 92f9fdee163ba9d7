"""Versions and the constraints on them: semver 2.0, as https://semver.org orders it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from semver import Version as Semantic

from shared.errors import invalid

_PART = r"(0|[1-9][0-9]*)"
_COMPARISON = re.compile(
    rf"(?P<operator>==|!=|>=|<=|>|<)\s*(?P<version>{_PART}(\.{_PART}){{0,2}}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)"
)
_CURE = "write comparisons joined by commas, each one of == != >= <= > < and a version: >=0.3,<0.4"


@dataclass(frozen=True)
class _Comparison:
    """One comparison against every version from `low` on and before `high`; whole versions have no high."""

    operator: str
    low: Semantic
    high: Semantic | None

    def admits(self, version: Semantic) -> bool:
        below = version < self.low
        # A partial version stands for all the versions that begin like it: `<=0.3` admits 0.3.9.
        above = version > self.low if self.high is None else version >= self.high
        match self.operator:
            case "==":
                return not below and not above
            case "!=":
                return below or above
            case ">=":
                return not below
            case "<=":
                return not above
            case ">":
                return above
            case _:
                return below

    def names_prerelease_of(self, version: Semantic) -> bool:
        return self.low.prerelease is not None and self.low.finalize_version() == version.finalize_version()


@dataclass(frozen=True)
class Constraint:
    """Comparisons that must all hold, as written in `text`."""

    text: str
    comparisons: tuple[_Comparison, ...]

    def admits(self, version: str) -> bool:
        """Whether a version satisfies it; a pre-release only if a comparison names one of that version."""
        parsed = Semantic.parse(version)
        if parsed.prerelease and not any(one.names_prerelease_of(parsed) for one in self.comparisons):
            return False
        return all(comparison.admits(parsed) for comparison in self.comparisons)


def parse_constraint(text: str, *, field: str = "requires") -> Constraint:
    """Read `>=0.3,<0.4`; versions may be partial. Raises `Reject` naming `field`."""
    return Constraint(text, tuple(_comparison(part.strip(), text, field) for part in text.split(",")))


def satisfies(version: str, constraint: str) -> bool:
    """Whether a version satisfies a constraint, see `Constraint.admits`."""
    return parse_constraint(constraint).admits(version)


def precedence(version: str) -> Semantic:
    """A sorting key: semver's order, in which build metadata does not count."""
    return Semantic.parse(version)


def newest_first(versions: Iterable[str]) -> list[str]:
    """Sorted, the newest first."""
    return sorted(versions, key=precedence, reverse=True)


def change_type(old: str, new: str) -> Literal["patch", "minor", "major"]:
    """The leftmost number that differs; a pre-release's way to its release counts as a patch."""
    before, after = Semantic.parse(old), Semantic.parse(new)
    if before.major != after.major:
        return "major"
    return "minor" if before.minor != after.minor else "patch"


def _comparison(part: str, text: str, field: str) -> _Comparison:
    matched = _COMPARISON.fullmatch(part)
    if matched is None:
        raise invalid(f"{part!r} is no comparison of a version", field=field, value=text, cure=_CURE)
    numbers = re.split(r"[-+]", matched["version"], maxsplit=1)[0].split(".")
    try:
        if len(numbers) == 3:
            return _Comparison(matched["operator"], Semantic.parse(matched["version"]), None)
    except ValueError as error:
        raise invalid(f"{part!r}: {error}", field=field, value=text, cure=_CURE) from None
    if re.search(r"[-+]", matched["version"]):
        raise invalid(f"{part!r}: only a full version has a suffix", field=field, value=text, cure=_CURE)
    low = Semantic.parse(".".join([*numbers, "0", "0"][:3]))
    return _Comparison(matched["operator"], low, low.bump_major() if len(numbers) == 1 else low.bump_minor())
