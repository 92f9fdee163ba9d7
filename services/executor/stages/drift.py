"""Say who moved what, when something is not where the Run left it."""

from services.executor.stages.project_tree import RUN_TRAILER
from shared.clients.git import Git, Logged
from shared.contracts.stages import Finding
from shared.contracts.values import Commit

_COMMITS_SHOWN = 10


async def moved_finding(
    git: Git, branch: str, expected: Commit, found: Commit | None, *, cure: str
) -> Finding:
    """A finding that names the commits that came onto `branch` since `expected`."""
    if found is None:
        detail = "It is gone."
    elif not await git.has(expected) or not await git.is_ancestor(expected, found):
        detail = f"It was rewritten: it is at {found}, which does not contain {expected}."
    else:
        detail = f"Since {expected[:12]} came:\n{described(await git.log(expected, found))}"
    return Finding(kind="drift", subject=branch, detail=detail, cure=cure)


def described(commits: tuple[Logged, ...]) -> str:
    """A line for each commit, newest first: name, author, subject."""
    lines = [f"{commit.commit[:12]} {commit.author}: {commit.subject}" for commit in commits[:_COMMITS_SHOWN]]
    if len(commits) > _COMMITS_SHOWN:
        lines.append(f"… and {len(commits) - _COMMITS_SHOWN} more")
    return "\n".join(lines)


def trailer(message: str, name: str = RUN_TRAILER) -> str | None:
    """The value of a trailer in a commit's message."""
    for line in reversed(message.splitlines()):
        key, _, value = line.partition(": ")
        if key == name:
            return value
    return None
