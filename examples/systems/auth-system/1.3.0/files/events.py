"""What happened in sessions: recorded, told to the user when it is new, and forgotten in time."""

from datetime import datetime
from typing import Any

from notifications_system import outbox

from . import sessions, settings, users

SIGNED_IN = "signed-in"


async def open_recorded_session(
    database: Any, user: users.User, minutes: int, source: str
) -> sessions.Session:
    """Open a session and record from which network address, in one transaction."""
    async with database.transaction() as connection:
        await _tell_if_new(connection, user, source)
        await connection.execute(
            "insert into session_events (user_id, kind, source) values ($1, $2, $3)",
            user.id,
            SIGNED_IN,
            source,
        )
        await connection.execute(
            "delete from session_events where user_id = $1"
            " and created_at < current_timestamp - make_interval(days => $2)",
            user.id,
            settings.read()["event_retention_days"],
        )
        return await sessions.open_session(connection, user.id, minutes)


async def last_sign_in(database: Any, user_id: int) -> datetime | None:
    """When the user signed in before the newest time, in UTC without a zone."""
    row = await database.fetchrow(
        "select created_at from session_events where user_id = $1 and kind = $2"
        " order by id desc offset 1 limit 1",
        user_id,
        SIGNED_IN,
    )
    return row["created_at"] if row else None


async def _tell_if_new(connection: Any, user: users.User, source: str) -> None:
    """Queue a notice when the user has signed in before, but never from this address."""
    row = await connection.fetchrow(
        "select bool_or(source = $2) as known from session_events where user_id = $1", user.id, source
    )
    if row["known"] is False:
        await outbox.queue(connection, user.email, "New sign-in", f"You signed in from {source}.")
