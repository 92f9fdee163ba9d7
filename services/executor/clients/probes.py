"""Ask a database's rows what an upgrade will find there: reads only, in one snapshot, in bounded time."""

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from services.executor.clients.postgres import Connection, quoted, session
from services.executor.clients.schema_rules import asker_of
from services.executor.clients.written_questions import questions_of
from services.executor.domain.one_pass import Counted, one_pass, passes
from services.executor.domain.question import Question
from services.executor.domain.relation import Step
from shared.clients.database_urls import schema_of
from shared.contracts.impact import Probe
from shared.sql.columns import Table, shown
from shared.sql.script import Statement

QUESTION_S = 5.0
ALL_S = 20.0
_COUNTED_EXACTLY = 100_000
_SORTED_BY_ALL = """
    SET LOCAL work_mem = '32MB'; SET LOCAL enable_hashagg = off;
    SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0
"""
# Of a subquery with more than one row, of a value, of a rule of the value's domain.
_DATA_ERRORS = ("21", "22", "23")


@dataclass(frozen=True)
class Answers:
    """Per statement, in their order, what was found; `rows` of each table that is touched."""

    probes: tuple[tuple[Probe, ...], ...]
    rows: dict[str, int]


async def ask(
    url: str, statements: Sequence[Statement], *, question_s: float = QUESTION_S, all_s: float = ALL_S
) -> Answers:
    """What the rows of that database say of these statements, were they run in this order.

    A question that takes longer than `question_s`, or comes after `all_s`, is answered with "unknown". Raises
    Retry when the database cannot be asked.
    """
    async with (
        session(url, statement_timeout_s=question_s) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        # Rows that a policy hides from the role would be missing in silence.
        await connection.execute("SET LOCAL row_security = off")
        asker = await asker_of(connection, schema_of(url))
        before = dict(asker.relations.tables)
        questions, steps = await questions_of(asker, statements)
        asking = _Asking(connection, question_s, time.monotonic() + all_s)
        every = [question for asked in questions for question in asked]
        answered = iter(await asking.answers(every, steps))
        found = [tuple(_worth_telling(list(zip(asked, answered, strict=False)))) for asked in questions]
        touched = {
            table
            for statement in statements
            for action in statement.actions
            if (table := getattr(action, "table", None)) in before
        }
        counted = await _rows(connection, sorted(touched))
        return Answers(tuple(found), {shown(table): rows for table, rows in counted.items()})


def _worth_telling(answers: Sequence[tuple[Question, Probe]]) -> Iterator[Probe]:
    """What is worth a word: of the rules that stand already those that fail, and one that nobody can tell."""
    silent = False
    fails = any(probe.verdict == "would fail" for _, probe in answers)
    for question, probe in answers:
        if question.quiet and (probe.verdict == "fits" or (fails and probe.verdict == "unknown")):
            continue
        if not question.implied or probe.verdict == "would fail":
            silent = silent or question.implied
            yield probe
        elif probe.verdict == "unknown" and not silent:
            silent = True
            yield probe


class _Asking:
    """Asks within a snapshot: no question for longer than `question_s`, and none after `end`."""

    def __init__(self, connection: Connection, question_s: float, end: float) -> None:
        self._connection = connection
        self._question_s = question_s
        self._end = end

    async def answers(self, questions: Sequence[Question], steps: Mapping[str, Step | str]) -> list[Probe]:
        """One for each, in their order; those that the same rows answer are asked together."""
        found: dict[int, Probe] = {}
        counted = {
            place: each.counted
            for place, each in enumerate(questions)
            if each.counted is not None and not _doubtful(each)
        }
        for group in passes(list(counted.values()), steps):
            places = [list(counted)[each] for each in group]
            rows = await self._together([counted[place] for place in places], steps)
            found |= {place: _told(questions[place], n) for place, n in zip(places, rows, strict=False)}
        return [found.get(place) or await self._answer(each) for place, each in enumerate(questions)]

    async def _together(self, counted: Sequence[Counted], steps: Mapping[str, Step | str]) -> list[int]:
        """A number for each; none at all when one cannot be answered, or all of them take too long."""
        # Half of the time that is left: they may all have to be asked again, one by one.
        for_all_s = min(len(counted) * self._question_s, (self._end - time.monotonic()) / 2)
        try:
            async with self._undone(f"SET LOCAL statement_timeout = {max(1, round(for_all_s * 1000))}"):
                (row,) = await self._connection.fetch(one_pass(counted, steps))
        except asyncpg.PostgresError:
            return []
        return [int(each) for each in row]

    async def _answer(self, question: Question) -> Probe:
        if question.sql is None or _doubtful(question):
            return _unknown(question, f"not known before it runs: {question.doubt}")
        if time.monotonic() > self._end:
            return _unknown(question, "not asked: the questions before it took too long")
        if question.quick is not None and await self._has_none(question.quick):
            return _told(question, 0)
        try:
            async with self._undone():
                rows = await self._number(question.sql)
        except asyncpg.QueryCanceledError:
            return _unknown(question, "not counted: it would take too long")
        except asyncpg.PostgresError as error:
            # Only the kind of the error: its message may quote a row.
            kind = f"{type(error).__name__.removesuffix('Error')} ({error.sqlstate})"
            if (question.tries or question.computes) and str(error.sqlstate).startswith(_DATA_ERRORS):
                return Probe(question=question.text, verdict="would fail", detail=f"no: {kind}")
            return _unknown(question, f"it cannot be asked of the rows as they are now: {kind}")
        return _told(question, rows)

    async def _has_none(self, quick: str) -> bool:
        try:
            async with self._undone(_SORTED_BY_ALL):
                return await self._number(quick) == 0
        except asyncpg.PostgresError:
            # A type without a hash, a server that has no such function yet: the other way is left.
            return False

    async def _number(self, sql: str) -> int:
        # All rows are asked for: for the first alone, PostgreSQL would start no parallel workers.
        (row,) = await self._connection.fetch(sql)
        return int(row[0])

    @asynccontextmanager
    async def _undone(self, settings: str = "") -> AsyncIterator[None]:
        """A savepoint with these settings: the snapshot outlives a question that fails."""
        savepoint = self._connection.transaction()
        await savepoint.start()
        try:
            if settings:
                await self._connection.execute(settings)
            yield
        finally:
            await savepoint.rollback()


def _doubtful(question: Question) -> bool:
    return question.doubt is not None and question.verdict in ("would fail", "loses", "unknown")


def _unknown(question: Question, why: str) -> Probe:
    return Probe(question=question.text, verdict="unknown", detail=why)


def _told(question: Question, rows: int) -> Probe:
    if question.tries:
        return Probe(question=question.text, verdict="fits", detail=f"yes, all {rows:,}")
    if rows and question.verdict == "unknown":
        return _unknown(question, f"not known before it runs: {question.why} ({rows:,} rows)")
    return Probe(question=question.text, verdict=question.verdict if rows else "fits", rows=rows)


async def count_rows(url: str, tables: Iterable[Table]) -> dict[Table, int]:
    """Rows per table that is there: counted where there are few, estimated where there are many."""
    async with session(url) as connection:
        return await _rows(connection, tables)


async def _rows(connection: Connection, tables: Iterable[Table]) -> dict[Table, int]:
    found: dict[Table, int] = {}
    for schema, name in tables:
        estimate = await connection.fetchval(
            "SELECT c.reltuples::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')",
            schema,
            name,
        )
        if estimate is None:
            continue
        if estimate < _COUNTED_EXACTLY:
            first = f"SELECT FROM {quoted(schema, name)} LIMIT {_COUNTED_EXACTLY}"
            try:
                async with connection.transaction():
                    counted = int(await connection.fetchval(f"SELECT count(*) FROM ({first}) AS first"))
            except asyncpg.InsufficientPrivilegeError:
                # A policy hides some of them: what remains would be a wrong number.
                counted = max(estimate, 0)
            estimate = counted if counted < _COUNTED_EXACTLY else max(estimate, counted)
        found[schema, name] = int(estimate)
    return found
