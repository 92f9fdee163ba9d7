"""Migrations and their ways down, gone through in a database without rows that has production's schema."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.executor.clients.postgres import Connection, described, execute_script, session, words
from services.executor.clients.shape import shape
from services.executor.domain.way_down import Shape, Thing, taken_away, undo
from shared.sql.actions import (
    Action,
    AddColumn,
    AddConstraint,
    Create,
    CreateIndex,
    CreateTable,
    CreateType,
    DropIndex,
    Rewrite,
    Setting,
    Write,
)
from shared.sql.reading import BORDER
from shared.sql.script import Statement, tried_in_transaction

# What only adds can be undone together, whatever its order; all else is undone one by one.
_ADDING = (CreateTable, AddColumn, AddConstraint, CreateIndex, CreateType, Create, Setting, Write)
_DIFFERENCES_SHOWN = 5


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


async def _rehearse(connection: Connection, step: Step) -> Rehearsed:
    lines = await described(connection)
    start = await shape(connection)
    alone = any(_alone(action) for each in step.statements for action in each.actions)
    transaction = None if alone else connection.transaction()
    if transaction is not None:
        await transaction.start()
    downs: list[str] = []
    gone: list[Thing] = []
    before: Shape = start
    batch: list[Statement] = []
    for statement in (*step.statements, None):
        adds = statement is not None and all(isinstance(each, _ADDING) for each in statement.actions)
        if batch and not adds:
            before = await _undone(connection, batch, before, downs, gone)
            batch = []
        if statement is None:
            break
        try:
            # Borders of its own would end the transaction that all of it is in here.
            if statement.actions != (BORDER,):
                await connection.execute(statement.text)
        except asyncpg.PostgresError as error:
            if transaction is not None:
                await transaction.rollback()
            return Rehearsed("", error=(statement.line, words(error, statement.text)))
        batch.append(statement)
        if not adds:
            before = await _undone(connection, batch, before, downs, gone)
            batch = []
    if transaction is not None:
        await transaction.commit()
    await connection.execute("RESET ALL")
    down_sql = step.down_sql if step.down_sql is not None else "\n".join(reversed(downs))
    left = await _left(connection, down_sql, lines)
    return Rehearsed(down_sql, left=left, gone=tuple(each for each in gone if each in start))


async def _undone(
    connection: Connection, batch: Sequence[Statement], before: Shape, downs: list[str], gone: list[Thing]
) -> Shape:
    """Note how to undo the batch; the schema after it."""
    after = await shape(connection)
    actions: list[Action] = [action for statement in batch for action in statement.actions]
    downs += reversed(undo(before, after, actions))
    gone += taken_away(before, after, actions)
    return after


async def _left(connection: Connection, down_sql: str, lines: tuple[str, ...]) -> tuple[str, ...]:
    """What differs from before once the way down was taken; it is taken back afterwards.

    Nothing of it can be said of a way that no transaction can take: its author's word stands.
    """
    tried = tried_in_transaction(down_sql)
    if tried is None:
        return ()
    transaction = connection.transaction()
    await transaction.start()
    try:
        await execute_script(connection, tried)
        now = await described(connection)
    except asyncpg.PostgresError as error:
        return (f"it fails: {words(error, down_sql)}",)
    finally:
        await transaction.rollback()
    differing = [f"left: {line}" for line in now if line not in lines]
    differing += [f"missing: {line}" for line in lines if line not in now]
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
