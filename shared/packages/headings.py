"""CHANGELOG.md and MIGRATION.md: one `## version` heading per version, newest first."""

import itertools

from semver import Version as Semantic

from shared.contracts.refusals import Refusal
from shared.versions import precedence

_HEADING = "## "
_FENCES = ("```", "~~~")


def read_headings(text: str, path: str) -> tuple[dict[str, str], list[Refusal]]:
    """The text under each version's heading, in the file's order, and what is wrong with the headings."""
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
        version = line.removeprefix(_HEADING).strip()
        where = f"{path} line {number}"
        under = []
        if not Semantic.is_valid(version):
            cure = "write `## 1.3.0`: a version and nothing else; use ### for headings of your own"
            refusals.append(_refusal("this heading is no version", where, version, cure))
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
