"""Apply migrations as `prisma migrate deploy` would, and say no where it would silently go on."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from services.executor.clients import index_builds
from services.executor.clients.migration_files import FOLDER, Migration
from services.executor.clients.migration_table import FencingToken, MigrationTable, Row, locked, reading
from services.executor.clients.misfits import finding, misfits, script_faults
from services.executor.clients.postgres import LOCKED, TRANSIENT, sqlstate_of, words
from services.executor.clients.reading import read_in_child
from services.executor.clients.scripts import outline_of
from services.executor.domain.sqlstates import finding_of, verdict_of
from shared.contracts.facts import AppliedMigration
from shared.contracts.stages import Finding
from shared.crash_points import around
from shared.errors import Failure, Retry, told
from shared.messaging.backoff import delays_s
from shared.sql.script import Part, Statement

# It waits for others' transactions and nobody waits for it, so it may take its time.
ALONE = "SET lock_timeout = '600s'; SET statement_timeout = 0"


@dataclass(frozen=True)
class Patience:
    """How often a script that meets others' locks is tried, and its first and its longest pause."""

    tries: int = 8
    first_s: float = 0.2
    longest_s: float = 5.0


async def applied(url: str) -> dict[str, str]:
    """Folder name to checksum of what is applied there, in the order it was applied."""
    async with reading(url) as table:
        return {row.name: row.checksum for row in await table.rows() if row.applied}


async def unfit(url: str, history: Sequence[Migration], run: Collection[str]) -> list[Finding]:
    """What `apply` of the Run's folders would refuse, all of it; writes nothing."""
    async with reading(url) as table:
        return await _unfit(table, await table.rows(), _by_folder(history), run, run)


async def apply(
    url: str,
    history: Sequence[Migration],
    token: FencingToken,
    *,
    wanted: Sequence[str] | None = None,
    run: Collection[str] | None = None,
    patience: Patience = Patience(),
) -> list[AppliedMigration]:
    """Apply the wanted migrations (all of `history` when none are named) that are not applied yet, in order.

    `history` is the whole folder of the Project; `run` names what the Run brings, now or at another time.
    Without it all that is not applied is replayed as Prisma would, and no script is judged by reading it.
    Returns the wanted ones, also those applied before. After a crash it goes on where it was.
    Raises Failure for a migration that fails or a history that does not fit, Retry for a lock that others
    hold, Stale for a token older than the database has seen.
    """
    by_folder = _by_folder(history)
    names = list(by_folder) if wanted is None else list(wanted)
    async with locked(url, token) as table:
        rows = await table.rows()
        done = {row.name for row in rows if row.applied}
        expected = by_folder.keys() - done if run is None else run
        found = await _unfit(table, rows, by_folder, expected, run or ())
        if found:
            raise Failure("the migrations do not fit what is in the database", *found)
        await table.create()
        begun = {row.name: row for row in rows if row.unfinished}
        for name in names:
            if name not in done:
                await _apply_one(table, by_folder[name], begun.get(name), patience)
        after = {row.name: row for row in await table.rows() if row.applied}
    return [
        AppliedMigration(folder=name, checksum=after[name].checksum, duration_ms=after[name].duration_ms)
        for name in names
    ]


def _by_folder(history: Sequence[Migration]) -> dict[str, Migration]:
    return {migration.folder: migration for migration in history}


async def _unfit(
    table: MigrationTable,
    rows: Sequence[Row],
    by_folder: Mapping[str, Migration],
    run: Collection[str],
    judged: Collection[str],
) -> list[Finding]:
    found = await _misfits(rows, by_folder, run)
    if not rows and not await table.is_there() and await table.user_tables():
        cure = "baseline it: prisma migrate resolve --applied <each migration that it has>"
        found = [
            finding("_prisma_migrations", "The schema is not empty and has no such table (P3005).", cure)
        ]
    done = {row.name for row in rows if row.applied}
    pending = [each for name, each in by_folder.items() if name in judged and name not in done]
    for each in pending:
        found += await read_in_child(each.path, script_faults, [each])
    return found


async def _misfits(
    rows: Sequence[Row], by_folder: Mapping[str, Migration], run: Collection[str]
) -> list[Finding]:
    if any(row.unfinished for row in rows):
        # Then scripts are read.
        return await read_in_child(FOLDER, misfits, rows, by_folder, run)
    return misfits(rows, by_folder, run)


async def _apply_one(
    table: MigrationTable, migration: Migration, begun: Row | None, patience: Patience
) -> None:
    outline = await outline_of(f"{migration.path}/migration.sql", migration.sql)
    alone, parts = outline.alone, outline.parts
    if alone is not None:
        await _apply_alone(table, migration, alone, begun, patience)
    elif len(parts) == 1:
        await _apply_whole(table, migration, parts[0], patience)
    else:
        await _apply_parts(table, migration, parts, begun, patience)


async def _apply_whole(table: MigrationTable, migration: Migration, part: Part, patience: Patience) -> None:
    """One simple query is one transaction: after a crash the row says what became of the script."""
    recording = table.recording(str(uuid.uuid4()), migration.folder, migration.checksum)
    try:
        await _run(table, migration, part, recording, patience)
    except asyncpg.PostgresError as error:
        raise await _failed(table, migration, error, part, kept="nothing of it was kept") from error


