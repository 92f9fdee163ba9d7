"""CHANGELOG.md and MIGRATION.md: one `## version` heading per version, newest first.

Headings as keep-a-changelog has them are read too: `## [1.3.0] - 2026-03-01`, `## [Unreleased]`.
"""

import itertools
import re

from semver import Version as Semantic

from shared.contracts.refusals import Refusal
from shared.versions import precedence

_HEADING = "## "
_TITLE = re.compile(
    r"\[?+(?P<version>[^\s\[\]]++)\]?+(?:\s++[-–—]\s++[0-9]{4}-[0-9]{2}-[0-9]{2})?+(?:\s++\[YANKED\])?+"
)
_UNRELEASED = "unreleased"
_FENCES = ("```", "~~~")


def read_headings(text: str, path: str) -> tuple[dict[str, str], list[Refusal]]:
    """The text under each version's heading, in the file's order, and what is wrong with the headings.

    What stands under `Unreleased` is of no version.
    """
    sections: dict[str, list[str]] = {}
    refusals: list[Refusal] = []
    under: list[str] = []
    fence: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        mark = line.lstrip()[:3]
        if mark in _FENCES and fence in (None, mark):
            fence = mark if fence is None else None
        if fence is not None or not line.startswith(_HEADING):
            under.append(line)
            continue
        title = line.removeprefix(_HEADING).strip()
        matched = _TITLE.fullmatch(title)
        version = matched["version"] if matched else title
        where = f"{path} line {number}"
        under = []
        if version.casefold() == _UNRELEASED:
            continue
        if not Semantic.is_valid(version):
            cure = "write `## 1.3.0` or `## [1.3.0] - 2026-03-01`; use ### for headings of your own"
            refusals.append(_refusal("this heading is no version", where, title, cure))
        elif version in sections:
            refusals.append(_refusal("this version has two headings", where, version, "join them"))
        else:
            sections[version] = under
    for newer, older in itertools.pairwise(sections):
        if precedence(newer) <= precedence(older):
            cure = "order the headings, the newest version first"
            refusals.append(_refusal(f"{older} stands below {newer}", path, older, cure))
    if not sections and not refusals:
        refusals.append(
            _refusal("there is no heading", path, None, "write a `## version` heading per version")
        )
    return {version: "\n".join(lines).strip() for version, lines in sections.items()}, refusals


def _refusal(reason: str, field: str, value: str | None, cure: str) -> Refusal:
    return Refusal(kind="invalid", reason=reason, field=field, value=value, cure=cure)
