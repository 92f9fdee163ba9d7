"""One service's database: its engine, and the transaction that a handler is."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from shared.contracts.envelope import Envelope, seal, to_body, to_headers
from shared.contracts.topics import Topic
from shared.contracts.values import Message
from shared.crash_points import reached
from shared.storage.audit import note_part
from shared.storage.clock import DatabaseClock
from shared.storage.connections import ANSWER_WITHIN_S, engine
from shared.storage.faults import Outrun as Outrun
from shared.storage.faults import is_passing as is_passing
from shared.storage.faults import is_repeat as is_repeat
from shared.storage.lane import Lane
from shared.storage.messages import (
    InboxEntry,
    Outgoing,
    RawHeaders,
    inbox_part,
    outbox_parts,
    require_sendable,
)
from shared.storage.outlet import Outlet
from shared.storage.statement import Part, joined

BODY_BYTES_MAX = 1_000_000
"""Of a message: the topics take 1 MiB, headers included."""


class Transaction:
    """One commit: state, inbox and outbox together. Services add their queries in a subclass.

    What is sent and remembered is written at the end, with the subclass's own `parts`, by one statement. If
    nobody asked for `session` before, that statement is the whole transaction, in one round trip.
    """

    def __init__(
        self,
        database: "Database[Any]",
        now: datetime,
        cause: Envelope | None,
        from_memory: bool = False,
    ) -> None:
        self.database = database
        self.from_memory = from_memory
        """What is remembered is believed until the commit; else the database is asked."""
        self.service = database.service
        self.now = now
        """The database's clock at the start of the transaction."""
        self.cause = cause
        self._session: AsyncSession | None = None
        self._ordinal = 0
        self._outgoing: list[Outgoing] = []
        self._handled: list[InboxEntry] = []
        self._notes: list[str] = []
        self._has_notes = False
        self.policy: str | None = None
        """The digest of the policy under which the message that is being handled is decided."""
        self._written: list[tuple[int, Sequence[int], Sequence[Outgoing], bool]] = []
        """What went into the outbox: the epoch, ids, messages, and whether others' rows were there before."""
        self._after_commit: list[Callable[[], None]] = []

    @property
    def source(self) -> str:
        return f"/upgrades/{self.database.principal}"

    @property
    def session(self) -> AsyncSession:
        """For what is not on the hot path: from its first statement on, a transaction is open."""
        if self._session is None:
            self._session = AsyncSession(self.database.engine, expire_on_commit=False, autoflush=False)
        return self._session

    async def begin(self) -> None:
        """From here on a transaction is open, for whoever needs more than one statement in it."""
        await self.session.connection()

    async def fetch(self, sql: str, *args: object) -> Sequence[Any]:
        """The rows of one statement with `$1`, `$2`, …; it sees what this transaction has written so far."""
        if self._session is None:
            return await self.database.lane.fetch(sql, *args)
        await self._session.flush()
        connection = await self._session.connection()
        result = await connection.exec_driver_sql(sql, args)
        return result.all() if result.returns_rows else ()

    def caused_by(self, cause: Envelope) -> None:
        """From here on, what is sent is sent because of `cause`."""
        self.cause = cause
        self._ordinal = 0

    def send(
        self,
        message: Message,
        *,
        topic: Topic | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
        body: bytes | None = None,
    ) -> Envelope:
        """Put a message into the outbox. It leaves after the commit, in order, once.

        It belongs to the run and the trace of its cause unless others are named. `body` is the message's JSON
        for whoever has it already. Raises `Reject` when it is more than a topic takes or a service reads.
        """
        envelope = seal(
            message,
            source=self.source,
            now=self.now,
            cause=self.cause,
            ordinal=self._ordinal,
            correlation_id=correlation_id,
            traceparent=traceparent,
        )
        self._ordinal += 1
        body = to_body(message) if body is None else body
        require_sendable(envelope.type, body, BODY_BYTES_MAX)
        self.send_raw(topic or message.route(), envelope.subject.encode(), body, to_headers(envelope))
        return envelope

    def send_raw(self, topic: Topic, key: bytes | None, body: bytes | None, headers: RawHeaders) -> None:
        """Put bytes into the outbox as they are: for dead letters."""
        self._outgoing.append((topic.name, key, body, headers))

    def remember(self, handled: InboxEntry) -> None:
        """Put a message into the inbox. Another of its source and id there breaks the commit."""
        self._handled.append(handled)

    def note(self, note: str) -> None:
        """Put a note, as JSON, into the audit log; it is sealed soon after the commit."""
        self._notes.append(note)

    def under_policy(self, digest: str) -> None:
        """Say under which policy the message that is being handled is decided: its entry names it."""
        self.policy = digest

    async def lock(self, kind: str, subject: str) -> None:
        """Until the commit, nobody else works on this subject: its revisions and messages keep order."""
        await self.session.execute(
            text("select pg_advisory_xact_lock(hashtextextended(:subject, 0))"),
            {"subject": f"{kind}/{subject}"},
        )

    def after_commit(self, wake: Callable[[], None]) -> None:
        """Call `wake` once this transaction is durable; it must not fail."""
        self._after_commit.append(wake)

    # --- for subclasses --------------------------------------------------------------------------

    @classmethod
    def new_memory(cls) -> Any:
        """What is to be remembered between transactions; None for nothing."""
        return None

    async def preload(self, messages: Sequence[Message]) -> None:
        """Read at once whatever these messages, which come next, will need."""

    async def handled(self) -> None:
        """A message of several has been handled: the next one must see what it wrote."""
        if self._session is not None:
            await self._session.flush()
            # It reads what was written, not what the session remembers.
            self._session.expunge_all()

    def guard(self) -> Part | None:
        """A query of whether all that was read is still so; locks what it names until the commit."""
        return None

    def parts(self) -> list[Part]:
        """What is to be written at the end."""
        return []

    def settled(self, durable: bool) -> None:
        """The end: what was written is durable, or else it is not, or nobody knows."""

    # --- the end ---------------------------------------------------------------------------------

    async def write(self) -> None:
        """Write everything that waits for it. Raises `Outrun`, then nothing may be committed."""
        if self._session is not None:
            await self._session.flush()
        epoch, outgoing = self.database.outlet.epoch, self._outgoing
        sending, numbered = outbox_parts(outgoing, epoch)
        parts = [*self.parts(), *inbox_part(self._handled), *note_part(self._notes), *sending]
        guard = self.guard()
        if not parts and guard is None:
            return
        statement = joined(guard, parts, numbered)
        self._has_notes = bool(self._notes)
        self._outgoing, self._handled, self._notes = [], [], []
        [row] = await self.fetch(statement.sql, *statement.args)
        if not row[0]:
            raise Outrun("somebody else was faster")
        if outgoing:
            self._written.append((epoch, row[1], outgoing, row[2]))

    async def commit(self) -> None:
        at = self.cause.type if self.cause else ""
        try:
            if self._session is None:
                reached(at, "commit", "before")
                await self.write()
            else:
                await self.write()
                reached(at, "commit", "before")
                await self._session.commit()
        except BaseException as error:
            if not isinstance(error, Outrun):
                # It may be durable all the same: then the outbox has what nobody here knows of.
                self.database.outlet.miss()
            self.settled(False)
            raise
        reached(at, "commit", "after")
        self.settled(True)
        for written in self._written:
            self.database.outlet.committed(*written)
        if self._has_notes:
            self.database.noted()
        for wake in self._after_commit:
            wake()

    async def close(self) -> None:
        """What was not committed is rolled back, even if the task is cancelled meanwhile."""
        if self._session is not None:
            await asyncio.shield(asyncio.ensure_future(self._session.close()))


