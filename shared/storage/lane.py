"""Connections for statements that are a transaction each: the hot path, without pool resets or a `begin`."""

import asyncio
from typing import Any

import asyncpg

_SETTINGS = {
    # Plans drifted as tables grew until the plan was fixed: everything here goes through an index by its key.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}


class Lane:
    """A few connections, each opened when it is first needed; `url` is `postgresql://…`."""

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._idle: list[asyncpg.Connection[Any]] = []
        self._free = asyncio.Semaphore(size)

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Run one statement, which commits by itself. Raises what the driver raises."""
        async with self._free:
            connection = await self._connection()
            try:
                rows: list[asyncpg.Record] = await connection.fetch(sql, *args)
            except asyncpg.PostgresError:
                self._give_back(connection)
                raise
            except BaseException:
                # Cancelled or cut off: nobody knows what the connection is in the middle of.
                connection.terminate()
                raise
            self._give_back(connection)
            return rows

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def _connection(self) -> "asyncpg.Connection[Any]":
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await asyncpg.connect(self._url, server_settings=_SETTINGS)

    def _give_back(self, connection: "asyncpg.Connection[Any]") -> None:
        if not connection.is_closed():
            self._idle.append(connection)
