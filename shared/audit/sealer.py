"""The sealer gives each note its place in the chain, signs the last one, and sends them to the topic.

A note is committed with its decision; its place it gets within the second, from whatever process of the
service has the lock at that moment. So no command waits for another's entry.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import Metric
from pydantic_core import from_json
from sqlalchemy import text

from shared import background
from shared.audit.chain import Sealed, sealed, signed_head
from shared.contracts.audit import NO_ENTRY, AuditHead, AuditRecorded
from shared.identity.proofs import Signer
from shared.messaging.backoff import delays_s
from shared.storage.database import Database, Transaction, is_passing
from shared.telemetry.metrics import gauge

log = logging.getLogger(__name__)

_LOCK = 4_711_003
_TOGETHER_S = 0.1
"""After a note others are waited for, which then share its signature and its message."""
_POLL_S = 5.0
"""For what another process left, which ended before it sealed."""
_NOTES_MAX = 200
_BYTES_MAX = 500_000
"""Of one message's entries: with its envelope the topic takes it."""
_TRY = "select pg_try_advisory_xact_lock($1::bigint)"
_TAKE = "select pg_advisory_xact_lock($1::bigint)::text = ''"
_LAST = "select seq, hash from audit order by seq desc limit 1"
_WAITING = f"select id, note::text from audit_waiting order by id limit {_NOTES_MAX}"
_ADD = (
    "insert into audit (seq, hash, at, who, project, refused, waiting, entry, head)"
    " select seq, hash, (entry::json ->> 'at')::timestamptz, who, project, refused, waiting, entry::json,"
    " case when seq = $8 then $9::json end"
    " from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::bigint[], $7::text[])"
    " as new (seq, hash, who, project, refused, waiting, entry)"
)
_DONE = "delete from audit_waiting where id = any($1::bigint[])"
_STANDING = text("select count(*), coalesce(extract(epoch from now() - min(noted_at)), 0) from audit_waiting")


class Sealer:
    """Seals one service's notes. Several processes may run one each: one at a time has the lock."""

    def __init__(self, database: Database[Any], signer: Signer) -> None:
        self.database = database
        self.signer = signer
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.database.noted = self._wake.set
        self._task = asyncio.create_task(self._run(), name=f"sealer of {self.database.service}")

    async def stop(self) -> None:
        """What waits is sealed first, if the database answers."""
        await background.end(self._task)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_S):
                await self._try()

    async def seal(self, *, alone: bool = True) -> int:
        """Seal all that waits now; how many entries that were. Raises what the driver raises.

        Where somebody else seals at this moment, that is left to him; without `alone` it is waited for.
        """
        count = 0
        while some := await self._seal_some(alone):
            count += some
        return count

    async def head(self) -> AuditHead:
        """The head of the log as it stands: kept, or signed now: of an empty log, or after a new key."""
        async with self.database.transaction() as tx:
            rows = await tx.fetch("select head::text from audit order by seq desc limit 1")
            kept = AuditHead.model_validate_json(rows[0][0]) if rows and rows[0][0] else None
            if kept is not None and kept.kid == self.signer.key.kid:
                return kept
            seq, digest = await _last(tx)
        return signed_head(self.signer, seq, digest, tx.now.isoformat())

    async def gauges(self) -> Iterable[Metric]:
        """How many notes wait, and for how long the oldest of them has."""
        async with self.database.engine.connect() as connection:
            waiting, age_s = (await connection.execute(_STANDING)).one()
        of = (self.database.service,)
        return (
            gauge("audit_waiting", "Notes that wait to be sealed.", ("service",), {of: waiting}),
            gauge("audit_waiting_seconds", "How long the oldest has waited.", ("service",), {of: age_s}),
        )

    async def _run(self) -> None:
        delays = delays_s()
        while True:
            self._wake.clear()
            if await self._try():
                delays = delays_s()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await self._wake.wait()
                await asyncio.sleep(_TOGETHER_S)
            else:
                await asyncio.sleep(next(delays))

    async def _try(self) -> bool:
        try:
            await self.seal()
        except Exception as error:
            # Whatever it is, a log that nobody seals is worse than one that is tried again; an alarm tells.
            log.warning("the audit log is not sealed: %r", error, exc_info=not is_passing(error))
            return False
        return True

    async def _seal_some(self, alone: bool) -> int:
        async with self.database.transaction() as tx:
            await tx.begin()
            [[taken]] = await tx.fetch(_TRY if alone else _TAKE, _LOCK)
            if not taken:
                return 0
            waiting = _fitting(await tx.fetch(_WAITING))
            if not waiting:
                return 0
            seq, digest = await _last(tx)
            notes = [from_json(note) for _, note in waiting]
            entries = sealed(notes, self.signer.principal, seq, digest)
            head = signed_head(self.signer, entries[-1].seq, entries[-1].hash, tx.now.isoformat())
            ids = [number for number, _ in waiting]
            await tx.fetch(_ADD, *_columns(notes, entries, ids), head.seq, head.model_dump_json())
            await tx.fetch(_DONE, ids)
            send_entries(tx, entries, head)
        return len(waiting)


def send_entries(tx: Transaction, entries: Sequence[Sealed], head: AuditHead) -> None:
    """Put them into the outbox, each as the text that was hashed."""
    texts = ",".join(entry.text for entry in entries)
    body = f'{{"entries":[{texts}],"head":{head.model_dump_json()}}}'
    # What it is made of was validated when it was noted, and is not parsed once more.
    tx.send(AuditRecorded.model_construct(entries=(), head=head), body=body.encode())


async def _last(tx: Transaction) -> tuple[int, str]:
    rows = await tx.fetch(_LAST)
    return (rows[0][0], rows[0][1]) if rows else (0, NO_ENTRY)


def _fitting(waiting: Sequence[Any]) -> list[tuple[int, str]]:
    """The first ones, as many as one message takes: at least one."""
    room = _BYTES_MAX
    fit: list[tuple[int, str]] = []
    for number, note in waiting:
        room -= len(note.encode()) + 300
        if room < 0 and fit:
            break
        fit.append((number, note))
    return fit


def _columns(
    notes: Sequence[dict[str, Any]], entries: Sequence[Sealed], ids: Sequence[int]
) -> tuple[list[Any], ...]:
    return (
        [entry.seq for entry in entries],
        [entry.hash for entry in entries],
        [note["who"] for note in notes],
        [note["project"] for note in notes],
        [note["verdict"] == "refused" for note in notes],
        list(ids),
        [entry.text for entry in entries],
    )
