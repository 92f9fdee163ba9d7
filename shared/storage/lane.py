"""Connections for statements that are a transaction each: the hot path, without pool resets or a `begin`."""

import asyncio
from typing import Any

import asyncpg

from shared.clients.postgres import connect
from shared.storage.connections import ANSWER_WITHIN_S, SERVER_KEEPS_ALIVE, keep_alive

_SETTINGS = {
    **SERVER_KEEPS_ALIVE,
    # Plans drifted as tables grew until the plan was fixed: everything here goes through an index by its key.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    # A scan by bitmap marks no dead row in its index: each would be looked at again until a vacuum comes.
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}


class Lane:
    """A few connections, each opened when it is first needed; `url` is `postgresql://…`.

    A statement that has no answer within `answer_within_s` raises TimeoutError.
    """

    def __init__(self, url: str, size: int, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        self._url = url
        self._answer_within_s = answer_within_s
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
            except BaseException as error:
                # Cancelled or cut off: nobody knows what the connection is in the middle of.
                connection.terminate()
                if isinstance(error, TimeoutError):
                    self._forget_idle()
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
        connection = await connect(
            self._url, command_timeout=self._answer_within_s, server_settings=_SETTINGS
        )
        keep_alive(connection)
        return connection

    def _forget_idle(self) -> None:
        """What one of them cannot reach the others cannot either: each would cost somebody the same wait."""
        while self._idle:
            self._idle.pop().terminate()

    def _give_back(self, connection: "asyncpg.Connection[Any]") -> None:
        if not connection.is_closed():
            self._idle.append(connection)