T = TypeVar("T", bound=Transaction)


class Database(Generic[T]):
    """A service's own database. `url` is `postgresql://…`.

    A statement that has no answer within `answer_within_s` raises TimeoutError, which passes.
    """

    def __init__(
        self,
        service: str,
        url: str,
        transaction: type[T],
        *,
        pool_size: int = 8,
        answer_within_s: float = ANSWER_WITHIN_S,
        principal: str | None = None,
    ) -> None:
        self.service = service
        self.principal = principal or service
        """Who sends what leaves here: of a pool's worker it names the pool, too."""
        self.url = url
        self._transaction = transaction
        self.memory = transaction.new_memory()
        """What this process remembers between transactions, if the service does."""
        self.engine = engine(url, pool_size, answer_within_s)
        self.outlet = Outlet()
        self.noted: Callable[[], None] = _nobody_seals
        """Called after a commit that has notes for the audit log."""
        self.lane = Lane(url.replace("postgresql+asyncpg:", "postgresql:", 1), pool_size, answer_within_s)
        self.clock = DatabaseClock(self.lane)

    @asynccontextmanager
    async def transaction(
        self, cause: Envelope | None = None, *, from_memory: bool = False
    ) -> AsyncIterator[T]:
        """Begin, yield, commit; roll back on any exception. Raises `Outrun` when somebody was faster."""
        tx = self._transaction(self, await self.clock.now(), cause, from_memory)
        try:
            yield tx
            await tx.commit()
        finally:
            await tx.close()

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
        await self.lane.close()
        await self.engine.dispose()


def _nobody_seals() -> None:
    """Another process will, or this one once its sealer has started."""
