"""An archive is brought into an empty database: a copy beside the one that was dumped."""

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from services.executor.clients.backup import ProgramFailed, Programs
from services.executor.clients.postgres import Connection, literal, quoted, session, words
from services.executor.clients.printed import entry_at
from services.executor.clients.restore_plan import CopyPlan, Extension
from services.executor.domain.sqlstates import finding_of
from shared.background import end
from shared.clients.database_urls import place
from shared.contracts.stages import Finding
from shared.errors import Retry

_AT_LINE = re.compile(
    r"^psql:(?P<script>[^\n]*\.sql):(?P<line>\d+): ERROR: +(?P<code>[0-9A-Z]{5})", re.MULTILINE
)
_VERDICT = re.compile(r"ERROR: +(?P<code>[0-9A-Z]{5})")
# Somebody else's lock, a server that goes or comes, a connection that was cut: the same again may succeed.
_PASSING = ("40", "55P03", "57", "08", "53200", "53300")
_CUT = "08006"
"""Of what said no SQLSTATE: the connection was refused, or it ended."""
_PATHS = (
    "if a function there uses names without their schema, ALTER FUNCTION … SET search_path = …: pg_dump and"
    " pg_restore run with an empty search path"
)
# SQLSTATE, or its class, to what it means for a restore and what would help.
_CURES = {
    "42P01": ("a relation is not found", _PATHS),
    "42883": ("a function is not found", _PATHS),
    "42704": ("a type or another object is not found", _PATHS),
    "42703": ("a column is not found", _PATHS),
    "42501": ("the role may not do that", "GRANT the role what it needs there, or let its owner do it"),
    "53100": (
        "the server's disk is full",
        "give the server as much room again as production's database takes",
    ),
    "23": ("rows break a rule that was added or changed after them", "correct the rows, or the rule"),
    "22": ("an expression fails over a row", _PATHS),
}


class CopyFailed(Exception):
    """The archive does not come back; `finding` says where it stopped, and why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.detail)
        self.finding = finding


async def copy_into(target: str, programs: Programs, file: Path, plan: CopyPlan) -> tuple[str, ...]:
    """Fill the empty database at `target` with the archive; the extensions that could not be made there.

    Raises CopyFailed, and Retry when the server cannot be asked now.
    """
    left_out: tuple[str, ...] = ()
    schemas = await programs.script(target, file, "copy-schemas", plan.schemas)
    try:
        await programs.run_scripts(target, [schemas], first=_stand_ins(plan))
        left_out = await _make_extensions(target, plan.extensions)
        await _fill(target, programs, file, plan.rest)
    except ProgramFailed as error:
        if passes(error):
            finding = finding_of(_code(error) or _CUT, "restore", place(target), str(error))
            raise Retry(str(error), finding) from error
        raise CopyFailed(why(error, left_out)) from error
    schemas.unlink()
    return left_out


async def _fill(target: str, programs: Programs, file: Path, lines: Sequence[str]) -> None:
    """Run the script of these entries while it is written, where it needs no change for the server."""
    if not await programs.are_of(target):
        script = await programs.script(target, file, "copy-rest", lines)
        await programs.run_scripts(target, [script])
        script.unlink()
        return
    script = file.with_suffix(".copy-rest.sql")
    os.mkfifo(script)
    try:
        await _piped(target, programs, file, script, lines)
    except ProgramFailed as error:
        if not passes(error):
            # To say at which entry it stopped, it is written again, as a file.
            script.unlink()
            await programs.write_script(target, file, script, lines)
        raise
    finally:
        if script.is_fifo():
            script.unlink()


async def _piped(target: str, programs: Programs, file: Path, pipe: Path, lines: Sequence[str]) -> None:
    """Raises ProgramFailed of the one that failed first: the other waits for it, or finds the pipe broken."""
    writing = asyncio.create_task(programs.write_script(target, file, pipe, lines))
    reading = asyncio.create_task(programs.run_scripts(target, [pipe]))
    both = (reading, writing)
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        if writing.done() and _unread(writing.exception()):
            # Who reads has left the pipe before it ends: its words are on the way, and say why.
            await asyncio.wait({reading})
    finally:
        for task in both:
            if not task.done():
                await end(task)
    failed = [task.exception() for task in both if not task.cancelled()]
    errors = [error for error in failed if error is not None]
    # Only the server's own words have an SQLSTATE.
    errors.sort(key=lambda error: not (isinstance(error, ProgramFailed) and _code(error)))
    if errors:
        raise errors[0]


def _unread(error: BaseException | None) -> bool:
    return isinstance(error, ProgramFailed) and error.unread


def passes(error: ProgramFailed) -> bool:
    """Whether it says nothing of the archive: the same again may succeed."""
    code = _code(error)
    return code is None or code.startswith(_PASSING)


def _code(error: ProgramFailed) -> str | None:
    found = _VERDICT.search(error.said)
    return found["code"] if found else None


def _stand_ins(plan: CopyPlan) -> list[str]:
    made = [f"CREATE SCHEMA {quoted(name)}" for name in plan.stand_ins if name != "public"]
    return [*plan.first, *made]


async def _make_extensions(scratch: str, extensions: Sequence[Extension]) -> tuple[str, ...]:
    """Make those that the role may make; the others, each with the reason."""
    left_out: list[str] = []
    async with session(scratch) as connection:
        for each in extensions:
            try:
                await _make_extension(connection, each)
            except asyncpg.PostgresError as error:
                left_out.append(f"{each.name} {each.version} ({words(error)})")
    return tuple(left_out)


async def _make_extension(connection: Connection, extension: Extension) -> None:
    fixed = await connection.fetchval(
        "SELECT schema FROM pg_available_extension_versions WHERE name = $1 AND version = $2",
        extension.name,
        extension.version,
    )
    async with connection.transaction():
        where = ""
        if fixed is None:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(extension.schema)}")
            where = f"SCHEMA {quoted(extension.schema)}"
        await connection.execute(
            f"CREATE EXTENSION {quoted(extension.name)} {where} VERSION {literal(extension.version)}"
        )


def why(error: ProgramFailed, left_out: Sequence[str] = ()) -> Finding:
    """Where the restore stopped, and why, as far as it can be said without a row's values."""
    at = _AT_LINE.search(error.said)
    entry = entry_at(Path(at["script"]), int(at["line"])) if at else ""
    meaning, cure = "", "see the server's log; then request a new plan"
    code = at["code"] if at is not None else _code(error)
    if code is not None:
        known = _CURES.get(code) or _CURES.get(code[:2])
        meaning, cure = known or ("", cure)
        meaning = f": {meaning} ({code})" if meaning else f": SQLSTATE {code}"
    if entry.startswith("EXTENSION ") and code != "53100":
        cure = f"let a superuser run CREATE EXTENSION {quoted(entry.removeprefix('EXTENSION '))} there"
    missing = f" Extensions that could not be made there: {', '.join(left_out)}." if left_out else ""
    said = "" if code else f" It said: {error.said}"
    detail = f"The backup does not come back{meaning}.{missing}{said}"
    if left_out:
        cure = f"let the role make these extensions, or {cure}"
    return Finding(kind="data-loss", subject=entry or "backup", detail=detail, cure=cure)
