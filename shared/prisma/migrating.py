"""What Prisma's engine knows of schemas, migrations and databases: differences, history, losses."""

import asyncio
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from shared.prisma.engine import SchemaEngine, Session
from shared.prisma.parser import Files, without_urls

_DATASOURCE = {"upgradepath-datasource.prisma": 'datasource db {\n  provider = "postgresql"\n}\n'}
_FILTERS: dict[str, list[str]] = {"externalTables": [], "externalEnums": []}


class _NoDatabase:
    """Answers what the engine asks before anything else, and nothing more."""

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

    Needs no database. Swap the two for the way back. Raises `EngineError` for files that are no valid schema.
    """
    loop = asyncio.get_running_loop()
    engine = _offline.get(loop)
    if engine is None or engine.broken:
        engine = _offline[loop] = SchemaEngine(_NoDatabase())
    return await _diff(engine, schema_target(before), schema_target(after))


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
    given = {path: without_urls(text) for path, text in files.items()}
    if not any("datasource" in text for text in given.values()):
        given |= _DATASOURCE
    return {"files": [{"path": path, "content": text} for path, text in given.items()]}
