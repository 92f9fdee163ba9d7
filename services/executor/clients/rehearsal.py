"""Migrations and their ways down, gone through in a database without rows that has production's schema."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from services.executor.clients.dressing import dressing, roles, with_roles
from services.executor.clients.postgres import Connection, described, execute_script, session, words
from services.executor.clients.reading import read_in_child
from services.executor.clients.scripts import path_of, refusals_of
from services.executor.clients.shape import shape
from services.executor.domain.descriptions import differences
from services.executor.domain.dressing import Dressing, fixes, not_as_given, of_absent_roles, remade
from services.executor.domain.things import REMADE, Shape, Thing
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


async def rehearse(url: str, steps: Sequence[Step], worn: Dressing | None = None) -> dict[str, Rehearsed]:
    """Go through the steps, each up, down (taken back) and up again; stops at one that fails.

    `worn` is what production's things wear: made again on the way down, they get it back. Without it they are
    among `gone`, of kind `REMADE`. The database is the caller's own, and is changed. Raises Retry when it
    cannot be used now.
    """
    found: dict[str, Rehearsed] = {}
    async with session(url) as connection:
        begun = await dressing(connection)
        for step in steps:
            found[step.folder] = await _rehearse(connection, step, begun, worn)
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


async def _rehearse(connection: Connection, step: Step, begun: Dressing, worn: Dressing | None) -> Rehearsed:
    lines = await described(connection)
    start, dressed = await shape(connection), await dressing(connection)
    undoing = _Undoing(start, start)
    failed = await _go_up(connection, step.statements, undoing)
    if failed is not None:
        return Rehearsed("", error=failed)
    build = step.statements[0].index_build if len(step.statements) == 1 else None
    made = undoing.script() if build is None else _concurrently(undoing.script())
    trial = _Trial(step, lines, dressed, begun, worn, step.down_sql is None)
    down_sql, left = await trial.left(connection, step.down_sql if step.down_sql is not None else made)
    if step.down_sql is None and trial.fixes and not left:
        # Nothing else may stand in one file with what runs concurrently.
        down_sql = "\n".join((undoing.script(), *(f"{each};" for each in trial.fixes)))
        trial.dresses = False
        down_sql, left = await trial.left(connection, down_sql)
    gone = [each for each in undoing.gone if each in start]
    if worn is None:
        gone += [Thing(REMADE, "", "", each) for each in sorted(trial.remade)]
    return Rehearsed(down_sql, left=left[:_DIFFERENCES_SHOWN], gone=tuple(gone))


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


@dataclass
class _Trial:
    """A way down as it is tried: from where the statements led, back to these lines and this dressing.

    `begun` is what all things wore before the first step, which could put on less than production wears.
    `dresses`: what is missing on things is put on. `fixes`, `remade` and `lacking` are found on the way: what
    must be put on again, the things made anew, and what these wear in production alone.
    """

    step: Step
    lines: tuple[str, ...]
    dressed: Dressing
    begun: Dressing
    worn: Dressing | None
    dresses: bool
    fixes: tuple[str, ...] = ()
    remade: frozenset[str] = frozenset()
    lacking: tuple[str, ...] = ()

    async def left(self, connection: Connection, down_sql: str) -> tuple[str, tuple[str, ...]]:
        """The script, and what differs from before once it was taken; it is taken back afterwards."""
        # Of the Project's own objects may be made what no Release may bring: it is not tried either.
        path = path_of(self.step.folder, "down.sql")
        if refused := await refusals_of(path, down_sql):
            return down_sql, tuple(f"line {each.line} must not run: {each.reason}" for each in refused)
        alone = await read_in_child(path, alone_in, down_sql) is not None
        transaction = None if alone else connection.transaction()
        if transaction is not None:
            await transaction.start()
        try:
            await execute_script(connection, down_sql)
            absent = await self._dress(connection)
            now = await described(connection)
        except asyncpg.PostgresError as error:
            return down_sql, (f"it fails: {words(error, down_sql)}",)
        finally:
            if transaction is not None:
                await transaction.rollback()
        differing = differences(self.lines, now)
        differing += tuple(f"missing: {each}" for each in (*absent, *self.lacking) if each not in down_sql)
        again = await _go_up(connection, self.step.statements, None) if alone else None
        if again is not None and not differing:
            differing = (f"the migration does not run again after it: line {again[0]}: {again[1]}",)
        return down_sql, differing[:_DIFFERENCES_SHOWN]

    async def _dress(self, connection: Connection) -> tuple[str, ...]:
        """What the things made anew lack that production gave to roles which are not on this server."""
        now = await dressing(connection)
        self.remade = remade(self.dressed, now)
        absent: tuple[str, ...] = ()
        if self.worn is not None:
            there = await roles(connection)
            absent = of_absent_roles(self.worn, self.remade, there)
            absent += not_as_given(self.worn, self.remade)
            self.lacking = fixes(self.begun, with_roles(self.worn, there), self.remade)
        if not self.dresses:
            return absent
        found = fixes(now, self.dressed)
        for statement in found:
            await connection.execute(statement)
        self.fixes = (*found, *absent)
        return ()


def _alone(action: Action) -> bool:
    """Whether PostgreSQL takes it only outside a transaction."""
    match action:
        case CreateIndex(concurrently=True) | DropIndex(concurrently=True):
            return True
        case Rewrite(what="VACUUM FULL") | Setting(what="VACUUM or ANALYZE"):
            return True
        case _:
            return False
