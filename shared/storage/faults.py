"""What a failed statement says: of the database, of what somebody else did, or of the statement itself."""

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from shared.storage.connections import UNREACHABLE

# Beginnings of SQLSTATEs that say nothing about the statement: connection, credentials, no such database,
# a standby that only reads, resources, operator, system, and the conflicts that are to be tried again.
_PASSING = ("08", "28", "3D000", "25006", "53", "57", "58", "40001", "40P01", "55P03")


class Outrun(Exception):
    """Somebody else changed meanwhile what this transaction had read: nothing was done, look again."""


def is_passing(error: BaseException) -> bool:
    """Whether the database, not the statement, is at fault: the same again may succeed."""
    if isinstance(error, Outrun):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, InterfaceError):
            return True
        state = getattr(error.orig, "sqlstate", None) or ""
        return str(state).startswith(_PASSING) or (isinstance(error, OperationalError) and not state)
    if isinstance(error, asyncpg.PostgresError):
        # Whatever comes while connecting reaches us as the driver's own error.
        return str(error.sqlstate or "").startswith(_PASSING)
    # Not every OSError: a file that is not there will not be there the next time either.
    return type(error) is OSError or isinstance(error, UNREACHABLE)


def is_repeat(error: BaseException) -> bool:
    """Whether something is there already that was to be new: somebody did the same at the same moment."""
    return isinstance(error, IntegrityError | asyncpg.UniqueViolationError)
