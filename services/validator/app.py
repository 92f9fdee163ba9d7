"""The validator, wired."""

import os
from collections.abc import Callable
from functools import partial

from services.validator.api import router
from services.validator.handlers import HANDLERS, run_stage
from services.validator.settings import ValidatorSettings
from services.validator.stage import Tools
from shared.application import Service
from shared.clients.content import ContentStore
from shared.clients.git_clones import CloneSweeper
from shared.clients.worker_secrets import secrets_of
from shared.contracts.stages import RunValidatorStage
from shared.isolation.choosing import Isolation
from shared.jobs.gauges import open_jobs
from shared.jobs.handlers import WorkerInbox
from shared.jobs.pruning import ANSWERED_JOBS
from shared.jobs.serving import serving
from shared.jobs.store import WorkerTransaction
from shared.jobs.worker import RunStage, Worker
from shared.storage.database import Database


def build(settings: ValidatorSettings, stages: Callable[[RunStage], RunStage] | None = None) -> Service:
    """The service, not yet started. `stages` makes what is done of the real ones: for measurements."""
    database = Database(
        "validator",
        settings.database_url,
        WorkerTransaction,
        pool_size=settings.database_pool,
        answer_within_s=settings.database_answer_within_s,
        principal=settings.principal,
    )
    content = ContentStore(settings.content_url)
    # Its checks are a Project's own programs: nothing of production is ever in this process.
    secrets = secrets_of(settings, os.environ, scopes=("staging", "repository"))
    tools = Tools(
        content,
        secrets,
        settings.work_folder / "validator",
        repositories=settings.repository_rules,
        known_hosts=settings.ssh_known_hosts,
        networks=settings.staging_networks,
        isolation=Isolation.of_server(settings.staging_networks),
    )
    real = partial(run_stage, tools)
    run_stages = real if stages is None else stages(real)
    worker = Worker(
        database,
        serving(settings.pool, settings.pool_projects, run_stages),
        command=RunValidatorStage,
        instance=settings.instance,
        slots=settings.job_slots,
        lease_s=settings.lease_s,
        redact=secrets.redact,
    )
    inbox = WorkerInbox(database, HANDLERS, worker)
    return Service(
        "validator",
        settings,
        database,
        inbox,
        router(database, content),
        [CloneSweeper(tools.clones), worker],
        [open_jobs(database)],
        own_prunes=[ANSWERED_JOBS],
    )
