"""The scripts of a Project and its Systems, read in a child: PostgreSQL's parser never runs in this process.

It is C that recurses, and a script may hold thousands of statements. What was read comes back piece by piece,
so that unpacking it keeps nobody waiting either.
"""

import asyncio
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from services.executor.clients.migration_files import FOLDER, Migration
from services.executor.clients.reading import read_in_child
from shared.contracts.impact import StatementImpact
from shared.sql.actions import Action
from shared.sql.classing import classify
from shared.sql.concerns import Concern
from shared.sql.permitted import refused_in
from shared.sql.scene import Scene
from shared.sql.script import DEFAULT_SCHEMA, Part, Statement, alone_in, parts_of, read_statements

_PIECES = 200
"""Statements or actions that are unpacked in one go: some milliseconds."""


@dataclass(frozen=True)
class Outline:
    """How a script runs: `alone` is the statement for which it runs outside of a transaction."""

    alone: Statement | None
    parts: tuple[Part, ...]


def path_of(folder: str, name: str = "migration.sql") -> str:
    """Where a planned migration's script will stand, for people."""
    return f"{FOLDER}/{folder}/{name}"


async def statements_of(path: str, sql: str, schema: str = DEFAULT_SCHEMA) -> tuple[Statement, ...]:
    """A script's statements, their actions read too.

    Raises `Unreadable`, and `Failure` naming `path` when it ended its reader twice.
    """
    batches = await read_in_child(path, read_in_batches, sql, schema)
    return await asyncio.to_thread(_unpacked, batches)


async def outline_of(path: str, sql: str) -> Outline:
    """How the script runs; one that is unreadable runs in one piece. Raises `Failure` as `statements_of`."""
    return await read_in_child(path, read_outline, sql)


async def alone_of(migration: Migration, name: str = "down.sql") -> Statement | None:
    """The statement for which a script of the migration runs outside of a transaction. Raises `Failure`."""
    sql = migration.sql if name == "migration.sql" else migration.down_sql
    return await read_in_child(f"{migration.path}/{name}", alone_in, sql or "")


async def refusals_of(path: str, sql: str) -> tuple[Concern, ...]:
    """The concerns for which it must not run. Raises `Failure`."""
    return await read_in_child(path, refused_in, sql)


async def classes_of(path: str, sql: str, scene: Scene) -> tuple[tuple[StatementImpact, ...], Scene]:
    """Each statement's class in that scene, and the scene after them. Raises as `statements_of`."""
    batches, after = await read_in_child(path, class_in_batches, sql, scene)
    return await asyncio.to_thread(_together, batches), after


def class_in_batches(sql: str, scene: Scene) -> tuple[list[bytes], Scene]:
    """The classes in pickles of some each, and the scene after them: a child calls it."""
    classes = classify(read_statements(sql), scene)
    parts = (classes[start : start + _PIECES] for start in range(0, len(classes), _PIECES))
    return [pickle.dumps(part, protocol=5) for part in parts], scene


def _together(batches: Sequence[bytes]) -> tuple[StatementImpact, ...]:
    return tuple(each for batch in batches for each in pickle.loads(batch))


def read_outline(sql: str) -> Outline:
    """Read in this process: a child calls it."""
    return Outline(alone_in(sql), parts_of(sql))


def read_in_batches(sql: str, schema: str) -> list[bytes]:
    """The statements, each followed by its actions, in pickles of some pieces each: a child calls it."""
    pieces = iter(_pieces(read_statements(sql, schema)))
    batches: list[bytes] = []
    while batch := list(islice(pieces, _PIECES)):
        batches.append(pickle.dumps(batch, protocol=5))
    return batches


def _pieces(statements: Iterable[Statement]) -> Iterator[Statement | Action]:
    for statement in statements:
        # A copy that does not know its actions, so that it does not bring them itself.
        yield replace(statement)
        yield from statement.actions


def _unpacked(batches: Sequence[bytes]) -> tuple[Statement, ...]:
    found: list[tuple[Statement, list[Action]]] = []
    for batch in batches:
        for piece in pickle.loads(batch):
            if isinstance(piece, Statement):
                found.append((piece, []))
            else:
                found[-1][1].append(piece)
    for statement, actions in found:
        # Where `cached_property` keeps it.
        vars(statement)["actions"] = tuple(actions)
    return tuple(statement for statement, _ in found)
