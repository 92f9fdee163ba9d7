"""Files of a repository that a worker's checkout would lack, refused before anything is registered."""

import os
from pathlib import Path

from shared.clients.git import Git
from shared.clients.git_access import PersonsAccess
from shared.clients.processes import run_trusted
from shared.contracts.refusals import Refusal

_DEADLINE_S = 30.0


async def lacking(git: Git, commit: str) -> list[Refusal]:
    """One refusal for each reason, with all of its paths."""
    return [
        Refusal(
            kind="invalid",
            reason=f"{each.reason}: {each.named}",
            field=each.paths[0],
            cure=f"{each.cure}; commit and push it, and try again",
        )
        for each in await git.lacking(commit)
    ]


async def lacking_in_folder(folder: Path, branch: str) -> list[Refusal]:
    """The same of the `branch` of a checkout, or of what is checked out; none for a folder without Git."""
    argv = ("git", "rev-parse", "--absolute-git-dir")
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    found = await run_trusted(argv, cwd=folder, environment=environment, deadline_s=_DEADLINE_S)
    if found.exit_code != 0:
        return []
    git = Git(Path(found.output.strip()), str(folder), PersonsAccess())
    for name in (f"refs/heads/{branch}", "HEAD"):
        if await git.has(name):
            return await lacking(git, name)
    return []
