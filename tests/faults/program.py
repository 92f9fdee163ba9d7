"""One service in a process of its own, with stages that do nothing for Projects that are nowhere.

Real Projects have real stages, so one system carries both: many Runs to load it, and some that touch a world.
"""

from __future__ import annotations

import logging
from typing import Any

import uvloop

from bench.noop import yes
from services.executor import app as executor
from services.executor.settings import ExecutorSettings
from services.processes import build, serve
from services.validator import app as validator
from services.validator.settings import ValidatorSettings
from shared.application import Service
from shared.contracts.facts import Facts
from shared.crash_points import inside
from shared.jobs.job import Job
from shared.jobs.worker import RunStage
from shared.telemetry.logs import configure_logging

NOWHERE = "/nowhere/"
"""The repository of a Project whose stages do nothing."""
STUMBLES = "stumbles"
"""How the id of a Project begins whose review errors once: so there is something to try again."""


def _build(name: str) -> Service:
    match name:
        case "executor":
            return executor.build(ExecutorSettings(), _Stages)
        case "validator":
            return validator.build(ValidatorSettings(), _Stages)
        case _:
            return build(name)


class _Stages:
    """`yes` for what is nowhere, and the service's own stages for what is somewhere."""

    def __init__(self, run_stage: RunStage) -> None:
        self._run_stage = run_stage

    async def __call__(self, job: Job, task: Any) -> Facts:
        if job.project.repository.startswith(NOWHERE):
            if job.project.id.startswith(STUMBLES) and (job.stage, job.attempt) == ("review", 1):
                raise ConnectionError("the rig wants a second attempt")
            with inside("no-op"):
                return await yes(job, task)
        return await self._run_stage(job, task)


def serve_one(name: str, port: int) -> None:
    """Until it is told to stop, or is stopped untold."""
    configure_logging(logging.INFO)
    uvloop.run(serve([_build(name)], "127.0.0.1", port))
