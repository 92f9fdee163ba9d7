"""A history that somebody else wrote, gone through migration by migration with rows in every table.

    python -m tests.migration_histories.real FOLDER …

FOLDER is a folder of Prisma's migrations. Each is read, asked of the rows, rehearsed without rows with its
way down, applied, and taken back where it is said to lead back. What was said must be what happens.
At the end all are replayed without rows, by plain execution and by us, and Prisma must find nothing to do.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from local.postgres import EmbeddedPostgres
from services.executor.clients import migrations
from services.executor.clients.migration_files import FOLDER, Migration, read_migrations
from services.executor.clients.postgres import (
    create_database,
    described,
    drop_database,
    execute_script,
    schema_description,
    session,
)
from services.executor.clients.probes import ask
from services.executor.clients.rehearsal import Step, rehearse
from services.executor.clients.row_digests import digests
from services.executor.clients.triggers import reach_of
from services.executor.domain.marks import mark
from services.executor.stages.readiness import unready
from shared.clients.database_urls import with_database
from shared.contracts.impact import StatementImpact
from shared.errors import Failure, Retry
from shared.prisma.migrating import diagnose
from shared.sql.classing import classify, worst
from shared.sql.parsing import Unreadable
from shared.sql.scene import Scene
from shared.sql.script import Statement, parts_of, read_statements
from tests.migration_histories.contrib import contrib_settings
from tests.migration_histories.rows import fill

ROWS, BEFORE, BARE, PLAIN, OURS = "real_rows", "real_before", "real_bare", "real_plain", "real_ours"
_PATIENCE = migrations.Patience(tries=2, first_s=0.05, longest_s=0.1)


@dataclass
class Seen:
    """What came of a history; `wrong` holds what was said and did not happen, or happened unsaid."""

    migrations: int = 0
    statements: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    unfilled: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


class _NoWayOn(Exception):
    """A migration that fails without rows as well: it is not meant for this server, or is no SQL."""


class Walk:
    """One history on one server."""

    def __init__(self, server: str, history: Sequence[Migration]) -> None:
        self._server = server
        self._history = history
        self.seen = Seen()

    def _url(self, name: str) -> str:
        return with_database(self._server, name)

    async def run(self) -> Seen:
        began = time.monotonic()
        for name in (ROWS, BARE, PLAIN, OURS):
            await drop_database(self._server, name)
            await create_database(self._server, name)
        await self._replay()
        for place, each in enumerate(self._history):
            try:
                await self._step(place)
            except _NoWayOn as error:
                self.seen.notes.append(f"the walk ends at {each.folder}, which no database takes: {error}")
                break
            self.seen.migrations += 1
        self.seen.seconds = time.monotonic() - began
        return self.seen

    async def _replay(self) -> None:
        """Without rows: as plain execution does, as we do, and what Prisma says of ours."""
        said: dict[str, str] = {}
        connection = await asyncpg.connect(self._url(PLAIN), statement_cache_size=0)
        for each in self._history:
            try:
                await connection.execute(each.sql)
            except (asyncpg.PostgresError, AttributeError) as error:
                # asyncpg stumbles over a script of comments alone, which is no failure.
                if isinstance(error, asyncpg.PostgresError):
                    said[each.folder] = str(error)
                    await connection.execute("ROLLBACK")
        await connection.close()
        for folder, words in said.items():
            self.seen.notes.append(f"{folder} fails on an empty database: {words}")
        if said:
            return
        try:
            await migrations.apply(self._url(OURS), self._history, (1, 1), patience=_PATIENCE)
        except (Failure, Retry) as failure:
            self.seen.wrong.append(f"replay: plain execution succeeds, ours does not: {_told(failure)}")
            return
        plain, ours = await schema_description(self._url(PLAIN)), await schema_description(self._url(OURS))
        if plain != ours:
            self.seen.wrong.append(f"replay: other schema than plain's: {sorted(set(plain) ^ set(ours))[:6]}")
        found = await diagnose(self._url(OURS), {each.folder: each.sql for each in self._history})
        if not found.up_to_date:
            self.seen.wrong.append(f"Prisma has something to say: {found}")

    async def _step(self, place: int) -> None:
        each = self._history[place]
        history = self._history[: place + 1]
        seen = self.seen
        try:
            statements = read_statements(each.sql)
        except Unreadable as error:
            seen.refused.append(f"{each.folder}: cannot be read: {error}")
            statements = ()
        seen.statements += len(statements)
        impacts = classify(statements, Scene())
        seen.kinds[worst(one.kind for one in impacts) if impacts else "none"] += 1
        findings = await unready(self._url(ROWS), history, [each.folder])
        seen.refused += [f"{each.folder}: {one.subject}: {one.detail} → {one.cure}" for one in findings]
        answers = await ask(self._url(ROWS), statements)
        impacts = tuple(
            StatementImpact.model_validate(one.model_dump() | {"probes": probes})
            for one, probes in zip(impacts, answers.probes, strict=True)
        )
        verdicts = {probe.verdict for one in impacts for probe in one.probes}
        reach = await reach_of(self._url(ROWS))
        rehearsed = (await rehearse(self._url(BARE), [Step(each.folder, statements, None)]))[each.folder]
        marked, _ = mark(statements, impacts, Scene(), reach, rehearsed.gone)
        if rehearsed.error is not None:
            seen.notes.append(f"{each.folder}: rehearsal fails: {rehearsed.error}")
            await self._execute(BARE, each.sql)
        elif rehearsed.left:
            seen.notes.append(f"{each.folder}: no way down: {rehearsed.left}")
        way = "no way made" if rehearsed.left or rehearsed.error else marked
        seen.ways[way] += 1
        await self._apply(history, verdicts, way, rehearsed.down_sql, statements)
        connection = await asyncpg.connect(self._url(ROWS), statement_cache_size=0)
        seen.unfilled.update(await fill(connection))
        await connection.close()

    async def _apply(
        self,
        history: Sequence[Migration],
        verdicts: Set[str],
        way: str,
        down_sql: str,
        statements: Sequence[Statement],
    ) -> None:
        each, url, seen = history[-1], self._url(ROWS), self.seen
        async with session(url) as connection:
            kept = await tables_of(connection)
            lines, rows = await described(connection), await digests(connection, kept)
        parts = parts_of(each.sql)
        if len(parts) > 1:
            await self._clone(ROWS, BEFORE)
        try:
            await migrations.apply(
                url,
                history,
                (len(history) + 1, 1),
                wanted=[each.folder],
                run=[each.folder],
                patience=_PATIENCE,
            )
        except (Failure, Retry) as failure:
            if "would fail" in verdicts:
                seen.rows["fails, as foretold"] += 1
            elif "unknown" in verdicts:
                seen.rows["fails, said to be unknown"] += 1
            else:
                seen.rows["fails, unforeseen"] += 1
                seen.wrong.append(f"{each.folder}: fails with rows, and nobody said so: {_told(failure)}")
            if len(parts) > 1:
                await self._clone(BEFORE, ROWS)
            await self._without_rows(history)
            return
        if "would fail" in verdicts:
            seen.rows["passes, said to fail"] += 1
            seen.wrong.append(f"{each.folder}: was said to fail, and passed")
        else:
            seen.rows["passes, unknown" if "unknown" in verdicts else "passes"] += 1
        if way != "reversible" or "concurrently" in down_sql.lower():
            return
        async with session(url) as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await execute_script(connection, down_sql)
                if await described(connection) != lines:
                    seen.wrong.append(f"{each.folder}: reversible, but another schema comes back")
                now = await digests(connection, kept)
                if now != rows:
                    differing = [name for name in rows if now.get(name) != rows[name]]
                    seen.wrong.append(f"{each.folder}: reversible, but other rows in {differing}")
            except asyncpg.PostgresError as error:
                seen.wrong.append(f"{each.folder}: reversible, but its way down fails: {error}")
            finally:
                await transaction.rollback()

    async def _without_rows(self, history: Sequence[Migration]) -> None:
        """Applied once more with the rows taken away, so that the walk goes on.

        Where it needs rows that an earlier migration put there, all of them are applied anew.
        """
        async with session(self._url(ROWS)) as connection:
            for schema, name in await tables_of(connection):
                await connection.execute(f'TRUNCATE "{schema}"."{name}" CASCADE')
        name = history[-1].folder
        try:
            await migrations.apply(self._url(ROWS), history, (len(history) + 1, 2), wanted=[name], run=[name])
        except Failure:
            await drop_database(self._server, ROWS)
            await create_database(self._server, ROWS)
            try:
                await migrations.apply(self._url(ROWS), history, (1, 1), patience=_PATIENCE)
            except Failure as failure:
                raise _NoWayOn(_told(failure)) from failure

    async def _clone(self, name: str, copy: str) -> None:
        await drop_database(self._server, copy)
        await self._execute("postgres", f"CREATE DATABASE {copy} TEMPLATE {name}")

    async def _execute(self, name: str, sql: str) -> None:
        connection = await asyncpg.connect(self._url(name), statement_cache_size=0)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


async def tables_of(connection: asyncpg.Connection) -> dict[tuple[str, str], frozenset[str]]:
    found = await connection.fetch(
        "SELECT table_schema, table_name, array_agg(column_name::text) AS columns"
        " FROM information_schema.columns JOIN information_schema.tables t USING (table_schema, table_name)"
        " WHERE t.table_type = 'BASE TABLE' AND table_name <> '_prisma_migrations' AND table_schema NOT IN"
        " ('pg_catalog', 'information_schema', 'upgradepath') GROUP BY table_schema, table_name"
    )
    return {(row["table_schema"], row["table_name"]): frozenset(row["columns"]) for row in found}


def _told(failure: Exception) -> str:
    findings = failure.outcome.findings if isinstance(failure, Failure) else ()
    return "; ".join([str(failure), *(f"{each.subject}: {each.detail}" for each in findings)])


def read_history(folder: Path) -> tuple[Migration, ...]:
    """The migrations of a folder, as if it were `prisma/migrations`."""
    found = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return read_migrations({f"{FOLDER}/{path}": data for path, data in found.items()})


def main() -> None:
    """Exits 1 when what was said beforehand is not what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    given = parser.parse_args()
    wrong = False
    with (
        tempfile.TemporaryDirectory(prefix="upgradepath-real-") as scratch,
        EmbeddedPostgres(Path(scratch) / "postgres", fsync=False, settings=contrib_settings()) as server,
    ):
        for folder in given.folders:
            seen = asyncio.run(Walk(server.url(), read_history(folder)).run())
            _show(folder, seen)
            wrong = wrong or bool(seen.wrong)
    sys.exit(1 if wrong else 0)


def _show(folder: Path, seen: Seen) -> None:
    print(f"{folder}: {seen.migrations} migrations, {seen.statements} statements, {seen.seconds:.0f} s")
    for what, counted in (("classes", seen.kinds), ("rows", seen.rows), ("ways down", seen.ways)):
        print(f"  {what}: " + ", ".join(f"{number} {kind}" for kind, number in counted.most_common()))
    if seen.unfilled:
        print(f"  at some time without rows: {', '.join(sorted(seen.unfilled))}")
    for what, lines in (("refused", seen.refused), ("note", seen.notes), ("WRONG", seen.wrong)):
        for line in lines:
            print(f"  {what}: {line}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
