"""A backup that has come back: dumped, restored into a scratch database there, and compared in everything.

The server, the programs and the role are those that a restore will have. What cannot be tried, or comes back
otherwise, is said in findings, each with what would help; nothing of production is written.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import asyncpg

from services.executor.clients import printed
from services.executor.clients.backup import Programs
from services.executor.clients.contents import Contents, contents, differences, sequences
from services.executor.clients.postgres import quoted, session, words
from services.executor.clients.restore_copy import CopyFailed, copy_into
from services.executor.clients.restore_plan import CopyPlan, foreign_schemas, plan_copy
from services.executor.clients.scratch_database import scratch_database
from services.executor.clients.written_since import Beginning, beginning
from shared.background import end
from shared.contracts.stages import Finding

_DIFFERENCES_SHOWN = 20
# Rows are compared by their sums, and rights at other servers never come into a copy.
_NOT_COMPARED = ("EXTENSION", "SUBSCRIPTION", "BLOB", "BLOBS", "BLOB METADATA", "USER MAPPING", "TABLE DATA",
                 "MATERIALIZED VIEW DATA", "SEQUENCE SET")  # fmt: skip


@dataclass(frozen=True)
class Drill:
    """How one backup came back. Without findings it did, in everything that was compared."""

    findings: tuple[Finding, ...]
    rows: int
    tables: int
    things: int
    """Entries that pg_dump prints."""
    left_out: tuple[str, ...]
    """What a restore leaves where it is, and the copy could not have."""
    fingerprint: str
    """The same for backups of the same definitions by the same programs, role and server."""
    duration_s: float

    def words(self) -> str:
        """What was compared."""
        compared = (
            f"{self.rows:,} rows of {self.tables:,} tables and {self.things:,} things that pg_dump prints"
        )
        left = f"; left where it is and not tried: {', '.join(self.left_out)}" if self.left_out else ""
        return f"restored into a scratch database in {self.duration_s:.1f} s and compared: {compared}{left}"


@dataclass(frozen=True)
class Backup:
    """An archive on this worker, with what was in the database when it was made."""

    file: Path
    noted: Beginning
    wanted: Contents
    later: dict[str, int]


async def backed_up(url: str, file: Path) -> Backup:
    """Dump the database to `file`, and sum up what is in it meanwhile, in the same snapshot.

    Raises Retry when it cannot be done now.
    """
    programs = await Programs.for_server(url)
    async with session(url) as connection:
        foreign = await foreign_schemas(connection)
    async with beginning(url) as noted:
        summing = asyncio.create_task(contents(url, foreign, noted.snapshot))
        try:
            await programs.dump(url, file, noted.snapshot, read_whole=False)
            summed = await summing
        finally:
            await end(summing)
    return Backup(file, noted, summed, await sequences(url, foreign))


async def drill(url: str, backup: Backup) -> Drill:
    """Restore the backup of the database at `url` into a scratch database there, and compare.

    Raises Retry when the server cannot be asked now.
    """
    started = time.monotonic()
    programs = await Programs.for_server(url)
    async with session(url) as connection:
        plan = await plan_copy(connection, await programs.listing(url, backup.file))
    wanted = await _printed(url, programs, backup.file, plan)
    found: list[Finding] = []
    left_out: tuple[str, ...] = ()
    async with AsyncExitStack() as stack:
        try:
            scratch = await stack.enter_async_context(scratch_database(url))
        except asyncpg.PostgresError as error:
            found.append(await _no_scratch(url, error))
        else:
            left_out, found = await _restored(url, scratch, programs, backup, plan, wanted)
    return Drill(
        findings=tuple(found),
        rows=backup.wanted.total,
        tables=len(backup.wanted.rows),
        things=len(wanted),
        left_out=left_out,
        fingerprint=await fingerprint(url, backup.file),
        duration_s=time.monotonic() - started,
    )


async def fingerprint(url: str, file: Path) -> str:
    """The sha256, in hexadecimal, of all that decides whether an archive comes back, but for rows."""
    programs = await Programs.for_server(url)
    async with session(url) as connection:
        plan = await plan_copy(connection, await programs.listing(url, file))
        about = await connection.fetchrow("SELECT current_user, version()")
    entries = printed.digest(await _printed(url, programs, file, plan))
    extensions = " ".join(f"{each.name} {each.version}" for each in plan.extensions)
    parts = (*about, await programs.version(url), extensions, *plan.stand_ins, entries)
    return sha256("\0".join(parts).encode()).hexdigest()


async def _printed(url: str, programs: Programs, file: Path, plan: CopyPlan) -> dict[str, printed.Printed]:
    script = await programs.print_archive(url, file, [*plan.schemas, *plan.rest])
    return await asyncio.to_thread(printed.printed, script, _outside(plan))


def _outside(plan: CopyPlan) -> list[str]:
    """Entries that are not compared, as a restore leaves them where they are or as sums say more."""
    outside = [*_NOT_COMPARED, *(f"COMMENT EXTENSION {each.name}" for each in plan.extensions)]
    for schema in plan.stand_ins:
        outside += [f"SCHEMA {schema}", f"ACL SCHEMA {schema}", f"COMMENT SCHEMA {schema}"]
    return outside


async def _restored(
    url: str,
    scratch: str,
    programs: Programs,
    backup: Backup,
    plan: CopyPlan,
    wanted: dict[str, printed.Printed],
) -> tuple[tuple[str, ...], list[Finding]]:
    """What was left out, and everything that did not come back."""
    try:
        left_out = await copy_into(scratch, programs, backup.file, plan)
    except CopyFailed as error:
        return (), [error.finding]
    async with session(url) as connection:
        foreign = [*await foreign_schemas(connection)]
    again = backup.file.with_suffix(".again.sql")
    summing = asyncio.create_task(contents(scratch, foreign))
    try:
        await programs.print_schema(scratch, again)
        summed = await summing
    finally:
        await end(summing)
    found = await asyncio.to_thread(printed.printed, again, _outside(plan))
    missing = {f"extension {name.partition(' ')[0]}" for name in left_out}
    differing = [
        *printed.other_prints(wanted, found),
        *(each for each in differences(backup.wanted, summed, backup.later) if each[0] not in missing),
    ]
    return left_out, [_differs(what, how) for what, how in differing[:_DIFFERENCES_SHOWN]]


def _differs(what: str, how: str) -> Finding:
    detail = f"It does not come back as it was. {how}"
    return _finding(what, detail, "correct it in production, so that a dump of it makes the same again")


async def _no_scratch(url: str, error: asyncpg.PostgresError) -> Finding:
    async with session(url) as connection:
        role = await connection.fetchval("SELECT current_user")
    detail = f"Whether the backup comes back could not be tried: {words(error)}."
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return _finding("backup", detail, f"ALTER ROLE {quoted(role)} CREATEDB")
    return _finding("backup", detail, "see the server's log, and let the role make a database of that kind")


def _finding(subject: str, detail: str, cure: str) -> Finding:
    return Finding(kind="data-loss", subject=subject, detail=detail, cure=cure)
