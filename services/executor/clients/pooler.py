"""A pooler is no server: what is set or locked in a session there stays with somebody else's.

Migrations and copies set session_replication_role, row_security and Prisma's lock. Behind a pooler the next
statement may meet another backend, and the next customer the one that we left.
"""

from typing import Any

import asyncpg

from shared.clients.database_urls import place
from shared.clients.libpq import query_of
from shared.contracts.stages import Finding
from shared.errors import Failure

_PARAMETERS = ("pgbouncer", "supavisor")
# PgBouncer takes few settings at the start, and its messages begin so.
_WORDS = ("unsupported startup parameter", "pgbouncer", "pooler")


def refuse_declared_pooler(url: str) -> None:
    """Raises Failure when the URL says by Prisma's parameter that a pooler answers."""
    query = query_of(url)
    if any(query.get(name, "").lower() in ("true", "1") for name in _PARAMETERS):
        raise pooled(url)


def is_poolers(error: asyncpg.PostgresError) -> bool:
    """The error is one that poolers give where a server gives none."""
    return any(word in str(error).lower() for word in _WORDS)


async def refuse_pooler(connection: Any, url: str) -> None:
    """Raises Failure when another process works for the session than the one that greeted it."""
    # A server names its own process in the greeting; a pooler makes a number up, or changes the process.
    greeted = connection.get_server_pid()
    found = {await connection.fetchval("SELECT pg_backend_pid()") for _ in range(2)}
    if found != {greeted}:
        raise pooled(url)


def pooled(url: str) -> Failure:
    """The verdict, for the maintainer."""
    return Failure(
        f"a pooler answers at {place(url)}, and not the server itself",
        Finding(
            kind="environment",
            subject="environments.*.database",
            detail="Session settings and locks of an upgrade would stay in connections that others get.",
            cure="name the server's direct URL (Prisma's directUrl) in the secret",
        ),
    )
