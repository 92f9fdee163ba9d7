"""The outbox: any System queues a notice here, in its own transaction."""

from typing import Any


async def queue(database: Any, recipient: str, subject: str, body: str) -> None:
    """Keep a notice for the person with this e-mail address."""
    await database.execute(
        "insert into notices (recipient, subject, body) values ($1, $2, $3)", recipient, subject, body
    )
