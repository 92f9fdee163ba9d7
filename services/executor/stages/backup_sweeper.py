"""Backups go `keep_days` after their Run has ended; the Run's journal and its page say so.

A Run has ended for this executor once it was recorded, rolled back, or followed by another one of its
Project, and nothing of it is under way. A deletion is an effect: its intent is committed before the store is
asked, so the next sweep, of whichever executor, finishes what a killed one began. A backup that no store has
is not called deleted unless a deletion of it began, or nothing was ever kept.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from prometheus_client.core import Metric

from services.executor.clients.backup_places import PLACE
from services.executor.clients.backup_store import BackupStore
from shared import background
from shared.clock import utc_now
from shared.contracts.stages import BackupDeleted
from shared.crash_points import around
from shared.errors import Retry
from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database, is_passing
from shared.telemetry.metrics import gauge

log = logging.getLogger(__name__)

GONE = "backup deleted"
_EVERY_S = 3600.0
_SWEEP_S = 1800.0
"""Then the next sweep goes on behind the last one: a store that answers slowly keeps no backup for ever."""
_CLOCKS_AGREE_WITHIN = timedelta(days=1)
_MADE = "b.stage = 'deploy' and b.name = 'backup'"
_KEPT = (
    f"{_MADE} and not exists (select from effects d where d.run_id = b.run_id and d.name = '{GONE}'"
    " and d.detail = b.detail and d.done_at is not null)"
)
_AT_REST = (
    "not exists (select from jobs j where j.run_id = b.run_id"
    " and (j.state in ('queued', 'leased') or j.lease_until is not null))"
)
# The last job that changes anything says how the Run stands; one that is undone, or whose undoing has failed,
# may need its backup still.
_DONE = (
    "exists (select from (select stage, state, result from jobs where run_id = b.run_id and stage <> 'review'"
    " order by fence desc limit 1) l where l.stage in ('record', 'roll-back') and l.state = 'finished'"
    " and l.result->'outcome'->>'kind' = 'succeeded')"
)
# A Project has one started Run at a time, so an earlier one has ended.
_NEXT = (
    "(select min(n.accepted_at) from jobs n, (select project_id, max(fence) as fence from jobs"
    " where run_id = b.run_id group by project_id) o where n.project_id = o.project_id"
    " and n.stage <> 'review' and n.run_id <> b.run_id and n.fence > o.fence)"
)
_LAST = (
    "greatest((select max(greatest(e.intended_at, e.done_at)) from effects e where e.run_id = b.run_id"
    f" and e.name <> '{GONE}'), (select max(greatest(j.accepted_at, j.started_at)) from jobs j"
    " where j.run_id = b.run_id))"
)
_OVER = f"{_KEPT} and {_AT_REST} and ({_DONE} or {_NEXT} is not null)"
_ENDED_AT = f"case when {_DONE} then {_LAST} else greatest({_LAST}, {_NEXT}) end"
_DUE = f"select b.id from effects b where {_OVER} and {_ENDED_AT} < $1 and b.id > $2 order by b.id limit 100"
_PLACED = (
    "(select substr(p.detail, length(b.detail) + 2) from effects p where p.run_id = b.run_id"
    f" and p.name = '{PLACE}' and left(p.detail, length(b.detail) + 1) = b.detail || ' '"
    " order by p.id desc limit 1)"
)
_BEGUN = (
    f"exists (select from effects d where d.run_id = b.run_id and d.detail = b.detail and d.name = '{GONE}')"
)
_FIND = (
    f"select b.detail, {_PLACED}, b.done_at is null or {_BEGUN} from effects b where b.id = $1 and {_OVER}"
)
_TAKE = (
    "select b.run_id, b.detail, b.intended_at, (select project_id from jobs where run_id = b.run_id limit 1)"
    f" from effects b where b.id = $1 and {_OVER} for update of b skip locked"
)
_INTEND = (
    "insert into effects (run_id, stage, attempt, fence, generation, name, production, detail, intended_at)"
    f" select run_id, stage, attempt, fence, generation, '{GONE}', false, detail, now() from effects b"
    " where id = $1 and not exists (select from effects d where d.run_id = b.run_id and d.detail = b.detail"
    f" and d.name = '{GONE}')"
)
_FINISH = (
    "update effects set done_at = now() where run_id = $1 and detail = $2 and done_at is null"
    f" and name = '{GONE}' returning done_at"
)


class BackupSweeper:
    """Deletes what is over, and knows how much it could not."""

    def __init__(self, database: Database[WorkerTransaction], backups: BackupStore) -> None:
        self._database = database
        self._backups = backups
        self._left: set[int] = set()
        self._behind = 0
        """The last effect that an unfinished sweep has come to."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns at once."""
        self._task = asyncio.create_task(self._run(), name="sweeper of backups")

    async def stop(self) -> None:
        await background.end(self._task)
        self._task = None

    async def gauges(self) -> Iterable[Metric]:
        """How many backups are over and could not be deleted, at the last sweep."""
        said = "Backups whose term has ended and that the store did not delete."
        return (gauge("backups_overdue", said, ("service",), {("executor",): float(len(self._left))}),)

    async def sweep(self) -> tuple[str, ...]:
        """Sweep once; the digests of what was deleted. Raises what our own database raises."""
        now = await self._database.clock.now()
        if abs(now - utc_now()) > _CLOCKS_AGREE_WITHIN:
            log.warning("no backup is deleted: it is %s for the database, and not here", now)
            return ()
        gone: list[str] = []
        until = time.monotonic() + _SWEEP_S
        if not self._behind:
            self._left.clear()
        while due := await self._due(now):
            for effect in due:
                if time.monotonic() > until:
                    return tuple(gone)
                self._behind = effect
                try:
                    gone += await self._delete(effect)
                except Retry as error:
                    # Its intent stands: the next sweep asks the store again.
                    log.warning("a backup whose term has ended is still there: %s", error)
                    self._left.add(effect)
        self._behind = 0
        return tuple(gone)

    async def _due(self, now: datetime) -> list[int]:
        async with self._database.transaction() as tx:
            found = await tx.fetch(_DUE, now - timedelta(days=self._backups.keep_days), self._behind)
        return [effect for (effect,) in found]

    async def _delete(self, effect: int) -> list[str]:
        async with self._database.transaction() as tx:
            known = await tx.fetch(_FIND, effect)
        if not known:
            return []
        [[digest, noted, may_be_gone]] = known
        if not await self._backups.has(digest, noted) and noted is None and not may_be_gone:
            raise Retry(
                f"no store has {digest}: if it lies elsewhere, UPGRADES_BACKUP_STORES_BEFORE has to say where"
            )
        async with self._database.transaction() as tx, around("delete-backup"):
            # Of several statements the first must begin a transaction, or it would be one of its own.
            await tx.session.connection()
            taken = await tx.fetch(_TAKE, effect)
            if not taken:
                return []
            await tx.fetch(_INTEND, effect)
        [[run_id, digest, made_at, project]] = taken
        await self._backups.delete(digest, noted)
        async with self._database.transaction() as tx, around("backup-deleted"):
            await tx.session.connection()
            finished = await tx.fetch(_FINISH, run_id, digest)
            for (deleted_at,) in finished:
                tx.send(
                    BackupDeleted(
                        run_id=run_id,
                        project_id=project,
                        backup=digest,
                        made_at=made_at,
                        deleted_at=deleted_at,
                        kept_days=self._backups.keep_days,
                    ),
                    correlation_id=run_id,
                )
        return [digest] if finished else []

    async def _run(self) -> None:
        while True:
            try:
                if gone := await self.sweep():
                    log.info("deleted backups whose term has ended: %s", ", ".join(gone))
            except Exception as error:
                if not is_passing(error):
                    log.exception("backups are not deleted")
            await asyncio.sleep(_EVERY_S)
