"""A backup that has come back: dumped, restored into a scratch database there, and compared in everything.

The server, the programs and the role are those that a restore will have. What cannot be tried, or comes back
otherwise, is said in findings, each with what would help; nothing of production is written.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import asyncpg

from services.executor.clients import printed
from services.executor.clients.backup import Programs
from services.executor.clients.contents import Contents, contents, differences, made_anew, sequences
from services.executor.clients.postgres import quoted, session, words
from services.executor.clients.restore_copy import CopyFailed, copy_into
from services.executor.clients.restore_plan import CopyPlan, foreign_schemas, plan_copy
from services.executor.clients.scratch_database import scratch_database
from services.executor.clients.written_since import Beginning, beginning
from services.executor.domain.sqlstates import verdict_of
from shared.background import end
from shared.clients.database_urls import place
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
    wanted: Contents | Finding | None
    """None when nobody will compare; a finding says why it could not be summed up."""
    later: dict[str, int]


async def backed_up(url: str, file: Path, *, to_compare: bool = True, to_keep: bool = True) -> Backup:
    """Dump the database to `file`, and sum up what is in it meanwhile, in the same snapshot.

    One that is not `to_keep` is made faster, and as large as the database. Raises Retry when it cannot be
    done now.
    """
    programs = await Programs.for_server(url)
    async with session(url) as connection:
        foreign = await foreign_schemas(connection)
    if not to_compare:
        async with beginning(url) as noted:
            await programs.dump(url, file, noted.snapshot)
        return Backup(file, noted, None, {})
    # No snapshot holds sequences: what the dump has of them lies between what they say before and after it.
    earlier = await sequences(url, foreign)
    async with beginning(url) as noted:
        summing = asyncio.create_task(summed(url, foreign, noted.snapshot))
        try:
            to_keep = to_keep or not await programs.are_of(url)
            await programs.dump(url, file, noted.snapshot, read_whole=False, to_keep=to_keep)
            wanted = await summing
        finally:
            await end(summing)
    if isinstance(wanted, Contents):
        known = {name: earlier[name] for name in wanted.sequences if name in earlier}
        wanted = replace(wanted, sequences=known)
    return Backup(file, noted, wanted, await sequences(url, foreign))


async def summed(url: str, foreign: list[str], snapshot: str | None = None) -> Contents | Finding:
    """The contents; where the database refuses to be read in full, why, for who decides about the backup."""
    try:
        return await contents(url, foreign, snapshot)
    except asyncpg.PostgresError as error:
        detail = f"What is in {place(url)} could not be summed up, so nothing was compared: {words(error)}."
        return _finding("backup", detail, verdict_of(error.sqlstate, "restore").cure)


async def drill(url: str, backup: Backup) -> Drill:
    """Restore the backup of the database at `url` into a scratch database there, and compare.

    Raises Retry when the server cannot be asked now.
    """
    if not isinstance(backup.wanted, Contents):
        assert backup.wanted is not None, "made to be compared"
        return untried(backup.wanted)
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
            work = _Work(url, programs, backup.file, plan)
            left_out, found = await _restored(work, scratch, backup.wanted, backup.later, wanted)
    return Drill(
        findings=tuple(found),
        rows=backup.wanted.total,
        tables=len(backup.wanted.rows),
        things=len(wanted),
        left_out=left_out,
        fingerprint=await fingerprint(url, backup.file),
        duration_s=time.monotonic() - started,
    )


def untried(why: Finding) -> Drill:
    """One that proves nothing."""
    return Drill((why,), rows=0, tables=0, things=0, left_out=(), fingerprint="", duration_s=0.0)


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


@dataclass(frozen=True)
class _Work:
    url: str
    programs: Programs
    file: Path
    plan: CopyPlan


async def _restored(
    work: _Work, scratch: str, wanted: Contents, later: dict[str, int], prints: dict[str, printed.Printed]
) -> tuple[tuple[str, ...], list[Finding]]:
    """What was left out, and everything that did not come back."""
    try:
        left_out = await copy_into(scratch, work.programs, work.file, work.plan)
    except CopyFailed as error:
        return (), [error.finding]
    async with session(work.url) as connection:
        foreign = [*await foreign_schemas(connection)]
    again = work.file.with_suffix(".again.sql")
    summing = asyncio.create_task(summed(scratch, foreign))
    try:
        await work.programs.print_schema(scratch, again)
        came = await summing
    finally:
        await end(summing)
    if isinstance(came, Finding):
        return left_out, [came]
    found = await asyncio.to_thread(printed.printed, again, _outside(work.plan))
    missing = {f"extension {name.partition(' ')[0]}" for name in left_out}
    differing = [
        *printed.other_prints(prints, found),
        *(each for each in differences(wanted, came, later) if each[0] not in missing),
    ]
    left_out = (*left_out, *made_anew(wanted, came))
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
