"""Which Projects a worker serves: a pool's those that its operator lists, a common one those of no pool.

A Project names its pool itself. Without this list it could name another partner's, and have its own commands
run where that partner's secrets are.
"""

from collections.abc import Collection
from typing import Any

from shared.contracts.facts import Facts
from shared.contracts.stages import Finding
from shared.errors import Failure
from shared.jobs.job import Job
from shared.jobs.worker import RunStage


def serving(pool: str | None, projects: Collection[str], run_stage: RunStage) -> RunStage:
    """`run_stage` for the Projects that are served here; for others a `Failure`, before anything is done."""

    async def run(job: Job, task: Any) -> Facts:
        named = job.project.definition.pool
        if named != pool:
            raise _refused(
                job, f"{job.project.id} names {_words(named)}, and this worker is of {_words(pool)}"
            )
        if pool is not None and job.project.id not in projects:
            raise _refused(job, f"pool {pool} does not serve {job.project.id}")
        return await run_stage(job, task)

    return run


def _words(pool: str | None) -> str:
    return "no pool" if pool is None else f"pool {pool}"


def _refused(job: Job, reason: str) -> Failure:
    finding = Finding(
        kind="project-file",
        subject="pool",
        detail=reason,
        cure=f"the pool's operator adds {job.project.id} to UPGRADES_POOL_PROJECTS; or name another pool in"
        " upgradepath.toml and register the Project again",
    )
    return Failure(reason, finding)
