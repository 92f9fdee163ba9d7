"""What Prisma's engine knows of schemas, migrations and databases: differences, history, losses."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from shared.prisma.engine import SchemaEngine, Session
from shared.prisma.parser import Files, with_datasource, without_urls
from shared.prisma.postgres import PostgresSessions
from shared.prisma.runnable import runnable

Migrations = Mapping[str, str]
"""Folder to the text of its migration.sql."""


_FILTERS: dict[str, list[str]] = {"externalTables": [], "externalEnums": []}


class Offline:
    """No database: what the engine asks before anything else is answered, and nothing more."""

    schema = "public"

    async def connect(self) -> Session:
        return self

    async def connect_to_shadow(self) -> Session:
        raise AssertionError("a difference of schemas needs no database")

    async def query(self, sql: str, arguments: list[Any]) -> dict[str, Any]:
        row = [True, "PostgreSQL 16.0", 160000]
        return {"columnTypes": [5, 7, 0], "columnNames": ["exists", "version", "number"], "rows": [row]}

    async def execute(self, sql: str, arguments: list[Any]) -> int:
        raise AssertionError("a difference of schemas needs no database")

    async def script(self, sql: str) -> None:
        raise AssertionError("a difference of schemas needs no database")

    async def close(self) -> None:
        pass


# An engine belongs to the event loop that works for it.
_offline: WeakKeyDictionary[asyncio.AbstractEventLoop, SchemaEngine] = WeakKeyDictionary()


async def diff(before: Files, after: Files) -> str:
    """The SQL that takes a database from the schema `before` to `after`; nothing where they are the same.

    Needs no database. Swap the two for the way back. Raises `EngineError` for files that are no valid schema,
    and for a difference of which Prisma prints no SQL that PostgreSQL reads. It may be two migrations.
    """
    loop = asyncio.get_running_loop()
    engine = _offline.get(loop)
    if engine is None or engine.broken:
        if engine is not None:
            await engine.close()
        engine = _offline[loop] = SchemaEngine(Offline())
    return runnable(await _diff(engine, schema_target(before), schema_target(after)))


async def _diff(engine: SchemaEngine, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    answer = await engine.ask(
        "diff",
        {
            "from": before,
            "to": after,
            "script": True,
            "exitCode": None,
            "shadowDatabaseUrl": None,
            "filters": _FILTERS,
        },
    )
    sql = str(answer["stdout"])
    return "" if sql.strip() == "-- This is an empty migration." else sql


def schema_target(files: Files) -> dict[str, Any]:
    return {"tag": "schemaDatamodel", **_schema(files)}


def _schema(files: Files) -> dict[str, Any]:
    given = {path: without_urls(text) for path, text in with_datasource(files).items()}
    return {"files": [{"path": path, "content": text} for path, text in given.items()]}


@dataclass(frozen=True)
class Diagnosis:
    """A database's history against a folder of migrations. All empty where nothing is to be done or mended.

    `unapplied` are the folder's that the database lacks, `unknown` the database's that the folder lacks.
    """

    has_table: bool
    failed: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    unapplied: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    diverged_after: str | None = None

    @property
    def up_to_date(self) -> bool:
        return not (self.failed or self.edited or self.unapplied or self.unknown)


@dataclass(frozen=True)
class Losses:
    """What the step from the migrations to a schema would do to the rows that exist, in Prisma's words."""

    steps: int
    warnings: tuple[str, ...]
    impossible: tuple[str, ...]


async def diff_from_migrations(url: str, migrations: Migrations, after: Files) -> str:
    """The SQL that the migrations lack to make the schema `after`; nothing where they make it.

    They are replayed in a shadow database, made on the URL's server and dropped. Raises `EngineError`.
    """
    async with _engine(url) as engine:
        return await _diff(engine, {"tag": "migrations", **_list(migrations)}, schema_target(after))


async def diff_from_database(url: str, after: Files) -> str:
    """The SQL that the database itself lacks to have the schema `after`; nothing where it has it."""
    async with _engine(url) as engine:
        here = {"tag": "schemaDatasource", **_schema(after), "configDir": "."}
        return await _diff(engine, here, schema_target(after))


async def diagnose(url: str, migrations: Migrations) -> Diagnosis:
    """What Prisma itself says of the database's history; it writes nothing there."""
    async with _engine(url) as engine:
        said = await engine.ask(
            "diagnoseMigrationHistory",
            {"migrationsList": _list(migrations), "optInToShadowDatabase": False, "filters": _FILTERS},
        )
    history = said["history"] or {}
    return Diagnosis(
        has_table=bool(said["hasMigrationsTable"]),
        failed=tuple(said["failedMigrationNames"]),
        edited=tuple(said["editedMigrationNames"]),
        unapplied=tuple(history.get("unappliedMigrationNames", ())),
        unknown=tuple(history.get("unpersistedMigrationNames", ())),
        diverged_after=history.get("lastCommonMigrationName"),
    )


async def data_loss(url: str, migrations: Migrations, after: Files) -> Losses:
    """What going from the migrations' schema to `after` would lose, counted in the database's rows.

    The migrations must be those that the database has; they are replayed in a shadow database.
    """
    async with _engine(url) as engine:
        listed = _list(migrations)
        # The engine evaluates only what it has diagnosed.
        await engine.ask("devDiagnostic", {"migrationsList": listed, "filters": _FILTERS})
        said = await engine.ask(
            "evaluateDataLoss", {"migrationsList": listed, "schema": _schema(after), "filters": _FILTERS}
        )
    return Losses(
        steps=int(said["migrationSteps"]),
        warnings=tuple(each["message"] for each in said["warnings"]),
        impossible=tuple(each["message"] for each in said["unexecutableSteps"]),
    )


async def apply_migrations(url: str, migrations: Migrations) -> tuple[str, ...]:
    """Apply what the database lacks, as `prisma migrate deploy` does; the names of what was applied."""
    async with _engine(url) as engine:
        said = await engine.ask("applyMigrations", {"migrationsList": _list(migrations), "filters": _FILTERS})
    return tuple(said["appliedMigrationNames"])


@asynccontextmanager
async def _engine(url: str) -> AsyncIterator[SchemaEngine]:
    async with PostgresSessions(url) as sessions:
        engine = SchemaEngine(sessions)
        try:
            yield engine
        finally:
            await engine.close()


def _list(migrations: Migrations) -> dict[str, Any]:
    return {
        "baseDir": "prisma/migrations",
        "lockfile": {"path": "migration_lock.toml", "content": 'provider = "postgresql"\n'},
        "shadowDbInitScript": "",
        "migrationDirectories": [
            {
                "path": folder,
                "migrationFile": {"path": "migration.sql", "content": {"tag": "ok", "value": sql}},
            }
            for folder, sql in sorted(migrations.items())
        ],
    }
