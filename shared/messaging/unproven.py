"""People's commands without a valid token: each is answered once, and changes nothing."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shared.audit.notes import on_try, project_of, written
from shared.contracts.audit import AuditNote
from shared.contracts.envelope import Envelope, Received, source_of
from shared.contracts.refusals import CommandRefused
from shared.contracts.values import Command
from shared.messaging.dead_letters import first_time, place
from shared.messaging.inbox import Inbox, known_of
from shared.messaging.people import Unproven, as_sent_by
from shared.messaging.record import Record, place_text
from shared.messaging.vouchers import vouched
from shared.storage.database import Transaction
from shared.telemetry.metrics import UNPROVEN

log = logging.getLogger(__name__)


async def settle(
    inbox: Inbox[Any], unproven: Sequence[tuple[Record, Unproven]]
) -> list[tuple[Record, Received]]:
    """Answer them, in one transaction; returns those that this service had proven before it buried them.

    A repeat of what was handled is answered as it was then, whatever has become of its token. Everything else
    is refused under the place of its record: neither the id that it claims nor that id's verdict is touched.
    """
    at = {place(record): (record, found) for record, found in unproven}
    claimed = [_under_its_actor(found.received) for _, found in at.values()]
    proven_before: list[tuple[Record, Received]] = []
    refused: list[tuple[Record, Unproven]] = []
    async with inbox.database.transaction() as tx:
        await tx.begin()
        known = await known_of(tx, claimed)
        senders = await vouched([(record, found.received) for record, found in at.values()], tx)
        for number, (record, found) in enumerate(at.values()):
            entry = known.get((claimed[number].envelope.source, claimed[number].envelope.id))
            if entry is not None and entry.digest == claimed[number].digest:
                await inbox.answer_repeat(claimed[number], entry, tx, answer=True)
            elif number in senders:
                proven = as_sent_by(senders[number], found.received)
                proven_before.append((record, replace(proven, place=place_text(record))))
            else:
                refused.append((record, found))
        fresh = await first_time([record for record, _ in refused], tx) if refused else set()
        refused = [(record, found) for record, found in refused if place(record) in fresh]
        for record, found in refused:
            _refuse(record, found, tx)
    for record, found in refused:
        UNPROVEN.labels(inbox.database.service).inc()
        log.warning("unproven command at %s/%d/%d: %s", record.topic, record.partition, record.offset, found)
    return proven_before


def _under_its_actor(received: Received) -> Received:
    """Under the source that it has if its claim is true."""
    command, envelope = received.message, received.envelope
    assert isinstance(command, Command)
    return replace(received, envelope=replace(envelope, source=source_of(command.actor, envelope.source)))


def _refuse(record: Record, found: Unproven, tx: Transaction) -> None:
    command, envelope = found.received.message, found.received.envelope
    assert isinstance(command, Command)
    tx.note(written(_noted(record, found, tx)))
    # With the record's place for a source this answer is not that of the id's rightful owner; without a
    # digest of its cause, a rebuild does not take it for one either.
    tx.caused_by(
        Envelope(
            id=envelope.id,
            source=f"/records/{record.topic}/{record.partition}/{record.offset}",
            type=envelope.type,
            subject=envelope.subject,
            time=tx.now,
        )
    )
    tx.send(
        CommandRefused(
            command=envelope.type,
            command_id=envelope.id,
            subject=command.key(),
            refusals=found.refusals,
        ),
        topic=command.answers,
    )


def _noted(record: Record, found: Unproven, tx: Transaction) -> AuditNote:
    """The entry names nobody: who the command says that he is, is a detail."""
    command, envelope = found.received.message, found.received.envelope
    assert isinstance(command, Command)
    return on_try(
        tx.now,
        None,
        place_text(record),
        type(command).__name__,
        command.key(),
        found.refusals,
        details={"claimed": command.actor.id, "claimed_role": command.actor.role, "message": envelope.id},
        project=project_of(command),
    )
