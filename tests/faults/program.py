"""One service in a process of its own, with stages that do nothing for Projects that are nowhere.

Real Projects have real stages, so one system carries both: many Runs to load it, and some that touch a world.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import uvloop

from bench.noop import yes
from services.executor import app as executor
from services.executor.handlers import run_stage as run_executor_stage
from services.executor.settings import ExecutorSettings
from services.executor.stages.tools import Tools as ExecutorTools
from services.processes import build, serve
from services.validator import app as validator
from services.validator.handlers import run_stage as run_validator_stage
from services.validator.settings import ValidatorSettings
from services.validator.stage import Tools as ValidatorTools
from shared.application import Service
from shared.clients.content import ContentStore
from shared.clients.worker_secrets import secrets_of
from shared.contracts.facts import Facts
from shared.crash_points import inside
from shared.jobs.job import Job
from shared.settings import WorkerSettings
from shared.telemetry.logs import configure_logging

NOWHERE = "/nowhere/"
"""The repository of a Project whose stages do nothing."""
STUMBLES = "stumbles"
"""How the id of a Project begins whose review errors once: so there is something to try again."""


def _build(name: str) -> Service:
    settings: Any
    match name:
        case "executor":
            settings = ExecutorSettings()
            return executor.build(
                settings, _Stages(run_executor_stage, _tools(settings, name, ExecutorTools))
            )
        case "validator":
            settings = ValidatorSettings()
            tools = _tools(settings, name, ValidatorTools)
            return validator.build(settings, _Stages(run_validator_stage, tools))
        case _:
            return build(name)


def _tools(settings: WorkerSettings, name: str, made: Any) -> Any:
    return made(
        content=ContentStore(settings.content_url),
        secrets=secrets_of(settings, os.environ),
        folder=settings.work_folder / name,
        repositories=settings.repository_rules,
    )


class _Stages:
    """`yes` for what is nowhere, and the service's own stages for what is somewhere."""

    def __init__(self, run_stage: Any, tools: Any) -> None:
        self._run_stage = run_stage
        self._tools = tools

    async def __call__(self, job: Job, task: Any) -> Facts:
        if job.project.repository.startswith(NOWHERE):
            if job.project.id.startswith(STUMBLES) and (job.stage, job.attempt) == ("review", 1):
                raise ConnectionError("the rig wants a second attempt")
            with inside("no-op"):
                return await yes(job, task)
        facts: Facts = await self._run_stage(self._tools, job, task)
        return facts


def serve_one(name: str, port: int) -> None:
    """Until it is told to stop, or is stopped untold."""
    configure_logging(logging.INFO)
    uvloop.run(serve([_build(name)], "127.0.0.1", port))
