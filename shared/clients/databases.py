"""Databases are made and dropped on a server that others use too, by a role that is nobody special."""

from typing import TypeAlias

import asyncpg

from shared.sql.names import literal, quoted

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def make_database(connection: _Connection, name: str, like: str = "", comment: str = "") -> None:
    """Makes an empty database, into which its owner alone may look.

    `like` has more words of CREATE DATABASE; the comment stands before anybody can get in. Raises asyncpg's
    DuplicateDatabaseError when it is there.
    """
    # PostgreSQL lets everybody into a new database: nobody gets in before that has changed.
    await connection.execute(f"CREATE DATABASE {quoted(name)} {like} ALLOW_CONNECTIONS false")
    if comment:
        await connection.execute(f"COMMENT ON DATABASE {quoted(name)} IS {literal(comment)}")
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
