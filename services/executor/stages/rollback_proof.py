"""The proof of a rollback: what stood before the Run, what stands now, and whether it is the same."""

import hashlib

from services.executor.clients.postgres import schema_digest, schema_is
from services.executor.domain.whose import Whose
from services.executor.stages.deploy_commit import find_deployed
from services.executor.stages.drift import described, trailer
from services.executor.stages.live import LiveProduction
from services.executor.stages.staging import production_url
from services.executor.stages.tools import Tools
from services.executor.stages.whose import whose_at
from shared.clients.git import Git
from shared.contracts.facts import Proof
from shared.contracts.stages import Finding
from shared.contracts.tasks import RollBackTask
from shared.contracts.values import Commit
from shared.errors import Retry
from shared.jobs.job import Job
from shared.project_file import VERSION_MAP_FILE, write_version_map

_CONFIG_FOLDER = "config"
_NOTHING = "nothing"


async def prove(job: Job, task: RollBackTask, tools: Tools, git: Git) -> tuple[Proof, ...]:
    """A line for the branch, the version map, the configuration, the schema and the live commit.

    What others did meanwhile is told and does not count against the rollback; what the Run left would.
    """
    if task.base is None:
        return (Proof(what="production", before="never read", now="never touched", same=True),)
    branch = job.project.definition.environments.production.branch
    head = await git.head(branch)
    if head is None or not await git.has(task.base):
        return (Proof(what=f"branch {branch}", before=task.base, now=head or _NOTHING, same=False),)
    proof = [await _files(job, task, git, branch, head)]
    proof.append(await _version_map(task, git, head))
    proof.append(await _config(job, task, git, head))
    if task.production_schema is not None:
        at = task.commit if task.commit is not None and await git.has(task.commit) else task.base
        whose = await whose_at(git, at, job.project.definition)
        proof.append(await _schema(task, production_url(job, tools), whose))
    proof.append(await _live(job, task, tools, git, head))
    return tuple(proof)


def unproven(proof: tuple[Proof, ...]) -> tuple[Finding, ...]:
    """A finding for each line that is not as before."""
    return tuple(
        Finding(
            kind="drift",
            subject=line.what,
            detail=f"before: {line.before}\nnow: {line.now}",
            cure="see who changed it since the deploy, put it right, then run roll-back again",
        )
        for line in proof
        if not line.same
    )


async def _files(job: Job, task: RollBackTask, git: Git, branch: str, head: Commit) -> Proof:
    assert task.base is not None
    before, now = await git.tree(task.base), await git.tree(head)
    if before == now:
        return Proof(what=f"files of branch {branch}", before=f"tree {before}", now=f"tree {now}", same=True)
    others = await _others(git, task.base, head, job.run_id)
    left = await _left(job, git, task.base, head)
    told = [f"tree {now}"]
    if left:
        told.append(f"of the Run are left: {', '.join(left)}")
    if others:
        told.append(f"by others since:\n{others}")
    same = not left and bool(others)
    return Proof(what=f"files of branch {branch}", before=f"tree {before}", now="; ".join(told), same=same)


async def _others(git: Git, base: Commit, head: Commit, run_id: str) -> str:
    """The commits since `base` that are not the Run's."""
    found = tuple(each for each in await git.log(base, head) if trailer(each.message) != run_id)
    return described(found)


async def _left(job: Job, git: Git, base: Commit, head: Commit) -> list[str]:
    """Paths that still are as the Run's merge made them, and differ from before."""
    deployed = await find_deployed(git, job.run_id, base, head)
    if deployed is None:
        return []
    files = await git.paths(head)
    changes = await git.changed(base, deployed.merge)
    return [path for path, (_, after) in changes.items() if files.get(path) == after]


async def _version_map(task: RollBackTask, git: Git, head: Commit) -> Proof:
    assert task.base is not None
    before, now = await git.show(task.base, VERSION_MAP_FILE), await git.show(head, VERSION_MAP_FILE)
    pins = before if before is not None else write_version_map(task.pins_before).encode()
    return Proof(what=VERSION_MAP_FILE, before=_told(pins), now=_told(now), same=pins == now)


def _told(text: bytes | None) -> str:
    return _NOTHING if text is None else ", ".join(text.decode(errors="replace").split("\n")).rstrip(", ")


async def _config(job: Job, task: RollBackTask, git: Git, head: Commit) -> Proof:
    assert task.base is not None
    before = await _listing(git, task.base)
    now = await _listing(git, head)
    same = before == now
    if not same:
        left = await _left(job, git, task.base, head)
        others = await _others(git, task.base, head, job.run_id)
        same = bool(others) and not any(path.startswith(f"{_CONFIG_FOLDER}/") for path in left)
        now = f"{now}; changed by others" if same else now
    return Proof(what=f"{_CONFIG_FOLDER}/", before=before, now=now, same=same)


async def _listing(git: Git, tree: str) -> str:
    files = await git.paths(tree, _CONFIG_FOLDER)
    lines = "".join(f"{entry.mode} {entry.blob} {path}\n" for path, entry in files.items())
    return f"{len(files)} files, sha256 {hashlib.sha256(lines.encode()).hexdigest()}"


async def _schema(task: RollBackTask, url: str, whose: Whose) -> Proof:
    assert task.production_schema is not None
    same = await schema_is(url, task.production_schema, whose)
    now = task.production_schema if same else await schema_digest(url, whose)
    told = now
    if not same and not task.deploy_began:
        # Nothing of the Run was ever sent there, so this is somebody else's doing.
        told, same = f"{now}; changed by others: the Run did not write to production", True
    return Proof(what="production's schema", before=task.production_schema, now=told, same=same)


async def _live(job: Job, task: RollBackTask, tools: Tools, git: Git, head: Commit) -> Proof:
    """The live commit may be another than before (the revert), but its files must not be the Run's."""
    assert task.base is not None
    what = "live commit"
    async with LiveProduction(job, tools, git, task.base) as production:
        try:
            live = await production.observe()
        except Retry as error:
            if task.deploy_began:
                raise
            # A Run that never touched production is not held up by what production cannot say.
            return Proof(what=what, before="not touched", now=f"not known: {error}", same=True)
    if not task.deploy_began:
        return Proof(what=what, before="not touched", now=live or _NOTHING, same=True)
    deployed = await find_deployed(git, job.run_id, task.base, head)
    if live is not None and await git.has(live):
        if await git.tree(live) == await git.tree(task.base):
            return Proof(what=what, before=task.base, now=f"{live}, the same files", same=True)
        reverted = deployed is not None and live == deployed.revert
        told = f"{live}, which reverts the Run and keeps what others committed" if reverted else live
        return Proof(what=what, before=task.base, now=told, same=reverted or deployed is None)
    return Proof(what=what, before=task.base, now=live or _NOTHING, same=deployed is None)
