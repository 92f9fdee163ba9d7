"""Migrations and their ways down, gone through in a database without rows that has production's schema."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from services.executor.clients.postgres import Connection, described, execute_script, session, words
from services.executor.clients.reading import read_in_child
from services.executor.clients.scripts import path_of, refusals_of
from services.executor.clients.shape import shape
from services.executor.domain.descriptions import differences
from services.executor.domain.things import Shape, Thing
from services.executor.domain.way_down import numbered, numberless, taken_away, undo
from shared.sql.actions import (
    Action,
    AddColumn,
    AddConstraint,
    Create,
    CreateIndex,
    CreateTable,
    CreateType,
    DropIndex,
    Read,
    Renumber,
    Rewrite,
    Rights,
    Setting,
    Write,
)
from shared.sql.reading import BORDER
from shared.sql.script import Statement, alone_in

# What only adds can be undone together, whatever its order; all else is undone one by one.
_ADDING = (
    CreateTable, AddColumn, AddConstraint, CreateIndex, CreateType, Create, Read, Setting, Rights, Renumber,
    Write,
)  # fmt: skip
_DIFFERENCES_SHOWN = 5
_INDEX = re.compile(r"\A((?:CREATE(?: UNIQUE)?|DROP) INDEX)\b")


@dataclass(frozen=True)
class Step:
    """One migration to go through; `down_sql` is its author's way down, if there is one."""

    folder: str
    statements: Sequence[Statement]
    down_sql: str | None


@dataclass(frozen=True)
class Rehearsed:
    """`error`: the migration fails there, with the line. `left`: why the way down does not lead back."""

    down_sql: str
    error: tuple[int, str] | None = None
    left: tuple[str, ...] = ()
    gone: tuple[Thing, ...] = ()


async def rehearse(url: str, steps: Sequence[Step]) -> dict[str, Rehearsed]:
    """Go through the steps, each up, down (taken back) and up again; stops at one that fails.

    The database is the caller's own, and is changed. Raises Retry when it cannot be used now.
    """
    found: dict[str, Rehearsed] = {}
    async with session(url) as connection:
        for step in steps:
            found[step.folder] = await _rehearse(connection, step)
            if found[step.folder].error is not None:
                break
    return found


@dataclass
class _Undoing:
    """How to undo what was gone through so far: `downs` in the order of the way up."""

    start: Shape
    before: Shape
    downs: list[str] = field(default_factory=list)
    gone: list[Thing] = field(default_factory=list)
    unnumbered: list[Thing] = field(default_factory=list)

    async def note(self, connection: Connection, batch: Sequence[Statement]) -> None:
        """The batch has just run."""
        after = await shape(connection)
        actions: list[Action] = [action for statement in batch for action in statement.actions]
        self.downs += reversed(undo(self.before, after, actions))
        self.gone += taken_away(self.before, after, actions)
        self.unnumbered += numberless(self.before, after)
        self.before = after

    def script(self) -> str:
        return "\n".join((*reversed(self.downs), *numbered(self.unnumbered, self.start)))


async def _rehearse(connection: Connection, step: Step) -> Rehearsed:
    lines = await described(connection)
    start = await shape(connection)
    undoing = _Undoing(start, start)
    failed = await _go_up(connection, step.statements, undoing)
    if failed is not None:
        return Rehearsed("", error=failed)
    build = step.statements[0].index_build if len(step.statements) == 1 else None
    made = undoing.script() if build is None else _concurrently(undoing.script())
    down_sql = step.down_sql if step.down_sql is not None else made
    # What is made from the Project's own objects may be what no Release may bring: it is not tried either.
    refused = await refusals_of(path_of(step.folder, "down.sql"), down_sql)
    left = tuple(f"line {each.line} must not run: {each.reason}" for each in refused)
    if not left:
        left = await _left(connection, step, down_sql, lines)
    return Rehearsed(
        down_sql, left=left[:_DIFFERENCES_SHOWN], gone=tuple(each for each in undoing.gone if each in start)
    )


def _concurrently(down_sql: str) -> str:
    """Who builds or drops an index while others write does not keep them waiting on the way back either."""
    return _INDEX.sub(r"\1 CONCURRENTLY", down_sql, count=1)


async def _go_up(
    connection: Connection, statements: Sequence[Statement], undoing: _Undoing | None
) -> tuple[int, str] | None:
    """Run the statements, and note how to undo them; the line and the words of one that fails."""
    alone = any(_alone(action) for each in statements for action in each.actions)
    transaction = None if alone else connection.transaction()
    if transaction is not None:
        await transaction.start()
    batch: list[Statement] = []
    for statement in statements:
        adds = all(isinstance(each, _ADDING) for each in statement.actions)
        if batch and not adds and undoing is not None:
            await undoing.note(connection, batch)
            batch = []
        try:
            # Borders of its own would end the transaction that all of it is in here.
            if statement.actions != (BORDER,):
                await connection.execute(statement.text)
        except asyncpg.PostgresError as error:
            if transaction is not None:
                await transaction.rollback()
            return statement.line, words(error, statement.text)
        batch.append(statement)
        if not adds and undoing is not None:
            await undoing.note(connection, batch)
            batch = []
    if batch and undoing is not None:
        await undoing.note(connection, batch)
    if transaction is not None:
        await transaction.commit()
    await connection.execute("RESET ALL")
    return None


async def _left(connection: Connection, step: Step, down_sql: str, lines: tuple[str, ...]) -> tuple[str, ...]:
    """What differs from before once the way down was taken; it is taken back afterwards."""
    alone = await read_in_child(path_of(step.folder, "down.sql"), alone_in, down_sql) is not None
    transaction = None if alone else connection.transaction()
    if transaction is not None:
        await transaction.start()
    try:
        await execute_script(connection, down_sql)
        now = await described(connection)
    except asyncpg.PostgresError as error:
        return (f"it fails: {words(error, down_sql)}",)
    finally:
        if transaction is not None:
            await transaction.rollback()
    differing = differences(lines, now)
    again = await _go_up(connection, step.statements, None) if alone else None
    if again is not None and not differing:
        return (f"the migration does not run again after it: line {again[0]}: {again[1]}",)
    return tuple(differing[:_DIFFERENCES_SHOWN])


def _alone(action: Action) -> bool:
    """Whether PostgreSQL takes it only outside a transaction."""
    match action:
        case CreateIndex(concurrently=True) | DropIndex(concurrently=True):
            return True
        case Rewrite(what="VACUUM FULL") | Setting(what="VACUUM or ANALYZE"):
            return True
        case _:
            return False
