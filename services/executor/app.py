"""The executor, wired."""

import os
from collections.abc import Callable
from functools import partial

from services.executor.api import router
from services.executor.clients.backup_places import place_of
from services.executor.clients.backup_store import BackupStore
from services.executor.freeze import Freezer, last_word
from services.executor.handlers import HANDLERS, run_stage
from services.executor.settings import ExecutorSettings
from services.executor.stages.backup_sweeper import BackupSweeper
from services.executor.stages.scratch_sweeper import ScratchSweeper
from services.executor.stages.tools import Tools
from shared.application import Service
from shared.clients.content import ContentStore
from shared.clients.git_clones import CloneSweeper
from shared.clients.secrets import Secrets
from shared.clients.worker_secrets import secrets_of
from shared.contracts.projects import Project
from shared.contracts.stages import Finding, RunExecutorStage
from shared.isolation.choosing import Isolation
from shared.isolation.scratch import Sweeper
from shared.jobs.gauges import open_jobs
from shared.jobs.handlers import WorkerInbox
from shared.jobs.pruning import RUNS_THAT_ARE_OVER
from shared.jobs.serving import serving
from shared.jobs.store import WorkerTransaction
from shared.jobs.worker import RunStage, Worker
from shared.storage.database import Database


def build(settings: ExecutorSettings, stages: Callable[[RunStage], RunStage] | None = None) -> Service:
    """The service, not yet started. `stages` makes what is done of the real ones: for measurements."""
    database = Database(
        "executor",
        settings.database_url,
        WorkerTransaction,
        pool_size=settings.database_pool,
        answer_within_s=settings.database_answer_within_s,
        principal=settings.principal,
    )
    secrets = secrets_of(settings, os.environ)
    content = ContentStore(settings.content_url)
    tools = Tools(
        content=content,
        secrets=secrets,
        folder=settings.work_folder / "executor",
        backups=_backups(settings, content, secrets),
        repositories=settings.repository_rules,
        known_hosts=settings.ssh_known_hosts,
        isolation=Isolation.of_server(settings.staging_networks),
        trust=settings.trust,
        freeze=Freezer(database, partial(last_word, settings.kafka, settings.keys().verifier, settings.pool)),
    )
    real = partial(run_stage, tools)
    run_stages = real if stages is None else stages(real)
    worker = Worker(
        database,
        serving(settings.pool, settings.pool_projects, run_stages),
        command=RunExecutorStage,
        instance=settings.instance,
        slots=settings.job_slots,
        lease_s=settings.lease_s,
        redact=secrets.redact,
    )
    inbox = WorkerInbox(database, HANDLERS, worker)
    scratch = ScratchSweeper(database, secrets)
    overdue = BackupSweeper(database, tools.backups)
    return Service(
        "executor",
        settings,
        database,
        inbox,
        router(database, partial(_missing, tools)),
        # Stopped in the opposite order: a trial that a stage waits for ends after the stage.
        [Sweeper(tools.folder), CloneSweeper(tools.clones), scratch, overdue, tools.trials, worker],
        [open_jobs(database), scratch.gauges, overdue.gauges],
        own_prunes=[RUNS_THAT_ARE_OVER],
    )


def _backups(settings: ExecutorSettings, content: ContentStore, secrets: Secrets) -> BackupStore:
    return BackupStore(
        ContentStore(settings.backup_url, settings.backup_options),
        content,
        secrets,
        settings.backup_keys,
        allow_unsealed=settings.backup_allow_unsealed,
        keep_days=settings.backup_keep_days,
        place=place_of(settings.backup_url),
        places=settings.backup_places,
    )


async def _missing(tools: Tools, project: Project) -> list[Finding]:
    # It brings the parser of SQL, which a worker at rest does without.
    from services.executor.prerequisites import missing

    return await missing(project, tools)
