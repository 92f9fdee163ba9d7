"""How long a stage may take to begin, to be done and to be answered, and when it is tried again."""

import hashlib
from datetime import datetime, timedelta
from typing import Final

from services.planner.run import Decision, Run, unchanged
from shared.contracts.runs import StageRecord
from shared.contracts.stages import Begun, StageBegun
from shared.contracts.topics import principal_of
from shared.contracts.values import StageName

VALIDATED: Final[frozenset[StageName]] = frozenset({"validate", "check-workflows"})
"""The validator's stages; the others are the executor's."""

START_WITHIN_S: Final = 60.0
"""A stage that no worker has begun by then is said to wait for one; who is at work says so well before."""

DEADLINES_S: Final[dict[StageName, float]] = {
    "review": 300,
    "prepare": 3600,
    "apply": 300,
    "migrate": 3600,
    "validate": 1800,
    "check-workflows": 1800,
    "prove-backup": 3600,
    "deploy": 3600,
    "record": 300,
    "roll-back": 3600,
}
"""What its worker is given."""
GRACE_S: Final = 60.0
"""How much longer than its worker the planner waits for a stage: a lease may have to run out first."""

ATTEMPTS_MAX: Final = 3
RETRY_DELAYS_S: Final = (2.0, 10.0)
"""At the most; see `retry_delay`."""


def first_look(now: datetime) -> datetime:
    """When to see whether a stage that is entered now has begun."""
    return now + timedelta(seconds=START_WITHIN_S)


def over_at(stage: StageName, since: datetime) -> datetime:
    """When a stage that was entered, or has begun, at `since` is given up if nobody has answered."""
    return since + timedelta(seconds=answer_within_s(stage))


def answer_within_s(stage: StageName) -> float:
    return DEADLINES_S[stage] + GRACE_S


def on_begun(run: Run, word: StageBegun, now: datetime) -> Decision:
    """A worker is at work: its time counts from now on, however long the stage has waited for a worker.

    It counts once: who takes the work over has what is left, so that a stage which ends each of its
    workers comes to an end itself.
    """
    if word.fence != run.fence or run.ended or not run.is_running:
        return unchanged(run)
    record = _present(run)
    known = record.with_(begun=Begun(by=word.worker, at=word.begun_at))
    wake_at = over_at(run.stage, now) if record.begun is None else run.wake_at
    return Decision(run.with_record(known, blocked_by=None, wake_at=wake_at))


def awaited(run: Run, now: datetime) -> Run | None:
    """The Run as one that waits for a worker; none when the time for that is over, too."""
    record = _present(run)
    over = over_at(run.stage, record.started_at)
    if record.begun is not None or over <= now:
        return None
    pool = run.registration.definition.pool
    service = "validator" if run.stage in VALIDATED else "executor"
    worker = principal_of(service, pool)
    who = service if pool is None else f"{service} of pool {pool}"
    what = f"no {who} has begun {run.stage} since {record.started_at:%Y-%m-%d %H:%M:%S} UTC"
    told = run.waiting_for("sre", what, f"upgradepath topics lag --service {worker}")
    return told.with_(status=run.status, wake_at=over)


def retry_delay(run: Run) -> timedelta:
    """Until the next attempt: from half of what `RETRY_DELAYS_S` says to all of it.

    What fails together is not tried again together. Which part of it follows from the attempt's name, so
    the same history comes out the same.
    """
    most_s = RETRY_DELAYS_S[min(run.tries, len(RETRY_DELAYS_S)) - 1]
    name = f"{run.id}/{run.stage}/{run.attempt}"
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
    return timedelta(seconds=most_s * (1 + share) / 2)


def _present(run: Run) -> StageRecord:
    record = run.record_of(run.stage)
    assert record is not None
    return record
