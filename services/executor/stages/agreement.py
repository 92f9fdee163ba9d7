"""What the repository says of itself, against what the registry knows: both must agree."""

from collections.abc import Sequence

from services.executor.clients.reading import read_in_child
from shared.clients.git import Git
from shared.contracts.projects import Project
from shared.contracts.refusals import Refusal
from shared.contracts.stages import Finding
from shared.contracts.values import Commit
from shared.contracts.version_maps import Pins
from shared.errors import Failure, Reject
from shared.project_file import PROJECT_FILE, VERSION_MAP_FILE, read_project_file, read_version_map


async def require_registered(git: Git, head: Commit, project: Project) -> None:
    """Raise `Failure` when `upgradepath.toml` at `head` means something else than what is registered."""
    text = await _text(git, head, PROJECT_FILE)
    try:
        declared = await read_in_child(PROJECT_FILE, read_project_file, text)
    except Reject as rejected:
        raise Failure(f"{PROJECT_FILE} cannot be read", *_findings(PROJECT_FILE, rejected.refusals)) from None
    if declared != project.definition:
        was, now = project.definition.model_dump(), declared.model_dump()
        parts = ", ".join(part for part in now if now[part] != was[part])
        finding = Finding(
            kind="project-file",
            subject=PROJECT_FILE,
            detail=f"at {head} it differs from what is registered, in: {parts}",
            cure=f"register {project.id} again, or push the {PROJECT_FILE} that is registered",
        )
        raise Failure(f"{PROJECT_FILE} is not what is registered", finding)


async def require_pins(git: Git, head: Commit, pins: Pins) -> None:
    """Raise `Failure` when `version-map.yaml` at `head` says something else than `pins`."""
    text = await _text(git, head, VERSION_MAP_FILE)
    try:
        found = await read_in_child(VERSION_MAP_FILE, read_version_map, text)
    except Reject as rejected:
        findings = _findings(VERSION_MAP_FILE, rejected.refusals)
        raise Failure(f"{VERSION_MAP_FILE} cannot be read", *findings) from None
    if found != pins:
        differing = "; ".join(
            f"{name} is {found.get(name, 'absent')}, registered {pins.get(name, 'nowhere')}"
            for name in sorted(found.keys() | pins.keys())
            if found.get(name) != pins.get(name)
        )
        finding = Finding(
            kind="project-file",
            subject=VERSION_MAP_FILE,
            detail=f"at {head}: {differing}",
            cure=f"restore {VERSION_MAP_FILE}: only a deploy changes it",
        )
        raise Failure(f"{VERSION_MAP_FILE} is not what the registry holds", finding)


async def _text(git: Git, head: Commit, path: str) -> str:
    data = await git.show(head, path)
    problem = "there is no such file" if data is None else None
    text = ""
    if data is not None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            problem = "this is no UTF-8"
    if problem is not None:
        finding = Finding(
            kind="project-file",
            subject=path,
            detail=f"at {head}: {problem}",
            cure=f"push {path} to the root of production's branch",
        )
        raise Failure(f"{path} cannot be read", finding)
    return text


def _findings(path: str, refusals: Sequence[Refusal]) -> list[Finding]:
    return [
        Finding(
            kind="project-file",
            subject=path,
            detail=f"{refusal.field}: {refusal.reason}",
            cure=refusal.cure,
        )
        for refusal in refusals
    ]
