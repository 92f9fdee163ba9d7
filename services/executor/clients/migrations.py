"""Apply and revert migrations as `prisma migrate` would, and say no where it would silently go on."""

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import asyncpg

from services.executor.clients import losses
from services.executor.clients.migration_table import (
    FencingToken,
    MigrationTable,
    Row,
    locked,
    reading,
    user_tables,
)
from services.executor.clients.postgres import TRANSIENT, words
from shared.contracts.facts import AppliedMigration
from shared.contracts.stages import Finding
from shared.errors import Failure, Retry

FOLDER = "prisma/migrations"
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_ALONE = re.compile(r"\bINDEX\s+CONCURRENTLY\b|\bVACUUM\b", re.IGNORECASE)
_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_INDEX = re.compile(
    rf"\b(CREATE|DROP)\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?"
    rf"({_NAME}(?:\.{_NAME})?)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Migration:
    """One folder of `prisma/migrations`; the checksum is the sha256, in hexadecimal, of migration.sql."""

    folder: str
    sql: str
    checksum: str
    down_sql: str | None = None


def read_migrations(files: Mapping[str, bytes]) -> tuple[Migration, ...]:
    """The migrations among a repository's files (path to content), in Prisma's order: by folder name."""
    found = []
    for path in sorted(files):
        folder, _, name = path.removeprefix(FOLDER + "/").rpartition("/")
        if path.startswith(FOLDER + "/") and name == "migration.sql" and folder and "/" not in folder:
            down = files.get(f"{FOLDER}/{folder}/down.sql")
            content = files[path]
            found.append(
                Migration(
                    folder=folder,
                    sql=content.decode(),
                    checksum=hashlib.sha256(content).hexdigest(),
                    down_sql=None if down is None else down.decode(),
                )
            )
    return tuple(found)


async def applied(url: str) -> dict[str, str]:
    """Folder name to checksum of what is applied there, in the order it was applied."""
    async with reading(url) as table:
        return {row.name: row.checksum for row in await table.rows() if row.applied}


async def misfits(url: str, history: Sequence[Migration]) -> list[Finding]:
    """What `apply` would refuse in the database's past; writes nothing."""
    async with reading(url) as table:
        return _misfits(await table.rows(), {migration.folder: migration for migration in history})


async def apply(
    url: str, history: Sequence[Migration], token: FencingToken, *, wanted: Sequence[str] | None = None
) -> list[AppliedMigration]:
    """Apply the wanted migrations (all of `history` when none are named) that are not applied yet, in order.

    `history` is the whole folder of the Project. Returns the wanted ones, also those applied before.
    Raises Failure for a migration that fails or a history that does not fit, Retry for a lock that others
    hold, Stale for a token older than the database has seen.
    """
    by_folder = {migration.folder: migration for migration in history}
    names = list(by_folder) if wanted is None else list(wanted)
    async with locked(url, token) as table:
        await _require_history(table, by_folder)
        await table.create()
        for row in await table.rows():
            if row.unfinished and row.name in by_folder:
                await _settle(table, row, by_folder[row.name])
        done = {row.name for row in await table.rows() if row.applied}
        for name in names:
            if name not in done:
                await _apply_one(table, by_folder[name])
        rows = {row.name: row for row in await table.rows() if row.applied}
    return [
        AppliedMigration(folder=name, checksum=rows[name].checksum, duration_ms=rows[name].duration_ms)
        for name in names
    ]


async def revert(
    url: str, migrations: Sequence[Migration], token: FencingToken, *, kept: losses.Tables
) -> list[str]:
    """Undo those of the migrations that are applied, newest first; returns their folders.

    Nothing is undone when a table or column of `kept` would lose rows or values: Failure (data-loss) names
    them. Every applied migration must have a down.sql. Rows of failed tries are marked as rolled back.
    """
    by_folder = {migration.folder: migration for migration in migrations}
    async with locked(url, token) as table:
        rows = await table.rows()
        for row in rows:
            if row.unfinished and row.name in by_folder:
                await _drop_invalid_index(table, by_folder[row.name].sql)
                await table.roll_back(row.id)
        undoing = [row for row in reversed(rows) if row.applied and row.name in by_folder]
        for alone, group in groupby(undoing, key=lambda row: _runs_alone(_down(by_folder[row.name]))):
            batch = [(row, _down(by_folder[row.name])) for row in group]
            if alone:
                await _revert_alone(table, batch)
            else:
                await _revert_batch(table, batch, kept)
    return [row.name for row in undoing]


def _down(migration: Migration) -> str:
    assert migration.down_sql is not None, f"{migration.folder} has no way back"
    return migration.down_sql


async def _require_history(table: MigrationTable, by_folder: Mapping[str, Migration]) -> None:
    """Refuse a database whose past the folder does not tell."""
    rows = await table.rows()
    if not rows and not await table.is_there() and await user_tables(table.connection):
        raise _no(
            "_prisma_migrations",
            "The database is not empty and has no migration table (P3005).",
            "baseline it: prisma migrate resolve --applied <each migration that it has>",
        )
    findings = _misfits(rows, by_folder)
    if findings:
        raise Failure("the database's migration history does not fit the repository's", *findings)


def _misfits(rows: Sequence[Row], by_folder: Mapping[str, Migration]) -> list[Finding]:
    return [finding for row in rows if (finding := _misfit(row, by_folder)) is not None]


def _misfit(row: Row, by_folder: Mapping[str, Migration]) -> Finding | None:
    known = by_folder.get(row.name)
    if row.unfinished and (row.logs is not None or not row.ours or known is None):
        return _finding(
            row.name,
            f"It failed before and is not resolved (P3009): {_first_line(row.logs)}",
            f"look at what it left, then prisma migrate resolve --rolled-back {row.name} (or --applied)",
        )
    if not row.applied:
        return None
    if known is None:
        return _finding(
            row.name,
            "It is applied to the database, but the repository has no such folder.",
            f"bring back {FOLDER}/{row.name}, as it was when it ran",
        )
    if known.checksum != row.checksum:
        return _finding(
            row.name,
            f"It was edited after it was applied: sha256 {known.checksum}, but {row.checksum} ran.",
            f"restore {FOLDER}/{row.name}/migration.sql and put the change into a new migration",
        )
    return None


def _first_line(logs: str | None) -> str:
    # The rest may quote rows, and what we answer travels far from them.
    return next(iter((logs or "").strip().splitlines()), "it was interrupted")


async def _settle(table: MigrationTable, row: Row, migration: Migration) -> None:
    """Our own try ended in a crash: only an index build outside a transaction can have left something."""
    if _runs_alone(migration.sql):
        await _drop_invalid_index(table, migration.sql)
        if await _index_is_so(table, migration.sql):
            await table.connection.execute(table.finishing(row.id))
            return
    await table.roll_back(row.id)


async def _apply_one(table: MigrationTable, migration: Migration) -> None:
    row_id = str(uuid.uuid4())
    await table.start(row_id, migration.folder, migration.checksum)
    try:
        if _runs_alone(migration.sql):
            await table.connection.execute(migration.sql)
            await table.connection.execute(table.finishing(row_id))
        else:
            # One simple query is one transaction: after a crash the row says what became of the script.
            await table.connection.execute(f"{migration.sql}\n;\n{table.finishing(row_id)}")
    except TRANSIENT as error:
        if not table.connection.is_closed():
            await _after_error(table, migration)
            await table.roll_back(row_id)
        raise Retry(f"{migration.folder} could not run now and changed nothing: {error}") from error
    except asyncpg.PostgresError as error:
        await _after_error(table, migration)
        # The database may keep what quotes its own rows; its first line is what we may show elsewhere.
        await table.fail(row_id, f"{words(error)}\n{error}")
        raise _no(
            migration.folder,
            words(error),
            "correct the migration, or the rows that it stumbles over; nothing of it was kept",
        ) from error
    await table.connection.execute("RESET ALL")


async def _after_error(table: MigrationTable, migration: Migration) -> None:
    # A script may have opened a transaction of its own and left it broken.
    await table.connection.execute("ROLLBACK")
    await table.connection.execute("RESET ALL")
    await _drop_invalid_index(table, migration.sql)


async def _revert_batch(table: MigrationTable, batch: Sequence[tuple[Row, str]], kept: losses.Tables) -> None:
    connection = table.connection
    async with connection.transaction():
        await losses.freeze(connection, kept)
        before = await losses.count(connection, kept)
        for row, down_sql in batch:
            try:
                await connection.execute(down_sql)
            except asyncpg.PostgresError as error:
                if isinstance(error, TRANSIENT):
                    raise
                raise _no(
                    row.name,
                    f"Its down.sql failed: {words(error)}",
                    "run roll-back --restore-backup, or correct the rows that it stumbles over",
                ) from error
            # After each, so that the finding names the one that loses.
            lost = losses.losses(before, await losses.count(connection, kept))
            if lost:
                raise Failure(
                    f"undoing {row.name} would lose data: {'; '.join(lost)}",
                    *(_data_loss(row.name, what) for what in lost),
                )
            await table.roll_back(row.id)


async def _revert_alone(table: MigrationTable, batch: Sequence[tuple[Row, str]]) -> None:
    for row, down_sql in batch:
        if not await _index_is_so(table, down_sql):
            await table.connection.execute(down_sql)
        await table.roll_back(row.id)


def _data_loss(subject: str, what: str) -> Finding:
    return Finding(
        kind="data-loss",
        subject=subject,
        detail=f"Its down.sql would lose {what}.",
        cure="run roll-back --restore-backup: it brings back the backup and loses what was written since",
    )


def _runs_alone(sql: str) -> bool:
    """Whether PostgreSQL takes the script only outside a transaction."""
    return _ALONE.search(_COMMENT.sub(" ", sql)) is not None


async def _drop_invalid_index(table: MigrationTable, sql: str) -> None:
    """An interrupted CREATE INDEX CONCURRENTLY leaves an index that is never used but always written."""
    for verb, name in _INDEX.findall(_COMMENT.sub(" ", sql)):
        if verb.upper() == "CREATE" and await table.connection.fetchval(
            "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name
        ):
            await table.connection.execute(f"DROP INDEX CONCURRENTLY {name}")


async def _index_is_so(table: MigrationTable, sql: str) -> bool:
    """Whether the index that the script makes (drops) is there (gone) already."""
    named = _INDEX.findall(_COMMENT.sub(" ", sql))
    if not named:
        return False
    verb, name = named[0]
    there = await table.connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name)
    wanted: bool = verb.upper() == "CREATE"
    return bool(there) is wanted


def _finding(subject: str, detail: str, cure: str) -> Finding:
    return Finding(kind="migration", subject=subject, detail=detail, cure=cure)


def _no(subject: str, detail: str, cure: str) -> Failure:
    return Failure(f"migration {subject} failed: {detail}", _finding(subject, detail, cure))
