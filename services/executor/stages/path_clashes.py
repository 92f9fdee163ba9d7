"""Files of a package that are one with a file of the Project's where case or Unicode's form does not count.

Git keeps both. macOS and Windows have one place for them, so that a checkout there loses one of the two.
"""

import asyncio
from collections.abc import Collection, Iterable
from itertools import accumulate

from services.executor.stages.tools import Packages
from shared.clients.git import Git
from shared.contracts.stages import Finding
from shared.errors import Failure
from shared.packages.names import folded, shown

_TOLD_MAX = 50


async def require_no_clash(git: Git, tree: str, brought: Collection[str], packages: Packages) -> None:
    """Raise `Failure`, naming both, when a path that is new in `tree` falls together with another one."""
    if not brought:
        return
    there = await git.paths(tree)
    found = await asyncio.to_thread(clashing, [path for path in brought if path in there], there)
    if not found:
        return
    findings = [
        Finding(
            kind="project-file",
            subject=shown(own),
            detail=f"{shown(own)} of the Project and {shown(path)} of {packages.upgrade.system}"
            f" {packages.target} are one file where case or form does not count",
            cure=f"rename {shown(own)} on production's branch, push, and request a new plan",
        )
        for own, path in sorted(found.items())[:_TOLD_MAX]
    ]
    raise Failure(f"{len(found)} files of the Project fall together with files of the package", *findings)


def clashing(brought: Iterable[str], there: Iterable[str]) -> dict[str, str]:
    """Each path or folder of `there` that falls together with one that is brought, and that one."""
    places = {_form(above): above for path in brought for above in _above(path)}
    found: dict[str, str] = {}
    for path in there:
        for own in _above(path):
            place = places.get(_form(own))
            if place is None:
                break
            if place != own:
                found[own] = place
                break
    return found


def _above(path: str) -> Iterable[str]:
    """The folders that it lies in, the outermost first, and itself."""
    return accumulate(path.split("/"), "{}/{}".format)


def _form(path: str) -> str:
    if path.isascii():
        return path.lower()
    # Some characters have a slash in their compared form, which divides no path.
    return "/".join(folded(part).replace("/", "\0") for part in path.split("/"))
