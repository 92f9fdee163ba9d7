"""What nobody can ask for again is deleted, a few pages at a time, off the hot path (docs/adr/0025)."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from prometheus_client.core import Metric
from sqlalchemy import text

from shared import background
from shared.clock import utc_now
from shared.crash_points import around
from shared.storage.database import Database, is_passing
from shared.telemetry.metrics import PRUNED, Gauges, gauge

log = logging.getLogger(__name__)

_EVERY_S = 6 * 3600.0
_PAGES = 256
_PAUSE_S = 0.2
"""Between two portions: a pass reads ten megabytes a second at the most."""
_CLOCKS_AGREE_WITHIN = timedelta(days=1)


@dataclass(frozen=True)
class Prune:
    """One statement that deletes what is over among the rows of `table` on some of its pages.

    Given are the first place ($1, as text), the place after the last ($2) and the time before which a row
    must be ($3). It answers how many rows of which table it has deleted, a row each.
    """

    table: str
    sql: str


ON_THESE_PAGES = "ctid >= $1::text::tid and ctid < $2::text::tid"


def older(table: str, moment: str, also: str = "true") -> Prune:
    """Rows of which nothing else must be known than the column `moment`."""
    return Prune(
        table,
        f"with gone as (delete from {table} where {ON_THESE_PAGES} and {moment} < $3 and {also} returning 1)"
        f" select '{table}', count(*) from gone",
    )


INBOX = older("inbox", "handled_at")


class Pruner:
    """Walks through each table page by page, every six hours: no message pays for an index that it needs.

    Two at once do each other no harm. Rows are kept for `keep` by the database's clock; if that is a day off
    this machine's, nobody knows which of them is right, and nothing is deleted.
    """

    def __init__(self, database: Database[Any], prunes: Sequence[Prune], keep: timedelta) -> None:
        self._database = database
        self._prunes = prunes
        self._keep = keep
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"pruner of {self._database.service}")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await self.prune()
            except Exception as error:
                # What is kept too long harms nobody; the next pass finds it.
                log.warning("nothing more is pruned this time: %r", error, exc_info=not is_passing(error))
            await asyncio.sleep(_EVERY_S)

    async def prune(self) -> None:
        """One pass over every table. Raises what the driver raises when the database is not there."""
        now = await self._database.clock.now()
        if abs(now - utc_now()) > _CLOCKS_AGREE_WITHIN:
            log.warning("nothing is pruned: it is %s for the database, and not here", now)
            return
        for prune in self._prunes:
            await self._walk(prune, now - self._keep)

    async def _walk(self, prune: Prune, before: datetime) -> None:
        pages = "select pg_relation_size($1::text::regclass) / current_setting('block_size')::int"
        [[count]] = await self._ask(pages, prune.table)
        for first in range(0, count, _PAGES):
            async with around("prune"):
                rows = await self._ask(prune.sql, f"({first},0)", f"({first + _PAGES},0)", before)
            for table, deleted in rows:
                PRUNED.labels(self._database.service, table).inc(deleted)
            await asyncio.sleep(_PAUSE_S)

    async def _ask(self, sql: str, *args: object) -> Sequence[Any]:
        async with self._database.connection() as connection:
            return (await connection.exec_driver_sql(sql, args)).all()


def kept(database: Database[Any], prunes: Sequence[Prune]) -> Gauges:
    """How many rows those tables have, as PostgreSQL's own statistics say: counting would read them all."""
    tables = [prune.table for prune in prunes]
    rows = text(
        "select relname, greatest(reltuples, 0) from pg_class"
        " where oid in (select to_regclass(name) from unnest(cast(:tables as text[])) as asked (name))"
    )

    async def ask() -> Iterable[Metric]:
        async with database.engine.connect() as connection:
            found = (await connection.execute(rows, {"tables": tables})).all()
        labels = ("service", "table")
        counts: dict[tuple[str, ...], float] = {(database.service, name): count for name, count in found}
        return (gauge("kept_rows", "Rows of the tables that are pruned, about.", labels, counts),)

    return ask
