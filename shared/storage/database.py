"""One service's database: its engine, and the transaction that a handler is."""

import base64
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Generic, TypeVar

import asyncpg
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

from shared.contracts.envelope import Envelope, seal, to_body, to_headers
from shared.contracts.topics import Topic
from shared.contracts.values import Message
from shared.crash_points import reached
from shared.storage.tables import OutboxRow

# Beginnings of SQLSTATEs that say nothing about the statement: connection, credentials, no such database,
# a standby that only reads, resources, operator, system, and the conflicts that are to be tried again.
_PASSING = ("08", "28", "3D000", "25006", "53", "57", "58", "40001", "40P01", "55P03")

BODY_BYTES_MAX = 1_000_000
"""Of a message: the topics take 1 MiB, headers included."""

OUTBOX_CHANNEL = "outbox"

RawHeaders = Iterable[tuple[str, bytes | None]]


class Transaction:
    """One commit: state, inbox and outbox together. Services add their queries in a subclass."""

    def __init__(self, session: AsyncSession, service: str, now: datetime, cause: Envelope | None) -> None:
        self.session = session
        self.service = service
        self.now = now
        """The database's clock at the start of the transaction."""
        self.cause = cause
        self._ordinal = 0
        self._outgoing: list[dict[str, object]] = []
        self._after_commit: list[Callable[[], None]] = []

    @property
    def source(self) -> str:
        return f"/upgrades/{self.service}"

    def caused_by(self, cause: Envelope) -> None:
        """From here on, what is sent is sent because of `cause`."""
        self.cause = cause
        self._ordinal = 0

    def send(
        self, message: Message, *, topic: Topic | None = None, correlation_id: str | None = None
    ) -> Envelope:
        """Put a message into the outbox. It leaves after the commit, in order, once.

        Raises ValueError when its body has more than BODY_BYTES_MAX bytes.
        """
        envelope = seal(
            message,
            source=self.source,
            now=self.now,
            cause=self.cause,
            ordinal=self._ordinal,
            correlation_id=correlation_id,
        )
        self._ordinal += 1
        body = to_body(message)
        if len(body) > BODY_BYTES_MAX:
            # In the outbox it would be refused for good, and everything behind it would wait.
            raise ValueError(f"{envelope.type} has {len(body)} bytes: big things go to the content store")
        self.send_raw(topic or message.topic, envelope.subject.encode(), body, to_headers(envelope))
        return envelope

    def send_raw(self, topic: Topic, key: bytes | None, body: bytes | None, headers: RawHeaders) -> None:
        """Put bytes into the outbox as they are: for dead letters."""
        encoded = [
            [name, None if value is None else base64.b64encode(value).decode()] for name, value in headers
        ]
        self._outgoing.append({"topic": topic.name, "key": key, "body": body, "headers": encoded})

    async def lock(self, kind: str, subject: str) -> None:
        """Until the commit, nobody else works on this subject: its revisions and messages keep order."""
        await self.session.execute(
            text("select pg_advisory_xact_lock(hashtextextended(:subject, 0))"),
            {"subject": f"{kind}/{subject}"},
        )

    def after_commit(self, wake: Callable[[], None]) -> None:
        """Call `wake` once this transaction is durable; it must not fail."""
        self._after_commit.append(wake)

    async def flush_outbox(self) -> None:
        if self._outgoing:
            await self.session.execute(insert(OutboxRow), self._outgoing)
            await self.session.execute(text(f"select pg_notify('{OUTBOX_CHANNEL}', '')"))
            self._outgoing = []

    def committed(self) -> None:
        for wake in self._after_commit:
            wake()


T = TypeVar("T", bound=Transaction)


class Database(Generic[T]):
    """A service's own database. `url` is `postgresql://…`."""

    def __init__(self, service: str, url: str, transaction: type[T], *, pool_size: int = 8) -> None:
        self.service = service
        self.url = url
        self._transaction = transaction
        self.engine = create_async_engine(
            async_url(url), pool_size=pool_size, max_overflow=pool_size, pool_timeout=30
        )

    @asynccontextmanager
    async def transaction(self, cause: Envelope | None = None) -> AsyncIterator[T]:
        """Begin, yield, commit; roll back on any exception."""
        async with AsyncSession(self.engine, expire_on_commit=False, autoflush=False) as session:
            async with session.begin():
                now = (await session.execute(text("select now()"))).scalar_one()
                tx = self._transaction(session, self.service, now, cause)
                yield tx
                await session.flush()
                await tx.flush_outbox()
                reached(tx.cause.type if tx.cause else "", "commit", "before")
            reached(tx.cause.type if tx.cause else "", "commit", "after")
            tx.committed()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection that commits each statement by itself: for locks and notifications."""
        async with self.engine.connect() as plain:
            yield await plain.execution_options(isolation_level="AUTOCOMMIT")

    async def ping(self) -> None:
        """Raises what the driver raises when the database is not there."""
        async with self.engine.connect() as connection:
            await connection.execute(text("select 1"))

    async def close(self) -> None:
        await self.engine.dispose()


def async_url(url: str) -> str:
    """`postgresql://…` with the driver that SQLAlchemy is to use."""
    scheme, _, rest = url.partition("://")
    if scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
        raise ValueError(f"not a PostgreSQL URL: it begins with {scheme!r}; use postgresql://…")
    return f"postgresql+asyncpg://{rest}"


def is_passing(error: BaseException) -> bool:
    """Whether the database, not the statement, is at fault: the same again may succeed."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, InterfaceError):
            return True
        state = getattr(error.orig, "sqlstate", None) or ""
        return str(state).startswith(_PASSING) or (isinstance(error, OperationalError) and not state)
    if isinstance(error, asyncpg.PostgresError):
        # Whatever comes while connecting reaches us as the driver's own error.
        return str(error.sqlstate or "").startswith(_PASSING)
    # Not every OSError: a file that is not there will not be there the next time either.
    return type(error) is OSError or isinstance(
        error, (ConnectionError, TimeoutError, PoolTimeout, socket.gaierror, asyncpg.InterfaceError)
    )
