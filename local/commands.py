"""People's commands by topic, each with its actor's token: for whatever plays people on this machine."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from shared.clock import utc_now
from shared.contracts.envelope import Envelope, Headers, source_of, to_body, to_headers
from shared.contracts.values import Actor, Command
from shared.ids import run_id


@dataclass(frozen=True)
class CommandRecord:
    """What a producer takes to send a command: `id` is the message's."""

    id: str
    topic: str
    key: bytes
    body: bytes
    headers: Headers


class Commands:
    """Makes records of commands that come from `source`; `token_of` issues a token for an actor."""

    def __init__(self, source: str, token_of: Callable[[Actor], str]) -> None:
        self.source = source
        self._token_of = cache(token_of)

    def record(self, command: Command, name: str | None = None) -> CommandRecord:
        """The command under the id `name`, or else under a new one."""
        envelope = Envelope(
            id=name or str(uuid.uuid4()),
            source=self.source,
            type=command.type_name(),
            subject=command.key(),
            time=utc_now(),
        )
        headers = to_headers(envelope, self._token_of(command.actor))
        return CommandRecord(
            envelope.id, command.topic.name, command.key().encode(), to_body(command), headers
        )

    def run_of(self, actor: Actor, name: str) -> str:
        """The id of the Run that this actor's command `name` asks for."""
        return run_id(source_of(actor, self.source), name)
