"""Connections that notice when the other side has gone without a word: a firewall, a cable, a dead host.

Three watchers, each for what the others cannot see. The kernel gives up on packets that nobody acknowledges.
The server does the same, so that the locks of a session whose process has gone are free again. And a
statement that gets no answer in time is given up, whoever still acknowledges: a proxy or a pooler may.
"""

import socket
import ssl
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.clients.libpq import UnusableUrl, query_of
from shared.clients.postgres import CONNECT_WITHIN_S as CONNECT_WITHIN_S
from shared.clients.postgres import connect

ANSWER_WITHIN_S = 60.0
"""Far longer than any statement of ours takes; rebuilds and migrations have connections of their own."""
_DIALECT = "postgresql+asyncpg"
_IDLE_S, _PROBE_EVERY_S, _PROBES = 15, 5, 3
_UNACKNOWLEDGED_MS = 30_000

UNREACHABLE = (
    ConnectionError,
    TimeoutError,
    PoolTimeout,
    socket.gaierror,
    asyncpg.InterfaceError,
    # Certificates are renewed while a service runs, and a standby becomes the primary.
    ssl.SSLError,
    UnusableUrl,
    asyncpg.TargetServerAttributeNotMatched,
)
"""What connecting raises, besides a plain OSError, when the same again may succeed.

A URL that could be used at the start can be used again once its files are back.
"""

SERVER_KEEPS_ALIVE = {
    "tcp_keepalives_idle": str(_IDLE_S),
    "tcp_keepalives_interval": str(_PROBE_EVERY_S),
    "tcp_keepalives_count": str(_PROBES),
    "tcp_user_timeout": str(_UNACKNOWLEDGED_MS),
}
"""Of a session, for PostgreSQL's own end of it; over a Unix socket the server ignores them."""

_OPTIONS = {
    # Linux's names; another kernel has its own, and leaves those out that it does not have.
    "TCP_KEEPIDLE": _IDLE_S,
    "TCP_KEEPINTVL": _PROBE_EVERY_S,
    "TCP_KEEPCNT": _PROBES,
    "TCP_USER_TIMEOUT": _UNACKNOWLEDGED_MS,
}


def keep_alive(connection: "asyncpg.Connection[Any]") -> None:
    """Have the kernel ask after a server that says nothing; does nothing over a Unix socket."""
    # The driver has no option for it, and its socket behind no other name.
    transport: Any = connection._transport
    wire = transport.get_extra_info("socket")
    if wire.family not in (socket.AF_INET, socket.AF_INET6):
        return
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS.items():
        if hasattr(socket, name):
            wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def engine(url: str, pool_size: int, answer_within_s: float) -> AsyncEngine:
    """Connections with which transactions are made, up to twice `pool_size`; `url` is `postgresql://…`.

    One that does not answer in time is dropped, with all that are older than the error: what one of them
    cannot reach the others cannot either, and each would cost somebody the same wait.
    """
    made = create_async_engine(
        f"{_DIALECT}://",
        async_creator=partial(
            connect,
            _driver_url(url),
            command_timeout=answer_within_s,
            # A process that is stopped in the middle of a transaction must not keep its locks for good.
            server_settings={"idle_in_transaction_session_timeout": "10s", **SERVER_KEEPS_ALIVE},
        ),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=30,
        # Its errors are printed, and a value may be anything that was sent to us.
        hide_parameters=True,
    )
    event.listen(made.sync_engine, "connect", _on_connect)
    event.listen(made.sync_engine, "handle_error", _on_error)
    return made


def plain_engine(url: str) -> AsyncEngine:
    """Connections without time-outs of ours: for migrations, which may take long."""
    return create_async_engine(f"{_DIALECT}://", async_creator=partial(connect, _driver_url(url)))


def async_url(url: str) -> str:
    """`postgresql://…` with the driver that SQLAlchemy is to use; libpq's parameters stay what they are."""
    parts = urlsplit(_driver_url(url))
    asked = query_of(url)
    # SQLAlchemy hands each parameter to the driver by its name; the driver reads libpq's from a URL alone.
    query = urlencode({"dsn": f"postgresql://?{urlencode(asked, quote_via=quote)}"}) if asked else ""
    return urlunsplit(parts._replace(scheme=_DIALECT, query=query))


def _driver_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme not in {"postgresql", "postgres", _DIALECT}:
        raise ValueError(f"not a PostgreSQL URL: it begins with {scheme!r}; use postgresql://…")
    return f"postgresql://{rest}"


def _on_connect(connection: Any, record: object) -> None:
    keep_alive(connection.driver_connection)


def _on_error(context: ExceptionContext) -> None:
    if isinstance(context.original_exception, TimeoutError):
        context.is_disconnect = context.invalidate_pool_on_disconnect = True
