"""Packages that wait for their verdict, and each try to read one, counted before it is made."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import aliased
from sqlmodel import col

from services.registry.store.tables import PackageCheckRow
from shared.contracts.envelope import Envelope
from shared.contracts.releases import PublishRelease
from shared.contracts.values import Digest
from shared.messaging.inbox import Verdict
from shared.storage.database import Transaction

READINGS_COUNT_FOR = timedelta(days=1)


@dataclass(frozen=True)
class PackageCheck:
    """A PublishRelease that waits for its verdict, and how often that could not be found."""

    id: int
    command: PublishRelease
    cause: Envelope
    attempts: int


class PackageChecks(Transaction):
    """The queue of packages to check."""

    async def add_check(self, command: PublishRelease, cause: Envelope) -> None:
        """Queue the check of a package."""
        self.session.add(
            PackageCheckRow(
                source=cause.source,
                message_id=cause.id,
                system=command.system,
                command=command.model_dump(mode="json"),
                cause={**asdict(cause), "time": cause.time.isoformat()},
                state="queued",
                attempts=0,
                due_at=self.now,
            )
        )
        await self.session.flush()

    async def next_check(self) -> PackageCheck | None:
        """The oldest check that is due and that nobody has, its System's earlier ones being done."""
        earlier = aliased(PackageCheckRow)
        blocked = (
            select(col(earlier.id))
            .where(
                col(earlier.system) == col(PackageCheckRow.system),
                col(earlier.state) == "queued",
                col(earlier.id) < col(PackageCheckRow.id),
            )
            .exists()
        )
        found = await self.session.execute(
            select(PackageCheckRow)
            .where(
                col(PackageCheckRow.state) == "queued",
                col(PackageCheckRow.due_at) <= func.now(),
                ~blocked,
            )
            .order_by(col(PackageCheckRow.id))
            .limit(1)
            .with_for_update(skip_locked=True, of=PackageCheckRow)
        )
        row = found.scalar_one_or_none()
        if row is None:
            return None
        return PackageCheck(
            id=row.id or 0,
            command=PublishRelease.model_validate(row.command),
            cause=Envelope(**{**row.cause, "time": datetime.fromisoformat(row.cause["time"])}),
            attempts=row.attempts,
        )

    async def wait_idle(self, for_s: int | None) -> None:
        """How long this transaction may have nothing to say; none for what every transaction has."""
        within = "default" if for_s is None else f"'{for_s}s'"
        await self.session.execute(text(f"set local idle_in_transaction_session_timeout to {within}"))

    async def postpone_check(self, check_id: int, delay_s: float) -> None:
        await self.session.execute(
            update(PackageCheckRow)
            .where(col(PackageCheckRow.id) == check_id, col(PackageCheckRow.state) == "queued")
            .values(attempts=col(PackageCheckRow.attempts) + 1, due_at=self.now + timedelta(seconds=delay_s))
        )

    async def set_check_aside(self, check_id: int, for_s: float) -> None:
        """Nobody takes it for so long; that counts as no try."""
        await self.session.execute(
            update(PackageCheckRow)
            .where(col(PackageCheckRow.id) == check_id, col(PackageCheckRow.state) == "queued")
            .values(due_at=self.now + timedelta(seconds=for_s))
        )

    async def finish_check(self, check_id: int, verdict: Verdict) -> None:
        await self.session.execute(
            update(PackageCheckRow)
            .where(col(PackageCheckRow.id) == check_id)
            .values(state="finished", verdict=verdict.stored())
        )

    async def check_verdict(self, source: str, message_id: str) -> Verdict | None:
        """What became of a PublishRelease; None while its package is being checked."""
        found = await self.session.execute(
            select(col(PackageCheckRow.verdict)).where(
                col(PackageCheckRow.source) == source, col(PackageCheckRow.message_id) == message_id
            )
        )
        stored: dict[str, Any] | None = found.scalar_one_or_none()
        return None if stored is None else Verdict.load(stored)

    async def begin_reading(self, digest: Digest, actor: str) -> tuple[int, str]:
        """Count a try to read the package; which it is, and the file at which an earlier one ended.

        After a day it is forgotten: it may have been this machine that had no memory.
        """
        moment = {"digest": digest, "actor": actor, "now": self.now, "over": self.now - READINGS_COUNT_FOR}
        await self.session.execute(text("delete from readings where begun_at < :over"), moment)
        found = await self.session.execute(
            text(
                "insert into readings values (:digest, :actor, 1, '', :now) on conflict (digest, actor)"
                " do update set tries = readings.tries + 1 returning tries, file"
            ),
            moment,
        )
        tries, file = found.one()
        return tries, file

    async def reading_ended(self, digest: Digest, actor: str, file: str) -> None:
        """The try ended its reader at this file."""
        await self.session.execute(
            text("update readings set file = :file where digest = :digest and actor = :actor"),
            {"file": file, "digest": digest, "actor": actor},
        )

    async def end_reading(self, digest: Digest, actor: str) -> None:
        """The package could be read, or was refused for what is in it."""
        await self.session.execute(
            text("delete from readings where digest = :digest and actor = :actor"),
            {"digest": digest, "actor": actor},
        )
