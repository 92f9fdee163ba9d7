"""A handler is one transaction: skip repeats, handle, remember the verdict, send, commit."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, JsonValue
from sqlalchemy import insert, select, tuple_
from sqlalchemy.exc import IntegrityError

from shared.contracts.envelope import Envelope, Received
from shared.contracts.refusals import CommandRefused, Refusal
from shared.contracts.values import Command, Message
from shared.errors import Reject, conflict
from shared.storage.database import Database, Transaction
from shared.storage.tables import InboxRow
from shared.telemetry.metrics import BATCH_SECONDS, HANDLED

log = logging.getLogger(__name__)

_RACES_MAX = 3

T = TypeVar("T", bound=Transaction)
Handler = Callable[[Any, Any], Awaitable[BaseModel | None]]
Handlers = Mapping[type[Message], Handler]


class OtherBytes(Exception):
    """The same id came with another body: a mistake of its sender, never silently skipped."""


@dataclass(frozen=True)
class Verdict:
    """What became of a message: the answer that its handler gave, or why it was refused."""

    answer: JsonValue = None
    refusals: tuple[Refusal, ...] = ()

    def stored(self) -> dict[str, Any]:
        return {"answer": self.answer, "refusals": [refusal.model_dump() for refusal in self.refusals]}

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> "Verdict":
        refusals = tuple(Refusal.model_validate(refusal) for refusal in stored.get("refusals", ()))
        return cls(stored.get("answer"), refusals)


class Inbox(Generic[T]):
    """Handles messages of one service, from topics and over HTTP alike."""

    def __init__(self, database: Database[T], handlers: Handlers) -> None:
        self.database = database
        self.handlers = handlers

    async def perform(self, envelope: Envelope, command: Command, digest: str) -> JsonValue:
        """Handle one command that came over HTTP; its verdict is the answer. Raises `Reject`."""
        received = Received(envelope, command, digest)
        try:
            verdict = await self._judge(received, answer=False)
        except OtherBytes as error:
            raise conflict(
                "this Idempotency-Key was used for another command",
                field="Idempotency-Key",
                value=envelope.id,
                cure="use a new key for a new command",
            ) from error
        if verdict.refusals:
            raise Reject(*verdict.refusals)
        return verdict.answer

    async def handle_together(self, batch: Iterable[Received]) -> None:
        """Handle many messages in one transaction. Any exception leaves nothing done."""
        messages = [received for received in batch if type(received.message) in self.handlers]
        if not messages:
            return
        with BATCH_SECONDS.labels(self.database.service).time():
            await self._handle_together(messages)
        HANDLED.labels(self.database.service).inc(len(messages))

    async def _handle_together(self, messages: list[Received]) -> None:
        async with self.database.transaction() as tx:
            known = await _known(tx, messages)
            fresh = []
            for received in messages:
                identity = (received.envelope.source, received.envelope.id)
                if identity in known:
                    await self.answer_repeat(received, known[identity], tx, answer=True)
                else:
                    known[identity] = await self._handle(received, tx)
                    fresh.append(known[identity])
            await _remember(fresh, tx)

    async def handle_alone(self, received: Received) -> None:
        """Handle one message in its own transaction; a refusal is answered by `CommandRefused`."""
        if type(received.message) in self.handlers:
            await self._judge(received, answer=True)

    async def _judge(self, received: Received, *, answer: bool) -> Verdict:
        races = 0
        while True:
            try:
                return await self._judge_once(received, answer=answer)
            except IntegrityError:
                # Somebody else handled the same message at the same moment: look again.
                races += 1
                if races > _RACES_MAX:
                    raise

    async def _judge_once(self, received: Received, *, answer: bool) -> Verdict:
        try:
            async with self.database.transaction(received.envelope) as tx:
                row = await self._repeat(received, tx, answer=answer)
                if row is None:
                    row = await self._handle(received, tx)
                    await _remember([row], tx)
                return Verdict.load(row.verdict)
        except Reject as rejection:
            if not isinstance(received.message, Command):
                raise
            return await self._remember_refusal(received, rejection, answer=answer)

    async def _repeat(self, received: Received, tx: T, *, answer: bool) -> InboxRow | None:
        identity = (received.envelope.source, received.envelope.id)
        row = (await _known(tx, [received])).get(identity)
        if row is not None:
            await self.answer_repeat(received, row, tx, answer=answer)
        return row

    async def answer_repeat(self, received: Received, row: InboxRow, tx: T, *, answer: bool) -> None:
        """A message that was handled before came again. Raises `OtherBytes` if it is another one."""
        if row.digest != received.digest:
            raise OtherBytes(
                f"{received.envelope.source} used the id {received.envelope.id} for two messages"
            )
        verdict = Verdict.load(row.verdict)
        if answer and verdict.refusals:
            # The first answer may have been lost with a broker that forgets; the same id makes it harmless.
            _refuse(received, verdict, tx)

    async def _handle(self, received: Received, tx: T) -> InboxRow:
        tx.caused_by(received.envelope)
        answer = await self.handlers[type(received.message)](received.message, tx)
        # The next message of the batch reads what this one wrote, not what the session remembers.
        await tx.session.flush()
        tx.session.expunge_all()
        stored = None if answer is None else answer.model_dump(mode="json", by_alias=True)
        return _row(received, Verdict(answer=stored), tx)

    async def _remember_refusal(self, received: Received, rejection: Reject, *, answer: bool) -> Verdict:
        async with self.database.transaction(received.envelope) as tx:
            row = await self._repeat(received, tx, answer=answer)
            if row is not None:
                return Verdict.load(row.verdict)
            verdict = Verdict(refusals=rejection.refusals)
            await _remember([_row(received, verdict, tx)], tx)
            if answer:
                _refuse(received, verdict, tx)
            return verdict


async def _known(tx: Transaction, messages: list[Received]) -> dict[tuple[str, str], InboxRow]:
    identities = [(received.envelope.source, received.envelope.id) for received in messages]
    rows = await tx.session.execute(
        select(InboxRow).where(tuple_(InboxRow.source, InboxRow.id).in_(identities))
    )
    return {(row.source, row.id): row for row in rows.scalars()}


def _row(received: Received, verdict: Verdict, tx: Transaction) -> InboxRow:
    return InboxRow(
        source=received.envelope.source,
        id=received.envelope.id,
        digest=received.digest,
        verdict=verdict.stored(),
        handled_at=tx.now,
    )


async def _remember(rows: list[InboxRow], tx: Transaction) -> None:
    if rows:
        await tx.session.execute(insert(InboxRow), [row.model_dump() for row in rows])


def _refuse(received: Received, verdict: Verdict, tx: Transaction) -> None:
    command = received.message
    assert isinstance(command, Command)
    tx.caused_by(received.envelope)
    log.info("refused %s of %s", received.envelope.type, received.envelope.subject)
    tx.send(
        CommandRefused(
            command=received.envelope.type,
            command_id=received.envelope.id,
            subject=command.key(),
            refusals=verdict.refusals,
        ),
        topic=command.answers,
    )
