"""PostgreSQL, as Prisma's engine speaks with it: plain asyncpg, values as Prisma's own adapter gives them."""

import time as clock
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Self, TypeAlias

import asyncpg

from shared.clients.database_urls import schema_of, server_url, with_database
from shared.clients.databases import make_database, remove_database
from shared.clients.postgres import connect
from shared.prisma.engine import DatabaseSaidNo
from shared.prisma.javascript import BigInt

_CONNECT_TIMEOUT_S = 10.0
_SHADOW = "upgradepath_shadow_"
_LEFT_AFTER_S = 600
_TEXT = 7
_ARRAY = 64
# Prisma's numbers for kinds of columns, by PostgreSQL's names of types.
_KINDS = {
    **dict.fromkeys(("int2", "int4", "oid"), 0),
    "int8": 1,
    "float4": 2,
    "float8": 3,
    "numeric": 4,
    "bool": 5,
    "char": 6,
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), _TEXT),
    "date": 8,
    "time": 9,
    **dict.fromkeys(("timestamp", "timestamptz"), 10),
    **dict.fromkeys(("json", "jsonb"), 11),
    "bytea": 13,
    "uuid": 15,
}
_INTEGERS = {"int2", "int4", "int8", "oid"}
_FLOATS = {"float4", "float8"}
_MOMENTS = {"timestamp", "timestamptz"}
_Connection: TypeAlias = Any


class PostgresSessions:
    """Connections to one database, and to shadow databases on its server; all of them go with the block."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._left_behind = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._left_behind.aclose()

    async def connect(self) -> "PostgresSession":
        return await self._session(self.url)

    async def connect_to_shadow(self) -> "PostgresSession":
        """An empty database of its own."""
        server = await _connect(self.url)
        self._left_behind.push_async_callback(server.close, timeout=_CONNECT_TIMEOUT_S)
        await _sweep(server)
        name = f"{_SHADOW}{round(clock.time())}_{uuid.uuid4().hex}"
        # Said before it is made: whoever is stopped in between has it dropped all the same.
        self._left_behind.push_async_callback(remove_database, server, name)
        await _answered(make_database(server, name))
        return await self._session(with_database(self.url, name))

    async def _session(self, url: str) -> "PostgresSession":
        connection = await _connect(url)
        self._left_behind.push_async_callback(connection.close, timeout=_CONNECT_TIMEOUT_S)
        return PostgresSession(connection, schema_of(url))


class PostgresSession:
    """One connection, in whose `schema` is what names none."""

    def __init__(self, connection: _Connection, schema: str) -> None:
        self.schema = schema
        self._connection = connection

    async def query(self, sql: str, arguments: list[Any]) -> dict[str, Any]:
        statement = await _answered(self._connection.prepare(sql))
        rows = await _answered(statement.fetch(*_arguments(statement, arguments)))
        columns = statement.get_attributes()
        return {
            "columnNames": [column.name for column in columns],
            "columnTypes": [_kind(column.type.name) for column in columns],
            "rows": [
                [_told(value, column.type.name) for value, column in zip(row, columns, strict=True)]
                for row in rows
            ],
        }

    async def execute(self, sql: str, arguments: list[Any]) -> int:
        if not arguments:
            # A statement that takes none may be one that cannot be prepared.
            return _changed(await _answered(self._connection.execute(sql)))
        statement = await _answered(self._connection.prepare(sql))
        await _answered(statement.fetch(*_arguments(statement, arguments)))
        return _changed(statement.get_statusmsg())

    async def script(self, sql: str) -> None:
        await _answered(self._connection.execute(sql))

    async def close(self) -> None:
        """Safe to repeat."""
        await self._connection.close(timeout=_CONNECT_TIMEOUT_S)


async def _sweep(server: _Connection) -> None:
    """Drop the shadow databases that nobody is in, and that a process which was killed has left."""
    left = await server.fetch(
        "SELECT datname FROM pg_database d WHERE starts_with(datname, $1)"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)",
        _SHADOW,
    )
    for (name,) in left:
        made = name.removeprefix(_SHADOW).partition("_")[0]
        if made.isdigit() and clock.time() - int(made) > _LEFT_AFTER_S:
            await server.execute(f'DROP DATABASE IF EXISTS "{name}"')


async def _connect(url: str) -> _Connection:
    return await connect(
        server_url(url),
        connect_within_s=_CONNECT_TIMEOUT_S,
        of_others=True,
        statement_cache_size=0,
        server_settings={"search_path": f'"{schema_of(url)}"', "application_name": "upgradepath"},
    )


async def _answered(work: Any) -> Any:
    try:
        return await work
    except asyncpg.PostgresError as error:
        raise DatabaseSaidNo(
            {
                "kind": "postgres",
                "code": error.sqlstate,
                "severity": getattr(error, "severity", None) or "ERROR",
                "message": error.args[0],
                "detail": getattr(error, "detail", None),
                "hint": getattr(error, "hint", None),
                "column": getattr(error, "column_name", None),
                "originalCode": error.sqlstate,
                "originalMessage": error.args[0],
            }
        ) from error


def _changed(status: str) -> int:
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0


def _kind(name: str) -> int:
    many = name.endswith("[]")
    return _KINDS.get(name.removesuffix("[]"), _TEXT) + (_ARRAY if many else 0)


def _told(value: Any, name: str) -> Any:
    """A value of the server, in the form that Prisma's adapter gives."""
    match value:
        case None | bool():
            return value
        case int() if name.startswith("int8"):
            return str(value)
        case int() | float() | str():
            return value
        case bytes() if name.startswith("char"):
            return value.decode()
        case bytes():
            return bytearray(value)
        case datetime() | date() | time():
            return value.isoformat()
        case list() | tuple():
            return [_told(each, name.removesuffix("[]")) for each in value]
        case _:
            return str(value)


def _arguments(statement: _Connection, given: Sequence[Any]) -> list[Any]:
    wanted = [parameter.name for parameter in statement.get_parameters()]
    return [_asked(value, name) for value, name in zip(given, wanted, strict=True)]


def _asked(value: Any, name: str) -> Any:
    """A value of the engine, in the form that asyncpg takes for a parameter of that type."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, list):
        return [_asked(each, name.removesuffix("[]")) for each in value]
    if name in _INTEGERS:
        return int(value)
    if name in _FLOATS:
        return float(value)
    if name == "numeric":
        return Decimal(str(value))
    if name in _MOMENTS:
        return datetime.fromisoformat(str(value))
    return str(int(value)) if isinstance(value, BigInt | float) else value
