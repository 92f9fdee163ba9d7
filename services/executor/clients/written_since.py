"""How many rows were written since a Run's backup: what a restore would lose, counted beforehand."""

from dataclasses import dataclass

from services.executor.clients.losses import Tables, present
from services.executor.clients.postgres import quoted, session
from shared.sql.actions import shown


@dataclass(frozen=True)
class Written:
    """Per table, rows that were added or changed since the backup began, by whomever."""

    rows: dict[str, int]


async def begin(url: str, run_id: str) -> None:
    """Note where a backup begins, in the `upgradepath` schema, which no dump holds. The first note stays."""
    async with session(url) as connection, connection.transaction():
        await connection.execute(
            "CREATE SCHEMA IF NOT EXISTS upgradepath;"
            "CREATE TABLE IF NOT EXISTS upgradepath.backup (run text PRIMARY KEY, began xid NOT NULL)"
        )
        # A row that is written later bears a later transaction's number, and none before it that is open now.
        await connection.execute(
            "INSERT INTO upgradepath.backup VALUES ($1, pg_snapshot_xmin(pg_current_snapshot())::xid)"
            " ON CONFLICT (run) DO NOTHING",
            run_id,
        )


async def since_backup(url: str, run_id: str, tables: Tables) -> Written | None:
    """What was written since; none when it is not known where the Run's backup began. Reads only."""
    async with session(url) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        if not await connection.fetchval("SELECT to_regclass('upgradepath.backup') IS NOT NULL"):
            return None
        began = await connection.fetchval("SELECT began::text FROM upgradepath.backup WHERE run = $1", run_id)
        if began is None:
            return None
        rows: dict[str, int] = {}
        for table in sorted(await present(connection, tables)):
            counted = await connection.fetchval(
                f"SELECT count(*) FROM {quoted(*table)} WHERE age(xmin) <= age('{int(began)}'::xid)"
            )
            if counted:
                rows[shown(table)] = counted
        return Written(rows)
