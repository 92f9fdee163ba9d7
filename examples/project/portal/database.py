"""A small pool that connects when the first query comes, so that the portal starts without its database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg


class Database:
    """What Systems find as `app.state.database`; `transaction()` gives a connection with the same methods."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any = None
        self._lock = asyncio.Lock()

    async def _connected(self) -> Any:
        async with self._lock:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=4,
                    timeout=5,
                    command_timeout=10,
                    max_inactive_connection_lifetime=30,
                    server_settings={"timezone": "UTC", "application_name": "acme-portal"},
                )
        return self._pool

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        """All rows."""
        return list(await (await self._connected()).fetch(query, *values))

    async def fetchrow(self, query: str, *values: Any) -> Any:
        """The first row, or None."""
        return await (await self._connected()).fetchrow(query, *values)

    async def fetchval(self, query: str, *values: Any) -> Any:
        """The first value of the first row, or None."""
        return await (await self._connected()).fetchval(query, *values)

    async def execute(self, query: str, *values: Any) -> None:
        """Run a statement."""
        await (await self._connected()).execute(query, *values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection inside a transaction that commits at the end of the block."""
        async with (await self._connected()).acquire() as connection, connection.transaction():
            yield connection

    async def close(self) -> None:
        """Close the pool, if it was ever opened."""
        if self._pool is not None:
            await self._pool.close()
