"""Users: who may sign in, and with which password."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

ROUNDS = 50_000
COLUMNS = "id, email, name, password_hash, suspended_at"
NOBODY = "pbkdf2_sha256$50000$00$00"


@dataclass(frozen=True)
class User:
    """One row of the table users."""

    id: int
    email: str
    name: str
    password_hash: str
    suspended: bool


def from_row(row: Any) -> User:
    """Make a User of a row that has COLUMNS."""
    return User(row["id"], row["email"], row["name"], row["password_hash"], row["suspended_at"] is not None)


async def by_email(database: Any, email: str) -> User | None:
    """The user with this address, which is kept in lower case."""
    row = await database.fetchrow(f"select {COLUMNS} from users where email = $1", email)
    return from_row(row) if row else None


async def by_id(database: Any, user_id: int) -> User | None:
    """The user with this number."""
    row = await database.fetchrow(f"select {COLUMNS} from users where id = $1", user_id)
    return from_row(row) if row else None


async def create(database: Any, email: str, name: str, password: str) -> User:
    """Add a user; an address that is taken raises the database's UniqueViolationError."""
    row = await database.fetchrow(
        f"insert into users (email, name, password_hash) values ($1, $2, $3) returning {COLUMNS}",
        email.lower(),
        name,
        hash_password(password),
    )
    return from_row(row)


async def suspend(database: Any, user_id: int) -> None:
    """Refuse this user's next sign-in; suspending twice keeps the first date."""
    await database.execute(
        "update users set suspended_at = coalesce(suspended_at, current_timestamp) where id = $1", user_id
    )


async def reinstate(database: Any, user_id: int) -> None:
    """Let a suspended user sign in again."""
    await database.execute("update users set suspended_at = null where id = $1", user_id)


def hash_password(password: str, salt: str | None = None) -> str:
    """`pbkdf2_sha256$rounds$salt$digest`, the last two in hex."""
    salt = salt or secrets.token_hex(8)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), bytes.fromhex(salt), ROUNDS)
    return f"pbkdf2_sha256${ROUNDS}${salt}${digest.hex()}"


def password_matches(user: User | None, password: str) -> bool:
    """Whether the password is the user's; as slow for no user, so that time tells nothing."""
    kept = user.password_hash if user else NOBODY
    if kept.count("$") != 3:
        return False
    return hmac.compare_digest(hash_password(password, kept.split("$")[2]), kept)