async def _apply_parts(
    table: MigrationTable,
    migration: Migration,
    parts: Sequence[Part],
    begun: Row | None,
    patience: Patience,
) -> None:
    """The script's own transactions one by one, each with the note that it is done."""
    row_id, committed = (str(uuid.uuid4()), 0) if begun is None else (begun.id, begun.parts)
    for number, part in enumerate(parts[committed:], committed + 1):
        if number == len(parts):
            note = table.finishing(row_id)
        elif begun is None and number == 1:
            note = table.beginning(row_id, migration.folder, migration.checksum, parts=1)
        else:
            note = table.progress(row_id, number)
        try:
            await _run(table, migration, part, note, patience)
        except asyncpg.PostgresError as error:
            kept = f"{number - 1} of its own transactions are committed" if number > 1 else "nothing was kept"
            failure = await _failed(table, migration, error, part, kept=kept)
            if number > 1:
                await table.fail(row_id, failure.outcome.reason)
            raise failure from error


async def _run(
    table: MigrationTable, migration: Migration, part: Part, note: str, patience: Patience
) -> None:
    noted = f"{note}; {table.noting(migration.folder)}"
    sql = f"{part.sql}\n;\n{noted}" + ("; COMMIT" if part.committed else "")
    await patiently(table, migration.folder, lambda: table.connection.execute(sql), patience)


async def _apply_alone(
    table: MigrationTable,
    migration: Migration,
    statement: Statement,
    begun: Row | None,
    patience: Patience,
) -> None:
    """One statement outside a transaction: the row is begun before it and finished after it."""
    connection, build = table.connection, statement.index_build
    if begun is not None:
        await connection.execute(ALONE)
        if build is not None and await index_builds.settle(connection, build, found=begun.found):
            await connection.execute(table.finishing(begun.id))
            return
        await table.forget(begun.id)
    row_id = str(uuid.uuid4())
    state = "none" if build is None else await index_builds.state(connection, build)
    found = build is not None and state in (("whole",) if build.creates else ("half", "whole"))
    await table.start(row_id, migration.folder, migration.checksum, found=found)
    if statement.may_end_transactions:
        await connection.execute(table.noting(migration.folder, alone=True))
    suspect = state == "half"

    async def run_it() -> None:
        nonlocal suspect
        await connection.execute(ALONE)
        if suspect and build is not None and build.creates:
            # Of ours or of anybody's: with IF NOT EXISTS it would be taken for the index that is wanted.
            await index_builds.drop_invalid(connection, build)
        suspect = True
        await connection.execute(migration.sql)

    try:
        await patiently(table, migration.folder, run_it, patience)
    except asyncpg.PostgresError as error:
        failure = await _failed(table, migration, error, None, kept="what it left is taken away")
        if build is not None and build.creates:
            await index_builds.drop_invalid(connection, build)
        await table.forget(row_id)
        raise failure from error
    await connection.execute(table.finishing(row_id))


async def patiently(
    table: MigrationTable, folder: str, run: Callable[[], Awaitable[object]], patience: Patience = Patience()
) -> None:
    """Run what is one transaction, again while others hold what it needs. Raises Retry in the end."""
    pauses_s = delays_s(patience.first_s, patience.longest_s)
    for tries_left in reversed(range(patience.tries)):
        try:
            async with around("migration"):
                await run()
        except LOCKED as error:
            await table.settle_session()
            if not tries_left:
                said = f"{folder} waits for a lock that others hold, and changed nothing: {error}"
                raise Retry(said, finding_of(error.sqlstate, "migration", folder, said)) from error
        except asyncpg.QueryCanceledError:
            raise
        except TRANSIENT as error:
            said = f"{folder} could not run now: {told(error)}"
            raise Retry(said, finding_of(sqlstate_of(error), "migration", folder, said)) from error
        else:
            return
        await asyncio.sleep(next(pauses_s))


async def _failed(
    table: MigrationTable, migration: Migration, error: asyncpg.PostgresError, part: Part | None, *, kept: str
) -> Failure:
    """The verdict of a script that PostgreSQL refused; the session is as before it."""
    await table.settle_session()
    said = words(error, migration.sql)
    await table.keep_log(migration.folder, migration.checksum, f"{said}\n{error}")
    position = getattr(error, "position", None)
    if position is not None:
        before = migration.sql[: (part.start if part else 0) + int(position)]
        said = f"line {before.count(chr(10)) + 1}: {said}"
    cure = verdict_of(error.sqlstate, "migration").cure
    if not isinstance(error, asyncpg.QueryCanceledError):
        cure = f"{cure}; {kept}"
    # What its own words are may quote rows: they stay in the database, and the cure says how to read them.
    query = f"SELECT logs FROM upgradepath.failure WHERE migration_name = '{migration.folder}'"
    cure = f"{cure}; its whole error is in database {table.database}: {query} ORDER BY failed_at DESC LIMIT 1"
    return Failure(f"migration {migration.folder} failed: {said}", finding(migration.folder, said, cure))
