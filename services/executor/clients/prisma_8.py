"""Databases that Prisma 8 keeps its ledger in: their migrations are no SQL files, and nothing here fits."""

from services.executor.clients.postgres import session
from shared.contracts.stages import Finding

_LEDGER = """
    SELECT n.nspname FROM pg_namespace n
    WHERE n.nspname IN ('_prisma', 'prisma_contract')
    AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p'))
    ORDER BY 1 LIMIT 1
"""


async def ledger_of(url: str) -> Finding | None:
    """Why the database cannot be upgraded when Prisma 8 owns it. Raises Retry when it cannot be asked."""
    async with session(url) as connection:
        schema = await connection.fetchval(_LEDGER)
    if schema is None:
        return None
    return Finding(
        kind="migration",
        subject=f"schema {schema}",
        detail=f"Prisma 8 owns this database: its ledger is in the schema {schema}",
        cure="upgrade it while it runs with Prisma 7 or earlier; if Prisma 8 was only tried here,"
        f" DROP SCHEMA {schema} CASCADE",
    )
