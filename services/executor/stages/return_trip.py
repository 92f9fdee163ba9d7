"""The way there and back, tried on staging's rows: after going down everything must be as it was before."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import asyncpg

from services.executor.clients.losses import Tables
from services.executor.clients.migration_files import FOLDER, Migration
from services.executor.clients.postgres import described, execute_script, session, words
from services.executor.clients.row_digests import RowDigest, digests
from shared.contracts.facts import Step
from shared.contracts.stages import Finding
from shared.errors import Failure
from shared.sql.script import tried_in_transaction

_DIFFERENCES_SHOWN = 20


@dataclass(frozen=True)
class Start:
    """A database before the upgrade: its schema line by line, and the rows of each table that code knows."""

    schema: tuple[str, ...]
    rows: dict[str, RowDigest]
    kept: Tables


async def start_of(url: str, kept: Tables, *, begun: bool) -> Start | None:
    """The database before the upgrade. It is kept in the database's own `upgradepath` schema, from where it
    is read once the upgrade has `begun`; none when it began without."""
    async with session(url) as connection, connection.transaction(isolation="repeatable_read"):
        if begun:
            there = await connection.fetchval("SELECT to_regclass('upgradepath.start') IS NOT NULL")
            text = await connection.fetchval("SELECT start FROM upgradepath.start") if there else None
            return None if text is None else _read(text)
        start = Start(await described(connection), await digests(connection, kept), kept)
        await connection.execute(
            "CREATE SCHEMA IF NOT EXISTS upgradepath; DROP TABLE IF EXISTS upgradepath.start;"
            "CREATE TABLE upgradepath.start (start text NOT NULL)"
        )
        await connection.execute("INSERT INTO upgradepath.start VALUES ($1)", _written(start))
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


async def go_down(url: str, ours: Sequence[Migration], start: Start) -> Step | None:
    """Take the ways down, newest first, compare with the start, and take it all back; nothing is kept.

    None when a migration has no way down, or one that no transaction can take. Raises Failure when the
    ways down do not lead back.
    """
    downs = [None if each.down_sql is None else tried_in_transaction(each.down_sql) for each in ours]
    if not ours or None in downs:
        return None
    started = time.monotonic()
    async with session(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            for each, down in reversed(list(zip(ours, downs, strict=True))):
                assert down is not None
                try:
                    await execute_script(connection, down)
                except asyncpg.PostgresError as error:
                    raise _no(each.folder, f"its down.sql fails: {words(error)}") from error
            schema, rows = await described(connection), await digests(connection, start.kept)
        finally:
            await transaction.rollback()
    folders = ", ".join(each.folder for each in reversed(ours))
    differing = [f"left: {line}" for line in schema if line not in start.schema]
    differing += [f"missing: {line}" for line in start.schema if line not in schema]
    differing += [
        f"other rows than before: {name}" for name in start.rows if rows.get(name) != start.rows[name]
    ]
    if differing:
        raise _no(folders, "\n".join(differing[:_DIFFERENCES_SHOWN]))
    counted = sum(each.rows for each in start.rows.values())
    detail = (
        f"in staging, and taken back: the schema and {counted:,} rows of {len(rows)} tables are as before"
    )
    return Step(name="way down tried", detail=detail, duration_ms=round((time.monotonic() - started) * 1000))


def _no(subject: str, detail: str) -> Failure:
    return Failure(
        "the way down does not lead back to what was before",
        Finding(
            kind="migration",
            subject=subject,
            detail=detail,
            cure=f"correct {FOLDER}/<migration>/down.sql on the upgrade branch, or remove it if no SQL brings"
            " the rows back; push it, and run upgradepath run continue",
        ),
    )
