"""A command over HTTP: the same handler, the same transaction, and the verdict is the answer."""

import uuid
from typing import Annotated, Any

from fastapi import Header
from pydantic import JsonValue

from shared.clock import utc_now
from shared.contracts.envelope import HTTP_SOURCE, Envelope, to_body
from shared.contracts.values import Command, canonical_digest
from shared.messaging.inbox import Inbox

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=8,
        max_length=200,
        description="the message's id: the same key with the same body is answered alike, and done once",
    ),
]


async def perform(inbox: Inbox[Any], command: Command, key: str | None) -> JsonValue:
    """Handle `command` as the message `key` of its actor. Raises `Reject`."""
    digest = canonical_digest(to_body(command).decode())
    envelope = Envelope(
        id=key or str(uuid.uuid4()),
        source=f"{HTTP_SOURCE}{command.actor.id}",
        type=command.type_name(),
        subject=command.key(),
        time=utc_now(),
        digest=digest,
    )
    return await inbox.perform(envelope, command, digest)
