"""The way there and back, tried on staging's rows: after going down everything must be as it was before."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import asyncpg

from services.executor.clients import migrations, reverting
from services.executor.clients.losses import Tables
from services.executor.clients.migration_files import Migration
from services.executor.clients.migration_table import FencingToken
from services.executor.clients.postgres import Connection, described, execute_script, session, words
from services.executor.clients.row_digests import RowDigest, digests
from services.executor.clients.scripts import alone_of
from services.executor.domain.descriptions import differences, structure
from shared.contracts.facts import Step
from shared.contracts.stages import Finding
from shared.errors import Failure

_DIFFERENCES_SHOWN = 20


_TABLE = """
    CREATE SCHEMA IF NOT EXISTS upgradepath; DROP TABLE IF EXISTS upgradepath.start;
    CREATE TABLE upgradepath.start (start text NOT NULL, trying text, tried text, detail text)
"""
_STAND = """
    SELECT start, to_jsonb(s) ->> 'trying', to_jsonb(s) ->> 'tried', to_jsonb(s) ->> 'detail'
    FROM upgradepath.start s
"""


@dataclass(frozen=True)
class Start:
    """A database before the upgrade: its schema line by line, and the rows of each table that code knows.

    `trying` and `tried` name, by a digest, the ways down that are being taken there for good and those that
    were found to lead back, with the `detail` that was told.
    """

    schema: tuple[str, ...]
    rows: dict[str, RowDigest]
    kept: Tables
    trying: str | None = None
    tried: str | None = None
    detail: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the rows of the catalogues are among its lines."""
        return not self.schema or self.schema != structure(self.schema)

    def is_of_others(self, ours: Sequence[Migration]) -> bool:
        """Whether other ways down were taken here: they stopped half way, or the app wrote since."""
        names = {self.trying, self.tried} - {None}
        return bool(names) and names != {name_of(ours)}


async def start_of(url: str, kept: Tables, *, begun: bool) -> Start | None:
    """The database before the upgrade. It is kept in the database's own `upgradepath` schema, from where it
    is read once it is there; none when the upgrade has `begun` without."""
    async with session(url) as connection, connection.transaction(isolation="repeatable_read"):
        if await connection.fetchval("SELECT to_regclass('upgradepath.start') IS NOT NULL"):
            text, *stand = await connection.fetchrow(_STAND)
            return replace(_read(text), **dict(zip(("trying", "tried", "detail"), stand, strict=True)))
        if begun:
            return None
        start = Start(await described(connection), await digests(connection, kept), kept)
        await connection.execute(_TABLE)
        await connection.execute("INSERT INTO upgradepath.start (start) VALUES ($1)", _written(start))
        return start


def _written(start: Start) -> str:
    rows = {name: asdict(each) for name, each in start.rows.items()}
    kept = [[*table, sorted(columns)] for table, columns in start.kept.items()]
    return json.dumps({"schema": start.schema, "rows": rows, "kept": kept})


def _read(text: str) -> Start:
    values = json.loads(text)
    rows = {name: RowDigest(**each) for name, each in values["rows"].items()}
    kept = {(schema, name): frozenset(columns) for schema, name, columns in values["kept"]}
    return Start(tuple(values["schema"]), rows, kept)


def name_of(ours: Sequence[Migration]) -> str:
    """What these migrations with these ways down are noted by."""
    texts = [f"{each.folder}\0{each.checksum}\0{each.down_sql or ''}" for each in ours]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


async def go_down(
    url: str, history: Sequence[Migration], ours: Sequence[Migration], start: Start, token: FencingToken
) -> Step | None:
    """Take the ways down, newest first, compare with the start, and come back; nothing of it stays.

    Where all of them run in a transaction, it is taken back. Where one runs outside (CONCURRENTLY), they are
    taken for good, as a roll-back takes them, and the migrations are applied again; after a crash `settle`
    goes on. None when a migration has no way down. Raises Failure when they do not lead back.
    """
    downs = [each.down_sql for each in reversed(ours)]
    if not ours or any(down is None for down in downs):
        return None
    if start.tried == name_of(ours) and start.detail is not None:
        return Step(name="way down tried", detail=start.detail, duration_ms=0)
    started = time.monotonic()
    alone = any([await alone_of(each) is not None for each in ours])
    if alone:
        await _for_good(url, history, ours, start, token)
    else:
        await _and_taken_back(url, ours, start)
    counted = sum(each.rows for each in start.rows.values())
    how = "and applied again" if alone else "and taken back"
    detail = f"in staging, {how}: the schema and {counted:,} rows of {len(start.rows)} tables are as before"
    await _note(url, trying=None, tried=name_of(ours), detail=detail)
    return Step(name="way down tried", detail=detail, duration_ms=round((time.monotonic() - started) * 1000))


async def settle(
    url: str, history: Sequence[Migration], ours: Sequence[Migration], start: Start, token: FencingToken
) -> None:
    """Ways down that a crash left half taken: taken to their end, indexes that are half made among it."""
    if start.trying == name_of(ours):
        await _for_good(url, history, ours, start, token)


async def _for_good(
    url: str, history: Sequence[Migration], ours: Sequence[Migration], start: Start, token: FencingToken
) -> None:
    await _note(url, trying=name_of(ours))
    await reverting.revert(url, ours, token, kept=start.kept)
    async with session(url) as connection:
        await _require_same(connection, ours, start)
    # Back at the start: a crash from here on finds migrations that are to go on, and no way down to be taken.
    await _note(url, trying=None)
    folders = [each.folder for each in ours]
    await migrations.apply(url, history, token, wanted=folders, run=folders)


async def _and_taken_back(url: str, ours: Sequence[Migration], start: Start) -> None:
    async with session(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            for each in reversed(ours):
                assert each.down_sql is not None
                try:
                    await execute_script(connection, each.down_sql)
                except asyncpg.PostgresError as error:
                    raise _no(each.folder, f"its down.sql fails: {words(error)}") from error
            await _require_same(connection, ours, start)
        finally:
            await transaction.rollback()


async def _note(url: str, **stand: str | None) -> None:
    async with session(url) as connection, connection.transaction():
        for name, value in stand.items():
            # Made by an earlier version of ours it may lack them.
            await connection.execute(f"ALTER TABLE upgradepath.start ADD COLUMN IF NOT EXISTS {name} text")
            await connection.execute(f"UPDATE upgradepath.start SET {name} = $1", value)


async def _require_same(connection: Connection, ours: Sequence[Migration], start: Start) -> None:
    schema, rows = await described(connection), await digests(connection, start.kept)
    # A start that an earlier version of ours has written has the structure alone.
    lines = schema if start.is_whole else structure(schema)
    differing = list(differences(start.schema, lines))
    differing += [
        f"other rows than before: {name}" for name in start.rows if rows.get(name) != start.rows[name]
    ]
    if differing:
        folders = ", ".join(each.folder for each in reversed(ours))
        raise _no(folders, "\n".join(differing[:_DIFFERENCES_SHOWN]))


def _no(subject: str, detail: str) -> Failure:
    return Failure(
        "the way down does not lead back to what was before",
        Finding(
            kind="migration",
            subject=subject,
            detail=detail,
            cure="correct the migration's down.sql on the upgrade branch, or remove it if no SQL brings"
            " the rows back; push it, and run upgradepath run continue",
        ),
    )
