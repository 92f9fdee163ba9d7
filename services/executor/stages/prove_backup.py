"""Prove the backup: has one of production come back, so that a person may stake production on it?

`migrate` begins the trial, and this stage waits for its end: mostly it is over by then.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace

from services.executor.clients.restore_drill import Drill, untried
from services.executor.stages.staging import production_url
from services.executor.stages.tools import Tools
from shared.contracts.candidates import ApprovedCandidate
from shared.contracts.facts import CheckResult, ChecksFacts
from shared.contracts.stages import Finding
from shared.contracts.tasks import ProveBackupTask
from shared.jobs.job import Effect, Job

STAGE, CHECK = "prove-backup", "backup"
_PROVEN = "backup-proven"
_OF_DEADLINE = 0.9
_MEANING = (
    "Whoever signs this off accepts that `run roll-back --restore-backup` may fail. Ways down that are"
    " statements do not need it. Or follow the cures, and `upgradepath run continue` tries another backup."
)


async def run(job: Job, task: ProveBackupTask, tools: Tools) -> ChecksFacts:
    """Passed, or what an approver has to accept, before production is approved to be written."""
    within_s = job.deadline_s * _OF_DEADLINE
    tried = await tools.trials.result(job, production_url(job, tools), tools.folder, within_s)
    if tried is None:
        tried = untried(_late(within_s))
    # With the store and the keys that a roll-back will use.
    unopened = await tools.backups.rehearse(job.project, tools.folder)
    if unopened is not None:
        tried = replace(tried, findings=(*tried.findings, unopened))
    if not tried.findings:
        async with job.journal.effect(_PROVEN, json.dumps([tried.fingerprint, tried.words()])):
            pass
    result = CheckResult(
        name=CHECK,
        kind="restore",
        verdict="needs-sign-off" if tried.findings else "passed",
        detail=_said(tried),
        duration_ms=round(tried.duration_s * 1000),
    )
    return ChecksFacts(stage=STAGE, commit=task.commit, results=(result,))


def proven(effects: Sequence[Effect], fingerprint: str) -> str | None:
    """What was compared when a backup with this fingerprint came back; none when none did."""
    for effect in reversed(effects):
        if effect.name == _PROVEN and effect.done_at is not None:
            known, words = json.loads(effect.detail)
            return words if known == fingerprint else None
    return None


def accepted(approved: ApprovedCandidate) -> bool:
    """An approver has accepted that the backup may not come back."""
    checks: Collection[tuple[str, str, str]] = approved.candidate.checks
    return (STAGE, CHECK, "needs-sign-off") in checks


def _late(within_s: float) -> Finding:
    return Finding(
        kind="data-loss",
        subject="backup",
        detail=f"It could not be tried in time: after {within_s:g} s the trial waits, or is at work.",
        cure="`upgradepath run continue` waits for it again; it goes on meanwhile",
    )


def _said(tried: Drill) -> str:
    if not tried.findings:
        return f"A backup came back as it was: {tried.words()}."
    lines = [f"{each.subject}: {each.detail} Cure: {each.cure}" for each in tried.findings]
    return "\n".join([*lines, _MEANING])
