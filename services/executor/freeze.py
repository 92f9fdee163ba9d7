"""Whether deploys may start: what the planner said last, in the database that all executors share."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError
from sqlalchemy import JSON, BigInteger, Column, MetaData, select
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col

from shared.contracts.envelope import Unreadable, receive
from shared.contracts.freezes import FLEET, Freeze, HoldDeploys
from shared.contracts.topics import in_pool
from shared.errors import Retry
from shared.identity.proofs import Verifier
from shared.jobs.batch import Batch
from shared.jobs.store import WorkerTransaction
from shared.messaging.record import Record
from shared.messaging.unread import unread
from shared.settings import KafkaSettings
from shared.storage.database import Database

FREEZE_TABLES = MetaData()
_BROKER_WITHIN_S = 20.0


class FreezeRow(SQLModel, table=True):
    """One row at most: the last word on deploys, and its revision."""

    __tablename__ = "freeze"
    metadata = FREEZE_TABLES

    id: str = Field(primary_key=True)
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    freeze: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))


async def hold_deploys(message: HoldDeploys, batch: Batch) -> None:
    """The planner's word is kept with what else the batch changes."""
    batch.also.append(partial(keep, message))


async def keep(message: HoldDeploys, tx: WorkerTransaction) -> None:
    """Keep it for every executor; older news is dropped."""
    document = None if message.freeze is None else message.freeze.model_dump(mode="json")
    values = {"revision": message.revision, "freeze": document}
    await tx.session.execute(
        insert(FreezeRow)
        .values(id=FLEET, **values)
        .on_conflict_do_update(
            index_elements=["id"], set_=values, where=col(FreezeRow.revision) < message.revision
        )
    )


async def last_word(settings: KafkaSettings, proofs: Verifier, pool: str | None = None) -> HoldDeploys | None:
    """The planner's last word among what no executor has read yet; none if there is none.

    An executor that starts finds its deploys in the database at once, and the freeze perhaps later.
    Raises `Retry` when the broker does not answer: nobody knows then whether deploys may start.
    """
    last: HoldDeploys | None = None
    try:
        async with asyncio.timeout(_BROKER_WITHIN_S):
            async for record in unread(
                settings, in_pool(HoldDeploys.topic, pool), "executor", FLEET.encode()
            ):
                last = _newer(last, record, proofs)
    except (KafkaError, OSError, TimeoutError) as error:
        raise Retry(f"the broker does not say whether deploys are frozen: {error!r}") from error
    return last


def _newer(last: HoldDeploys | None, record: Record, proofs: Verifier) -> HoldDeploys | None:
    try:
        message = proofs.check(receive(record.headers, record.value), record.topic).message
    except Unreadable:
        return last  # the consumer puts it aside
    if not isinstance(message, HoldDeploys) or (last is not None and message.revision < last.revision):
        return last
    return message


class Freezer:
    """Asks what stands now: of the database, and of what nobody has read yet."""

    def __init__(
        self,
        database: Database[WorkerTransaction],
        unread_word: Callable[[], Awaitable[HoldDeploys | None]],
    ) -> None:
        self._database = database
        self._unread_word = unread_word

    async def __call__(self) -> Freeze | None:
        """Raises `Retry` when it cannot be known."""
        # The topic first: what is read and kept meanwhile is found in the database then.
        unread_word = await self._unread_word()
        async with self._database.transaction() as tx:
            found = await tx.session.execute(select(col(FreezeRow.revision), col(FreezeRow.freeze)))
        revision, document = found.one_or_none() or (0, None)
        if unread_word is not None and unread_word.revision > revision:
            return unread_word.freeze
        return None if document is None else Freeze.model_validate(document)
