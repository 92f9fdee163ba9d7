"""What staging's database knows of itself: when its rows were copied, and what was foretold of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import session
from services.executor.stages.data_impact import would_fail
from shared.contracts.facts import StagingCopy
from shared.contracts.stages import Finding
from shared.errors import Failure
from shared.jobs.job import Job
from shared.sql.names import literal

_TABLES = """
    CREATE SCHEMA IF NOT EXISTS upgradepath;
    CREATE TABLE IF NOT EXISTS upgradepath.copied (made_at timestamptz NOT NULL, fence bigint NOT NULL);
    CREATE TABLE IF NOT EXISTS upgradepath.foretold (failing text NOT NULL)
"""


@dataclass(frozen=True)
class Copy:
    """Production's rows as of `made_at`, copied by the holder of `fence`."""

    made_at: datetime
    fence: int


async def moment_of(production: str) -> datetime:
    """Production's own time, asked before its rows are read."""
    async with session(production) as connection:
        now: datetime = await connection.fetchval("SELECT now()")
        return now


async def note_copy(staging: str, made_at: datetime, fence: int) -> None:
    """Keep in the copy itself when it was made: whoever finds the database can tell."""
    async with session(staging) as connection:
        await connection.execute(
            f"{_TABLES}; INSERT INTO upgradepath.copied VALUES ({literal(made_at.isoformat())}, {fence})"
        )


async def copy_in(staging: str) -> Copy | None:
    """The copy that the database holds; none for a seed file's rows, and where no database is."""
    async with session(staging) as connection:
        if not await connection.fetchval("SELECT to_regclass('upgradepath.copied') IS NOT NULL"):
            return None
        row = await connection.fetchrow("SELECT made_at, fence FROM upgradepath.copied")
        return Copy(row["made_at"], row["fence"])


async def foretell(staging: str, migrations: Sequence[Migration]) -> None:
    """Ask the copy's rows what will fail, right before the migrations run over them, and keep the answer."""
    failing = await would_fail(staging, migrations)
    async with session(staging) as connection:
        kept = "".join(f"; INSERT INTO upgradepath.foretold VALUES ({literal(each)})" for each in failing)
        await connection.execute(f"{_TABLES}; TRUNCATE upgradepath.foretold{kept}")


async def refuted_in(staging: str) -> tuple[str, ...]:
    """What was foretold to fail there, once everything has passed."""
    async with session(staging) as connection:
        if not await connection.fetchval("SELECT to_regclass('upgradepath.foretold') IS NOT NULL"):
            return ()
        return tuple(sorted({row[0] for row in await connection.fetch("TABLE upgradepath.foretold")}))


def shown(database: str, copy: Copy | None) -> StagingCopy | None:
    """The copy as the Run tells it; `database` is its name."""
    return None if copy is None else StagingCopy(database=database, made_at=copy.made_at)


def over_a_copy(
    failure: Failure, job: Job, database: str, copy: Copy | None, folders: Sequence[str]
) -> Failure:
    """A migration's failure over staging's rows, with which rows these are and how newer ones come there."""
    if copy is None or not any(each.subject in folders for each in failure.outcome.findings):
        return failure
    finding = Finding(
        kind="migration",
        subject=f"the rows in {database}",
        detail=f"It ran over a copy of production's rows of {copy.made_at:%Y-%m-%d %H:%M:%S} UTC, on"
        " staging's server. Whatever was corrected in production since is not in it.",
        cure=f"upgradepath run continue {job.run_id} --copy-again",
    )
    outcome = failure.outcome
    return Failure(outcome.reason, *outcome.findings, finding, results=outcome.results)
