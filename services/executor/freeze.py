"""Whether deploys may start: what the planner said last, in the database that all executors share."""

from functools import partial
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, MetaData, select
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col

from shared.contracts.freezes import FLEET, Freeze, HoldDeploys
from shared.jobs.batch import Batch
from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database

FREEZE_TABLES = MetaData()


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


class Freezer:
    """Asks the database what stands now."""

    def __init__(self, database: Database[WorkerTransaction]) -> None:
        self._database = database

    async def __call__(self) -> Freeze | None:
        async with self._database.transaction() as tx:
            found = await tx.session.execute(select(col(FreezeRow.freeze)))
        document = found.scalar_one_or_none()
        return None if document is None else Freeze.model_validate(document)
