"""Stages that do nothing and say yes, and the process that runs one service with them."""

import sys
from typing import Any

import uvloop

from services.processes import build, serve
from shared.contracts.facts import (
    ApplyFacts,
    CheckResult,
    ChecksFacts,
    DeployFacts,
    Facts,
    MigrateFacts,
    PrepareFacts,
    RecordFacts,
    ReviewFacts,
    RollBackFacts,
)
from shared.contracts.tasks import (
    ApplyTask,
    ChecksTask,
    DeployTask,
    MigrateTask,
    PrepareTask,
    ProveBackupTask,
    RecordTask,
    ReviewTask,
    RollBackTask,
    Task,
)
from shared.jobs.job import Job

COMMIT = "0" * 40
DIGEST = "0" * 64


async def yes(_: Job, task: Task) -> Facts:
    """The smallest facts with which a Run goes on."""
    match task:
        case ReviewTask():
            return ReviewFacts(
                head=COMMIT,
                production_schema=DIGEST,
                notes={},
                files=(),
                config=(),
                migrations=(),
                rules=(),
                diff=DIGEST,
            )
        case PrepareTask():
            return PrepareFacts(commit=COMMIT, database="none", rows={}, masked_columns=0)
        case ApplyTask():
            return ApplyFacts(commit=COMMIT, tree=COMMIT, base=COMMIT, files=())
        case MigrateTask():
            return MigrateFacts(
                commit=COMMIT,
                tree=COMMIT,
                migrations=(),
                staging_schema=DIGEST,
                production_schema=DIGEST,
                address=None,
            )
        case ChecksTask():
            passed = CheckResult(name="nothing", kind="command", verdict="passed", detail="", duration_ms=0)
            return ChecksFacts(stage=task.stage, commit=COMMIT, results=(passed,))
        case ProveBackupTask():
            return ChecksFacts(stage=task.stage, commit=COMMIT, results=())
        case DeployTask():
            return DeployFacts(commit=COMMIT, production_schema=DIGEST, backup=None, address=None, steps=())
        case RecordTask():
            return RecordFacts(removed=())
        case RollBackTask():
            return RollBackFacts(proof=(), steps=())


def main() -> None:
    """`python -m bench.noop SERVICE PORT`."""
    name, port = sys.argv[1], int(sys.argv[2])
    service: Any
    match name:
        # As `build` does it: only this one's rooms are in memory.
        case "executor":
            from services.executor import app as executor
            from services.executor.settings import ExecutorSettings

            service = executor.build(ExecutorSettings(), lambda _: yes)
        case "validator":
            from services.validator import app as validator
            from services.validator.settings import ValidatorSettings

            service = validator.build(ValidatorSettings(), lambda _: yes)
        case _:
            service = build(name)
    uvloop.run(serve([service], "127.0.0.1", port))


if __name__ == "__main__":
    main()
