"""Sessions: a random token in a cookie, and a row that says whose it is and how long."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.requests import HTTPConnection

from . import settings, users


@dataclass(frozen=True)
class Session:
    """An open session; `expires_at` is in UTC without a zone."""

    token: str
    expires_at: datetime


class Account(SimpleUser):
    """What `request.user` is for somebody who has signed in."""

    def __init__(self, user: users.User, session: Session) -> None:
        super().__init__(user.name)
        self.user = user
        self.session = session

    @property
    def identity(self) -> str:
        """The e-mail address."""
        return self.user.email


class SessionBackend(AuthenticationBackend):
    """Fills `request.user` from the cookie; asks the database only when there is a cookie."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, Account] | None:
        """Credentials `signed-in` for a session that has not expired, else nothing."""
        token = conn.cookies.get(settings.read()["cookie_name"])
        if not token:
            return None
        database = conn.app.state.database
        row = await database.fetchrow(
            "select user_id, expires_at from sessions where token = $1 and expires_at > current_timestamp",
            token,
        )
        user = await users.by_id(database, row["user_id"]) if row else None
        if row is None or user is None:
            return None
        return AuthCredentials(["signed-in"]), Account(user, Session(token, row["expires_at"]))


async def open_session(database: Any, user_id: int, minutes: int) -> Session:
    """Start a session of so many minutes, and forget this user's expired ones."""
    await database.execute(
        "delete from sessions where user_id = $1 and expires_at <= current_timestamp", user_id
    )
    row = await database.fetchrow(
        "insert into sessions (token, user_id, expires_at)"
        " values ($1, $2, current_timestamp + make_interval(mins => $3)) returning token, expires_at",
        secrets.token_urlsafe(32),
        user_id,
        minutes,
    )
    return Session(row["token"], row["expires_at"])


async def close_session(database: Any, token: str) -> None:
    """End a session; one that is not there is already closed."""
    await database.execute("delete from sessions where token = $1", token)
