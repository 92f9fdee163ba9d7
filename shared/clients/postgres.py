"""A connection to PostgreSQL, as libpq would make it: the one place from which asyncpg is asked for one."""

from collections.abc import Mapping
from typing import Any

import asyncpg

from shared.clients.libpq import driver_arguments

CONNECT_WITHIN_S = 10.0


async def connect(
    url: str,
    *,
    connect_within_s: float = CONNECT_WITHIN_S,
    server_settings: Mapping[str, str] | None = None,
    of_others: bool = False,
    **more: Any,
) -> "asyncpg.Connection[Any]":
    """Connect to `postgresql://…` with the URL's own `sslmode`, certificates and time-out.

    `of_others` says that the URL is not ours: no password of this process or its user is given to that
    server. `more` goes to asyncpg as it is. Raises `UnusableUrl`, and what asyncpg raises.
    """
    arguments = driver_arguments(url, connect_within_s, server_settings or {}, of_others=of_others)
    return await asyncpg.connect(**arguments, **more)
