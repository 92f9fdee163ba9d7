"""Ask a database's rows what an upgrade will find there: reads only, in one snapshot, in bounded time."""

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from services.executor.clients.postgres import Connection, quoted, session
from services.executor.domain.one_pass import Counted, one_pass, passes
from services.executor.domain.questions import Asker, Question
from services.executor.domain.relation import Step
from services.executor.domain.relations import Relations
from services.executor.domain.standing import Rule, Standing
from shared.clients.database_urls import schema_of
from shared.contracts.impact import Probe
from shared.sql.actions import AddConstraint, CreateIndex, SetNotNull
from shared.sql.columns import Table, shown
from shared.sql.script import Statement, read_statements

QUESTION_S = 5.0
ALL_S = 20.0
_COUNTED_EXACTLY = 100_000
_SORTED_BY_ALL = """
    SET LOCAL work_mem = '32MB'; SET LOCAL enable_hashagg = off;
    SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0
"""
_DATA_ERRORS = "22"
_COLUMNS = """
    SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type,
        pg_get_expr(d.adbin, d.adrelid) AS default_sql,
        COALESCE(a.attnum = ANY (k.conkey), false) AS is_key
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'
        AND n.nspname NOT IN ('information_schema', 'upgradepath')
    ORDER BY n.nspname, c.relname, array_position(k.conkey, a.attnum), a.attnum
"""
_NOT_NULLS = """
    SELECT n.nspname, c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
_TRIGGERED = """
    SELECT DISTINCT n.nspname, c.relname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT g.tgisinternal AND g.tgenabled <> 'D'
"""
_RULES = """
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::regclass, k.conname,
        pg_get_constraintdef(k.oid)) AS statement
    FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
    WHERE k.contype IN ('c', 'u', 'p', 'f') AND k.conrelid > 0 AND n.nspname !~ '^pg_'
        AND n.nspname NOT IN ('information_schema', 'upgradepath')
    UNION ALL
    SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE i.indisunique AND i.indisvalid AND n.nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_constraint k
            WHERE k.conindid = i.indexrelid AND k.contype IN ('u', 'p'))
"""


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
        asker = await _asker(connection, schema_of(url))
        before = dict(asker.relations.tables)
        questions = [
            [question for action in statement.actions for question in asker.ask(action)]
            for statement in statements
        ]
        asking = _Asking(connection, question_s, time.monotonic() + all_s)
        every = [question for asked in questions for question in asked]
        answered = iter(await asking.answers(every, asker.relations.steps))
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
    for question, probe in answers:
        if not question.implied or probe.verdict == "would fail":
            silent = silent or question.implied
            yield probe
        elif probe.verdict == "unknown" and not silent:
            silent = True
            yield probe


async def _asker(connection: Connection, schema: str) -> Asker:
    columns: dict[Table, dict[str, str]] = {}
    defaults: dict[Table, dict[str, str]] = {}
    keys: dict[Table, tuple[str, ...]] = {}
    for row in await connection.fetch(_COLUMNS):
        table = (row["nspname"], row["relname"])
        columns.setdefault(table, {})[row["attname"]] = row["type"]
        # What calls a function may give each row another value, or take a number from a sequence.
        if row["default_sql"] is not None and "(" not in row["default_sql"]:
            defaults.setdefault(table, {})[row["attname"]] = row["default_sql"]
        if row["is_key"]:
            keys[table] = (*keys.get(table, ()), row["attname"])
    rules = Standing(await _rules(connection, schema))
    triggered = {(row["nspname"], row["relname"]) for row in await connection.fetch(_TRIGGERED)}
    return Asker(Relations.of(columns, defaults, schema), keys, rules, triggered)


async def _rules(connection: Connection, schema: str) -> list[Rule]:
    """What stands in the database, read from the statements that PostgreSQL itself prints for it."""
    rules: list[Rule] = [
        SetNotNull((row["nspname"], row["relname"]), row["attname"])
        for row in await connection.fetch(_NOT_NULLS)
    ]
    for row in await connection.fetch(_RULES):
        for statement in read_statements(row["statement"], schema):
            rules += [each for each in statement.actions if isinstance(each, AddConstraint | CreateIndex)]
    return rules


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
            if question.tries and str(error.sqlstate).startswith(_DATA_ERRORS):
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
    return question.doubt is not None and question.verdict in ("would fail", "loses")


def _unknown(question: Question, why: str) -> Probe:
    return Probe(question=question.text, verdict="unknown", detail=why)


def _told(question: Question, rows: int) -> Probe:
    if question.tries:
        return Probe(question=question.text, verdict="fits", detail=f"yes, all {rows:,}")
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
            counted = int(await connection.fetchval(f"SELECT count(*) FROM ({first}) AS first"))
            estimate = counted if counted < _COUNTED_EXACTLY else max(estimate, counted)
        found[schema, name] = int(estimate)
    return found
