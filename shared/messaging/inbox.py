"""A handler is one transaction: skip repeats, handle, remember the verdict, send, commit."""

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, JsonValue

from shared.audit import origins
from shared.audit.notes import on_command, written
from shared.contracts.envelope import Envelope, Received, Unreadable
from shared.contracts.refusals import CommandRefused, Refusal
from shared.contracts.values import Command, Message
from shared.errors import Reject, conflict, told
from shared.messaging.portions import Pauses
from shared.storage.database import Database, Outrun, Transaction, is_passing, is_repeat
from shared.storage.messages import InboxEntry
from shared.telemetry.metrics import BATCH_SECONDS, HANDLED
from shared.telemetry.traces import span

log = logging.getLogger(__name__)

_RACES_MAX = 5

T = TypeVar("T", bound=Transaction)
Handler = Callable[[Any, Any], Awaitable[BaseModel | None]]
Handlers = Mapping[type[Message], Handler]


class OtherBytes(Exception):
    """The same id came with another body: a mistake of its sender, never silently skipped."""


MISTAKES = (Unreadable, OtherBytes)
"""Of a message's sender; anything else is a bug of ours."""


def reason_of(error: Exception) -> str:
    """The reason with which a message that raised it is put aside."""
    return told(error) if isinstance(error, MISTAKES) else f"{type(error).__name__}: {told(error)}"


class Stumbled(Exception):
    """Of a batch this message alone broke its handler; why, is its `__cause__`."""

    def __init__(self, received: Received) -> None:
        super().__init__(received.envelope.type, received.envelope.id)
        self.received = received


@dataclass(frozen=True)
class Verdict:
    """What became of a message: the answer that its handler gave, or why it was refused."""

    answer: JsonValue = None
    refusals: tuple[Refusal, ...] = ()
    advice: tuple[Refusal, ...] = ()
    """The sender should know it, though it refuses nothing."""

    def stored(self) -> dict[str, Any]:
        advice = {"advice": [each.model_dump() for each in self.advice]} if self.advice else {}
        refusals = [refusal.model_dump() for refusal in self.refusals]
        return {"answer": self.answer, "refusals": refusals, **advice}

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> "Verdict":
        refusals, advice = (
            tuple(Refusal.model_validate(each) for each in stored.get(name, ()))
            for name in ("refusals", "advice")
        )
        return cls(stored.get("answer"), refusals, advice)

    @classmethod
    def of(cls, entry: InboxEntry) -> "Verdict":
        return cls.load(json.loads(entry.verdict))


_ANSWERED_NOTHING = json.dumps(Verdict().stored())


