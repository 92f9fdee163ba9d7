"""For a broker that forgets when it stops: what is still of interest is sent again at the start."""

from collections.abc import Awaitable, Callable
from typing import Any

from shared.contracts.envelope import release_trace, run_trace
from shared.contracts.notifications import NotificationClosed, NotificationReady
from shared.contracts.releases import ReleasePublished, ReleaseWithdrawn
from shared.contracts.runs import RunChanged
from shared.contracts.values import Message
from shared.storage.database import Database


class Reminder:
    """Sends last events and open commands again: same identity, same body, same trace. A repeat is harmless.

    A Run's commands follow its event, which says whose trace they belong to.
    """

    def __init__(
        self, database: Database[Any], open_messages: Callable[[Any], Awaitable[list[Message]]]
    ) -> None:
        self.database = database
        self._open_messages = open_messages

    async def start(self) -> None:
        traces: dict[str, str] = {}
        async with self.database.transaction() as tx:
            for message in await self._open_messages(tx):
                run = message.run.id if isinstance(message, RunChanged) else getattr(message, "run_id", None)
                trace = trace_for(message) or traces.get(run or "")
                if run is not None and trace is not None:
                    traces[run] = trace
                tx.send(message, correlation_id=run, traceparent=trace)

    async def stop(self) -> None:
        """Nothing is left running."""


def trace_for(message: Message) -> str | None:
    """The trace of the Release that the message is about; none for one that is about no Release."""
    match message:
        case ReleasePublished() | ReleaseWithdrawn():
            return release_trace(message.release.system, message.release.version)
        case NotificationReady() | NotificationClosed():
            return release_trace(message.notification.system, message.notification.version)
        case RunChanged():
            return run_trace(message.run)
        case _:
            return None
