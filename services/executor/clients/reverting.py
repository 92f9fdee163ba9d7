"""Undo migrations by their down.sql, newest first, where no row is lost by it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import asyncpg

from services.executor.clients import index_builds, losses
from services.executor.clients.migration_files import Migration
from services.executor.clients.migration_table import FencingToken, MigrationTable, Row, locked
from services.executor.clients.migrations import ALONE, patiently
from services.executor.clients.misfits import finding, not_permitted
from services.executor.clients.postgres import TRANSIENT, Connection, execute_script, words
from services.executor.clients.reading import read_in_child
from services.executor.clients.scripts import alone_of
from services.executor.domain.sqlstates import verdict_of
from shared.contracts.stages import Finding
from shared.errors import Failure
from shared.sql.script import Statement

_RESTORE = "run roll-back --restore-backup"


async def revert(
    url: str, migrations: Sequence[Migration], token: FencingToken, *, kept: losses.Tables
) -> list[str]:
    """Undo those of the migrations that are applied, newest first; returns their folders.

    Nothing is undone when a table or column of `kept` would lose rows or values: Failure (data-loss) names
    them. Failure names those that have no down.sql, too. Of what was undone and of failed tries no row stays.
    """
    by_folder = {migration.folder: migration for migration in migrations}
    async with locked(url, token) as table:
        rows = await table.rows()
        _require_whole([row for row in rows if row.unfinished and row.parts and row.name in by_folder])
        for row in rows:
            if row.unfinished and row.name in by_folder:
                await _settle(table, row, by_folder[row.name])
        undoing = [row for row in reversed(await table.rows()) if row.applied and row.name in by_folder]
        _require_down([by_folder[row.name] for row in undoing])
        await _require_permitted([by_folder[row.name] for row in undoing])
        # Read before rows are locked: whoever waits for a reader must not keep others waiting.
        downs = [
            _Down(row, by_folder[row.name].down_sql or "", await alone_of(by_folder[row.name]))
            for row in undoing
        ]
        for alone, group in groupby(downs, key=lambda down: down.alone is not None):
            batch = list(group)
            if not alone:
                await patiently(table, _names(batch), partial(_revert_batch, table, batch, kept))
                continue
            for down in batch:
                await patiently(table, down.row.name, partial(_revert_alone, table, down))
    return [row.name for row in undoing]


def _require_down(migrations: Sequence[Migration]) -> None:
    lacking = [migration.folder for migration in migrations if migration.down_sql is None]
    if lacking:
        detail = "It is applied and has no down.sql."
        raise Failure(
            f"no way back without losing rows: {', '.join(lacking)}",
            *(Finding(kind="data-loss", subject=name, detail=detail, cure=_RESTORE) for name in lacking),
        )


async def _require_permitted(migrations: Sequence[Migration]) -> None:
    """The branch may have changed since the ways down were judged and tried."""
    found = [
        finding
        for each in migrations
        for finding in await read_in_child(f"{each.path}/down.sql", not_permitted, [replace(each, sql="")])
    ]
    if found:
        raise Failure("a down.sql must not run", *found)


@dataclass(frozen=True)
class _Down:
    """A way down; `alone` is the statement for which it runs outside of a transaction."""

    row: Row
    sql: str
    alone: Statement | None


def _names(batch: Sequence[_Down]) -> str:
    return ", ".join(down.row.name for down in batch)


def _require_whole(rows: Sequence[Row]) -> None:
    if rows:
        raise Failure(
            "a migration stands half way: some of its own transactions are committed",
            *(
                Finding(
                    kind="data-loss",
                    subject=row.name,
                    detail=f"{row.parts} of its transactions are committed; down.sql undoes the whole.",
                    cure=f"{_RESTORE}, or complete it: run continue",
                )
                for row in rows
            ),
        )


async def _settle(table: MigrationTable, row: Row, migration: Migration) -> None:
    """A try that ended in a crash: what it did outside a transaction is applied, or taken away."""
    statement = await alone_of(migration, "migration.sql")
    build = None if statement is None else statement.index_build
    if not row.ours:
        await table.roll_back(row.id)
    elif build is not None and await index_builds.settle(table.connection, build, found=row.found):
        await table.connection.execute(table.finishing(row.id))
    else:
        await table.forget(row.id)


async def _revert_batch(table: MigrationTable, batch: Sequence[_Down], kept: losses.Tables) -> None:
    connection = table.connection
    async with connection.transaction():
        await losses.freeze(connection, kept)
        before = await losses.count(connection, kept)
        for down in batch:
            row = down.row
            await _execute(connection, row, down.sql)
            await connection.execute(table.noting(row.name))
            # After each, so that the finding names the one that loses.
            lost = losses.losses(before, await losses.count(connection, kept))
            if lost:
                raise Failure(
                    f"undoing {row.name} would lose data: {'; '.join(lost)}",
                    *(_data_loss(row.name, what) for what in lost),
                )
            await table.forget(row.id)


async def _revert_alone(table: MigrationTable, down: _Down) -> None:
    row, connection = down.row, table.connection
    build = None if down.alone is None else down.alone.index_build
    await connection.execute(ALONE)
    if build is None or not await index_builds.is_done(connection, build):
        if build is not None and build.creates:
            await index_builds.drop_invalid(connection, build)
        try:
            await _execute(connection, row, down.sql)
        except Failure:
            if build is not None and build.creates:
                await index_builds.drop_invalid(connection, build)
            raise
    await table.settle_session()
    await table.forget(row.id)


async def _execute(connection: Connection, row: Row, down_sql: str) -> None:
    try:
        await execute_script(connection, down_sql)
    except TRANSIENT:
        raise
    except asyncpg.PostgresError as error:
        said = f"Its down.sql failed: {words(error, down_sql)}"
        cure = verdict_of(error.sqlstate, "way down").cure
        cure = f"{_RESTORE}, or {cure}"
        raise Failure(f"{row.name} cannot be undone", finding(row.name, said, cure)) from error


def _data_loss(subject: str, what: str) -> Finding:
    return Finding(
        kind="data-loss",
        subject=subject,
        detail=f"Its down.sql would lose {what}.",
        cure=f"{_RESTORE}: it brings back the backup and loses what was written since",
    )
