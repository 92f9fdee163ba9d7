"""What a service says so that its database can be rebuilt: where its events are, what they restore."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from shared.contracts.envelope import HTTP_SOURCE
from shared.contracts.refusals import CommandRefused
from shared.contracts.topics import Topic
from shared.messaging.inbox import Verdict
from shared.replay.told import Told

NO_ANSWER = json.dumps(Verdict().stored())
# Answers are put in as text, as they lie on the topic: to read and write each anew would be most of the work.
_BEFORE, _AFTER = json.dumps(Verdict(answer="-").stored()).split('"-"')


class CannotRebuild(Exception):
    """The topics do not hold what is needed; the text says what is missing."""


@dataclass(frozen=True)
class Part:
    """One part of a service's state, and a query of its rows: (key, row), both text.

    `own` is what the service alone knows; what it copies from others' events it reads anew by itself.
    """

    name: str
    rows: str
    own: bool = True


AUDIT_LOG = Part("audit", "select lpad(seq::text, 19, '0'), hash from audit")
"""Of every service: the whole chain, restored from its own topic."""


class Restorer(ABC):
    """Restores one service from events. Nothing is decided and nothing is sent: it only writes rows.

    `connection` is asyncpg's, inside the one transaction of the rebuild.
    """

    service: str
    writes: ClassVar[tuple[Topic, ...]]
    """Its own event topics, which hold all of its state."""
    copies: ClassVar[tuple[Topic, ...]] = ()
    """Topics of which it keeps something, read as far as it has handled them."""
    parts: ClassVar[tuple[Part, ...]]

    @abstractmethod
    async def prepare(self, connection: Any) -> None:
        """Make the temporary tables."""

    @abstractmethod
    async def restore(self, events: Sequence[Told], connection: Any) -> None:
        """Take what this service wrote, in the order of each key."""

    async def copy(self, events: Sequence[Told], connection: Any) -> None:
        """Take what others wrote and this service has handled."""
        return

    async def unanswered(self, commands: Sequence[Told], connection: Any) -> None:
        """Take what this service had read, and of which none of its own events speaks."""
        return

    @abstractmethod
    async def finish(self, connection: Any) -> None:
        """Write the tables from what was taken. Raises `CannotRebuild`."""

    async def remind(self, url: str) -> None:
        """Put what is open into the outbox, with the ids that it had: it leaves when the service starts."""
        return

    def verdict(self, event: Told, source: str) -> str:
        """The inbox's verdict, as JSON, on the event's cause, which `source` sent: over HTTP, the answer."""
        if event.name == CommandRefused.__name__:
            refused = CommandRefused.model_validate_json(event.body)
            return json.dumps(Verdict(refusals=refused.refusals).stored())
        if not source.startswith(HTTP_SOURCE):
            return NO_ANSWER
        answer = self.answer(event)
        return NO_ANSWER if answer is None else f"{_BEFORE}{answer}{_AFTER}"

    def answer(self, event: Told) -> str | None:
        """What the handler of its cause answered, as JSON; none if it did not answer with this event."""
        return event.body.decode()


class AuditLogRestorer(Restorer):
    """Of a service that starts empty: nothing but its audit log, which is restored for every service."""

    writes = ()
    parts = (AUDIT_LOG,)

    def __init__(self, service: str) -> None:
        self.service = service

    async def prepare(self, connection: Any) -> None:
        return

    async def restore(self, events: Sequence[Told], connection: Any) -> None:
        return

    async def finish(self, connection: Any) -> None:
        return
