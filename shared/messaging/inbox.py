"""A handler is one transaction: skip repeats, handle, remember the verdict, send, commit."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, JsonValue
from sqlalchemy import insert, select, tuple_

from shared.contracts.envelope import Envelope, Received
from shared.contracts.refusals import CommandRefused, Refusal
from shared.contracts.values import Command, Message
from shared.errors import Reject, conflict
from shared.storage.database import Database, Transaction
from shared.storage.tables import InboxRow

log = logging.getLogger(__name__)

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
            async with self.database.transaction(envelope) as tx:
                verdict = await self._repeat_or_handle(received, tx)
        except OtherBytes as error:
            raise conflict(
                "this Idempotency-Key was used for another command",
                field="Idempotency-Key",
                value=envelope.id,
                cure="use a new key for a new command",
            ) from error
        except Reject as rejection:
            verdict = await self._remember_refusal(received, rejection)
        if verdict.refusals:
            raise Reject(*verdict.refusals)
        return verdict.answer

    async def handle_together(self, batch: Iterable[Received]) -> None:
        """Handle many messages in one transaction. Any exception leaves nothing done."""
        messages = [received for received in batch if type(received.message) in self.handlers]
        if not messages:
            return
        async with self.database.transaction() as tx:
            known = await _known(tx, messages)
            for received in messages:
                identity = (received.envelope.source, received.envelope.id)
                if identity in known:
                    _answer_repeat(received, known[identity], tx)
                else:
                    known[identity] = await self._handle(received, tx)

    async def handle_alone(self, received: Received) -> None:
        """Handle one message in its own transaction; a refusal is answered by `CommandRefused`."""
        if type(received.message) not in self.handlers:
            return
        try:
            async with self.database.transaction() as tx:
                await self._repeat_or_handle(received, tx)
        except Reject as rejection:
            if not isinstance(received.message, Command):
                raise
            await self._remember_refusal(received, rejection, answer=True)

    async def _repeat_or_handle(self, received: Received, tx: T) -> Verdict:
        identity = (received.envelope.source, received.envelope.id)
        row = (await _known(tx, [received])).get(identity)
        if row is None:
            row = await self._handle(received, tx)
        else:
            _answer_repeat(received, row, tx)
        return Verdict.load(row.verdict)

    async def _handle(self, received: Received, tx: T) -> InboxRow:
        tx.caused_by(received.envelope)
        answer = await self.handlers[type(received.message)](received.message, tx)
        stored = None if answer is None else answer.model_dump(mode="json", by_alias=True)
        return await _remember(received, Verdict(answer=stored), tx)

    async def _remember_refusal(
        self, received: Received, rejection: Reject, *, answer: bool = False
    ) -> Verdict:
        async with self.database.transaction(received.envelope) as tx:
            known = await _known(tx, [received])
            identity = (received.envelope.source, received.envelope.id)
            if identity in known:
                return Verdict.load(known[identity].verdict)
            verdict = Verdict(refusals=rejection.refusals)
            await _remember(received, verdict, tx)
            if answer:
                _refuse(received, verdict, tx)
            return verdict


async def _known(tx: Transaction, messages: list[Received]) -> dict[tuple[str, str], InboxRow]:
    identities = [(received.envelope.source, received.envelope.id) for received in messages]
    rows = await tx.session.execute(
        select(InboxRow).where(tuple_(InboxRow.source, InboxRow.id).in_(identities))
    )
    return {(row.source, row.id): row for row in rows.scalars()}


def _answer_repeat(received: Received, row: InboxRow, tx: Transaction) -> None:
    if row.digest != received.digest:
        raise OtherBytes(f"{received.envelope.source} used the id {received.envelope.id} for two messages")
    verdict = Verdict.load(row.verdict)
    if verdict.refusals and isinstance(received.message, Command):
        # The first answer may have been lost with a broker that forgets; the same id makes it harmless.
        _refuse(received, verdict, tx)


async def _remember(received: Received, verdict: Verdict, tx: Transaction) -> InboxRow:
    row = InboxRow(
        source=received.envelope.source,
        id=received.envelope.id,
        digest=received.digest,
        verdict=verdict.stored(),
        handled_at=tx.now,
    )
    await tx.session.execute(insert(InboxRow), [row.model_dump()])
    return row


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