class Inbox(Generic[T]):
    """Handles messages of one service, from topics and over HTTP alike."""

    def __init__(self, database: Database[T], handlers: Handlers) -> None:
        self.database = database
        self.handlers = handlers

    async def perform(self, envelope: Envelope, command: Command, digest: str) -> JsonValue:
        """Handle one command that came over HTTP; its verdict is the answer. Raises `Reject`."""
        request = origins.asked()
        received = Received(envelope, command, digest, place=request.origin if request else "")
        try:
            verdict = await self._judge(received, answer=False)
        except OtherBytes as error:
            raise conflict(
                "this Idempotency-Key was used for another command",
                field="Idempotency-Key",
                value=envelope.id,
                cure="use a new key for a new command",
            ) from error
        origins.judged()
        if verdict.refusals:
            raise Reject(*verdict.refusals)
        return verdict.answer

    async def handle_together(self, batch: Iterable[Received]) -> None:
        """Handle many messages in one transaction. Any exception leaves nothing done.

        Raises `Stumbled` when it is known which of them cannot be handled as it is.
        """
        messages = [received for received in batch if type(received.message) in self.handlers]
        if not messages:
            return
        with BATCH_SECONDS.labels(self.database.service).time():
            await self._handle_together(messages)
        HANDLED.labels(self.database.service).inc(len(messages))

    async def handle_alone(self, received: Received) -> None:
        """Handle one message in its own transaction; a refusal is answered by `CommandRefused`."""
        if type(received.message) not in self.handlers:
            return
        if self.database.memory is None or not await self._handled_from_memory([received]):
            await self._judge(received, answer=True)

    async def _handle_together(self, messages: Sequence[Received]) -> None:
        if self.database.memory is None or not await self._handled_from_memory(messages):
            await self._handle_all(messages, from_memory=False)

    async def _handled_from_memory(self, messages: Sequence[Received]) -> bool:
        """False: one came again, or memory was out of date, or one is bad, so the database must be asked."""
        try:
            await self._handle_all(messages, from_memory=True)
        except Exception as error:
            if is_passing(error) and not isinstance(error, Outrun):
                raise
            log.debug("a batch of %d is handled with a look at the database: %r", len(messages), error)
            return False
        return True

    async def _handle_all(self, messages: Sequence[Received], *, from_memory: bool) -> None:
        """From memory, that none of them was handled before is not asked but proven by the commit."""
        async with self.database.transaction(from_memory=from_memory) as tx:
            known = {} if from_memory else await known_of(tx, messages)
            await tx.preload([received.message for received in messages])
            pauses = Pauses()
            for received in messages:
                # What is handled from memory never waits for anything.
                await pauses.look()
                identity = (received.envelope.source, received.envelope.id)
                if identity in known:
                    await self.answer_repeat(received, known[identity], tx, answer=True)
                else:
                    known[identity] = await self._handle_one(received, tx)

    async def _handle_one(self, received: Received, tx: T) -> InboxEntry:
        try:
            return await self._handle(received, tx)
        except Exception as error:
            # What the database is at fault for says nothing of the message.
            if is_passing(error) or is_repeat(error):
                raise
            raise Stumbled(received) from error

    async def _judge(self, received: Received, *, answer: bool) -> Verdict:
        races = 0
        while True:
            try:
                return await self._judge_once(received, answer=answer)
            except Exception as error:
                # Somebody else handled the same message, or changed the same thing, at the same moment.
                races += 1
                if races > _RACES_MAX or not (is_repeat(error) or isinstance(error, Outrun)):
                    raise

    async def _judge_once(self, received: Received, *, answer: bool) -> Verdict:
        tx = None
        try:
            async with self.database.transaction(received.envelope) as tx:
                entry = await self._repeat(received, tx, answer=answer)
                if entry is None:
                    await tx.preload([received.message])
                    entry = await self._handle(received, tx)
        except Reject as rejection:
            if not isinstance(received.message, Command):
                raise
            policy = None if tx is None else tx.policy
            return await self._remember_refusal(received, rejection, policy, answer=answer)
        return Verdict.of(entry)

    async def _repeat(self, received: Received, tx: T, *, answer: bool) -> InboxEntry | None:
        identity = (received.envelope.source, received.envelope.id)
        entry = (await known_of(tx, [received])).get(identity)
        if entry is not None:
            await self.answer_repeat(received, entry, tx, answer=answer)
        return entry

    async def answer_repeat(self, received: Received, entry: InboxEntry, tx: T, *, answer: bool) -> None:
        """A message that was handled before came again. Raises `OtherBytes` if it is another one."""
        if entry.digest != received.digest:
            raise OtherBytes(
                f"{received.envelope.source} used the id {received.envelope.id} for two messages"
            )
        verdict = Verdict.of(entry)
        if answer and verdict.refusals:
            # The first answer may have been lost with a broker that forgets; the same id makes it harmless.
            _refuse(received, verdict, tx)

    async def _handle(self, received: Received, tx: T) -> InboxEntry:
        tx.caused_by(received.envelope)
        tx.policy = None
        with span(self.database.service, received.envelope.type, received.envelope):
            answer = await self.handlers[type(received.message)](received.message, tx)
        await tx.handled()
        if isinstance(received.message, Command):
            tx.note(written(on_command(received, tx.now, answer=answer, policy=tx.policy)))
        entry = _entry(received, _ANSWERED_NOTHING if answer is None else _answered(answer))
        tx.remember(entry)
        return entry

    async def _remember_refusal(
        self, received: Received, rejection: Reject, policy: str | None, *, answer: bool
    ) -> Verdict:
        async with self.database.transaction(received.envelope) as tx:
            entry = await self._repeat(received, tx, answer=answer)
            if entry is not None:
                return Verdict.of(entry)
            verdict = Verdict(refusals=rejection.refusals)
            tx.remember(_entry(received, json.dumps(verdict.stored())))
            tx.note(written(on_command(received, tx.now, refusals=verdict.refusals, policy=policy)))
            if answer:
                _refuse(received, verdict, tx)
            return verdict


async def known_of(tx: Transaction, messages: Sequence[Received]) -> dict[tuple[str, str], InboxEntry]:
    """The inbox's entries of those that were handled before, by source and id."""
    rows = await tx.fetch(
        "select source, id, digest, verdict::text from inbox"
        " join unnest($1::text[], $2::text[]) as asked (source, id) using (source, id)",
        [received.envelope.source for received in messages],
        [received.envelope.id for received in messages],
    )
    return {
        (source, name): InboxEntry(source, name, digest, verdict) for source, name, digest, verdict in rows
    }


def _entry(received: Received, verdict: str) -> InboxEntry:
    return InboxEntry(received.envelope.source, received.envelope.id, received.digest, verdict)


def _answered(answer: BaseModel) -> str:
    """The same as `Verdict(answer=…).stored()`, without the way over a dictionary."""
    return f'{{"answer":{answer.model_dump_json(by_alias=True)},"refusals":[]}}'


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
