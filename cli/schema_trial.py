"""SQL between two schemas, tried in an empty database of a PostgreSQL of our own that ends with it."""

import asyncio
import tempfile
from pathlib import Path

import asyncpg

from local.postgres import EmbeddedPostgres
from shared.clients.database_urls import with_database
from shared.prisma.migrating import diff, diff_from_database
from shared.prisma.parser import Files
from shared.prisma.runnable import migrations_of

# What this server was built without, and another one may have.
_LACKING = ("0A000", "58P01")


class CannotRun(Exception):
    """The SQL does not lead there; the text says why."""


async def try_difference(before: Files, after: Files, sql: str) -> None:
    """Returns when `sql` leads from a database with the schema `before` to `after`. Raises `CannotRun`."""
    made = await diff({}, before)
    with tempfile.TemporaryDirectory(prefix="upgradepath-trial-") as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres", fsync=False)
        await asyncio.to_thread(postgres.start)
        try:
            url = with_database(postgres.url(), "trial")
            await asyncio.to_thread(postgres.create_database, "trial")
            await _run(url, [*migrations_of(made), *migrations_of(sql)])
            left = await diff_from_database(url, after)
        except asyncpg.PostgresError as error:
            if error.sqlstate in _LACKING:
                return
            raise CannotRun(f"{error} ({error.sqlstate})") from error
        finally:
            await asyncio.to_thread(postgres.stop)
    if left.strip():
        raise CannotRun(f"it leads to another schema; missing would be:\n{left.strip()}")


async def _run(url: str, scripts: list[str]) -> None:
    for script in scripts:
        connection = await asyncpg.connect(url)
        try:
            # asyncpg takes no script without a statement.
            if script.strip():
                await connection.execute(script)
        finally:
            await connection.close()
