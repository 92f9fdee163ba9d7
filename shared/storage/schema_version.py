"""Whether a database has its service's newest schema, found out without the library that would change it.

Alembic and what it brings take a tenth of a service's memory; only the start that changes a schema needs it.
"""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

_SERVICES = Path(__file__).resolve().parents[2] / "services"
_UNDEFINED_TABLE = "42P01"


async def bring_up_to_date(service: str, engine: AsyncEngine, url: str) -> None:
    """Migrate the database of `service` unless its schema is the newest; safe to call by several at once."""
    if await _present(engine) == newest(service):
        return
    from shared.storage.migrations import migrate_async

    await migrate_async(service, url)


def newest(service: str) -> str:
    """The number with which the file of the newest migration begins, which is its revision."""
    files = (_SERVICES / service / "migrations" / "versions").glob("[0-9]*.py")
    return max(file.name.partition("_")[0] for file in files)


async def _present(engine: AsyncEngine) -> str | None:
    async with engine.connect() as connection:
        try:
            return (await connection.execute(sa.text("select version_num from alembic_version"))).scalar()
        except ProgrammingError as error:
            if getattr(error.orig, "sqlstate", None) != _UNDEFINED_TABLE:
                raise
            return None
