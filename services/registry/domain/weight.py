"""Which changes of a registration carry weight: what decides, and what runs with a Project's secrets.

Everything does that is not named here as light. A maintainer who is no approver could otherwise have his
own command run in production, give its secrets to another pool, or take away what approvers rely on.
"""

import re
from collections.abc import Iterator
from typing import Any

from shared.contracts.projects import CommandCheck, Project

_LIGHT = re.compile(
    r"definition\.(name|environments\.(production|staging)\.deadline_s|checks\.[a-z-]++\.[a-z0-9-]++\.deadline_s)"
)
_CHECK = re.compile(r"definition\.checks\.(validate|check-workflows)\.([a-z0-9-]++)")
_SHOWN_MAX = 20


def weighty_changes(before: Project, after: Project) -> tuple[str, ...]:
    """The fields that carry weight and differ, as paths; empty when any maintainer may make the change."""
    changed = _differing(_document(before), _document(after), "")
    return tuple(path for path, was_there in changed if was_there or not _is_light_addition(path, after))[
        :_SHOWN_MAX
    ]


def _is_light_addition(path: str, after: Project) -> bool:
    """A check more proves more, as long as it reaches no other host than checks do anyway."""
    found = _CHECK.fullmatch(path)
    if found is None:
        return False
    checks = after.definition.checks
    check = (checks.validate_ if found[1] == "validate" else checks.check_workflows)[found[2]]
    return not isinstance(check, CommandCheck) or check.network == CommandCheck(run=("true",)).network


def _differing(before: Any, after: Any, path: str) -> Iterator[tuple[str, bool]]:
    """Each path whose value differs and is not light, and whether there was a value before."""
    if before == after or _LIGHT.fullmatch(path):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from _differing(before.get(key), after.get(key), f"{path}.{key}" if path else key)
        return
    yield path, before is not None


def _document(project: Project) -> dict[str, Any]:
    document: dict[str, Any] = project.model_dump(mode="json", by_alias=True)
    # Neither their order nor a name twice says anything.
    document["approvers"] = sorted({*project.approvers})
    return document
