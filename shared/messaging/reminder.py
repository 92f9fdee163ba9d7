"""For a broker that forgets when it stops: what is still of interest is sent again at the start."""

from collections.abc import Awaitable, Callable
from typing import Any

from shared.contracts.values import Message
from shared.storage.database import Database


class Reminder:
    """Sends last events and open commands again. Same identity, same bytes: a repeat is harmless."""

    def __init__(
        self, database: Database[Any], open_messages: Callable[[Any], Awaitable[list[Message]]]
    ) -> None:
        self.database = database
        self._open_messages = open_messages

    async def start(self) -> None:
        async with self.database.transaction() as tx:
            for message in await self._open_messages(tx):
                tx.send(message)

    async def stop(self) -> None:
        """Nothing is left running."""
