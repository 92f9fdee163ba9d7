"""Databases are made and dropped on a server that others use too, by a role that is nobody special."""

from typing import TypeAlias

import asyncpg

from shared.sql.names import quoted

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def make_database(connection: _Connection, name: str) -> None:
    """Makes an empty database, into which its owner alone may look.

    Raises asyncpg's DuplicateDatabaseError when it is there.
    """
    # PostgreSQL lets everybody into a new database: nobody gets in before that has changed.
    await connection.execute(f"CREATE DATABASE {quoted(name)} ALLOW_CONNECTIONS false")
    await connection.execute(f"REVOKE CONNECT ON DATABASE {quoted(name)} FROM PUBLIC")
    await connection.execute(f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS true")


async def remove_database(connection: _Connection, name: str) -> None:
    """Drops a database, ending its sessions, if it is there. Raises what asyncpg raises."""
    drop = f"DROP DATABASE IF EXISTS {quoted(name)}"
    try:
        await connection.execute(f"{drop} WITH (FORCE)")
    except asyncpg.InsufficientPrivilegeError:
        # FORCE refuses a plain role whenever the server's own vacuum is in there; DROP alone ends that one.
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = $1 AND usename = current_user",
            name,
        )
        await connection.execute(drop)
