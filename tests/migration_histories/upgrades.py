"""A history upgraded release by release as a Run does it, beside plain execution of the good ones.

    python -m tests.migration_histories.upgrades --migrations 200 --seed 7

Each release is packed and read, judged as at its publishing, planned, asked of production, applied to a
copy with all rows, proven on an empty database, and applied to production. After a refusal production must be
as it was; at the end schema and rows must be the oracle's, and Prisma must find nothing to do.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from local.postgres import EmbeddedPostgres
from services.executor.clients import migrations
from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import create_database, drop_database, schema_description
from services.executor.stages.migrate import in_order
from services.executor.stages.numbering import Source, plan_migrations
from services.executor.stages.readiness import unready
from services.executor.stages.tools import Packages
from services.registry.domain.history import changed_history, package_migrations
from shared.clients.database_urls import with_database
from shared.contracts.facts import PlannedMigration
from shared.contracts.releases import Release as Published
from shared.contracts.tasks import Upgrade
from shared.errors import Failure
from shared.packages.package import Package, read_package
from shared.prisma.migrating import diagnose
from shared.sql.script import read_statements
from tests.migration_histories.synthetic import History, Release
from tests.packages.package_files import a_package, packed

PRODUCTION, ORACLE, STAGING, PROOF = (
    "history_production",
    "history_oracle",
    "history_staging",
    "history_proof",
)
_ROWS = 5
_TABLES = """
    SELECT format('%I.%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'upgradepath')
    AND relname <> '_prisma_migrations' ORDER BY 1
"""


@dataclass
class Seen:
    """What came of a history. `wrong` holds a line for everything that should not have been."""

    applied: int = 0
    releases: int = 0
    stopped: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Upgrades:
    """One Project on one server, and its oracle."""

    def __init__(self, server: str, seed: int) -> None:
        self._server = server
        self._history = History(seed)
        self._packages: list[Package] = []
        self._sources: list[Source] = []
        self._installed: list[Migration] = []
        self._rows = 1
        self._fence = 0
        self.seen = Seen()

    async def run(self, count: int, *, every_kind: bool = True) -> Seen:
        for name in (PRODUCTION, ORACLE):
            await drop_database(self._server, name)
            await create_database(self._server, name)
        for release in self._history.releases(count, every_kind=every_kind):
            if release.stopped is None:
                await self._good(release)
            else:
                await self._bad(release)
        self.seen.wrong += await self._against_oracle()
        return self.seen

    async def _good(self, release: Release) -> None:
        stopped, said = await self._upgrade(release)
        self.seen.releases += 1
        if stopped is not None:
            self.seen.wrong.append(f"{release.kind} is good and was stopped at {stopped}: {said}")
            raise AssertionError(self.seen.wrong[-1])
        self.seen.applied += len(release.new)
        for each in sorted(release.new, key=lambda script: script.contracting):
            # asyncpg takes no script of comments alone.
            await self._execute(ORACLE, each.sql if read_statements(each.sql) else "SELECT")
        statements = self._history.rows(self._rows, self._rows + _ROWS)
        self._rows += _ROWS
        for name in (PRODUCTION, ORACLE):
            await self._execute(name, statements)

    async def _bad(self, release: Release) -> None:
        before = await self._state(PRODUCTION)
        if release.meanwhile:
            await self._execute(PRODUCTION, release.meanwhile)
        stopped, said = await self._upgrade(release)
        if release.undo:
            await self._execute(PRODUCTION, release.undo)
        self.seen.stopped[f"{release.kind.replace('_', ' ')}: {stopped}"] += 1
        if stopped != release.stopped or release.said not in said:
            self.seen.wrong.append(
                f"{release.kind}: {release.stopped} should say {release.said!r}, {stopped} said {said}"
            )
        if await self._state(PRODUCTION) != before:
            self.seen.wrong.append(f"{release.kind} was stopped, and production is not what it was")

    async def _upgrade(self, release: Release) -> tuple[str | None, str]:
        """Where it was stopped and what was said; none when production has it."""
        package = _package(release)
        before = self._packages[-1] if self._packages else None
        refusals = list(changed_history(package, None if before is None else _published(before), None))
        if refusals:
            return "publish", "; ".join(refusal.reason for refusal in refusals)
        self._fence += 1
        production, token = with_database(self._server, PRODUCTION), (self._fence, 1)
        try:
            planned = plan_migrations(
                [each.folder for each in self._installed], self._sources, [_packages(package)]
            )
        except Failure as failure:
            return "review", _told(failure)
        brought = [Migration(each.folder, each.sql, each.checksum) for each in planned]
        history, run = [*self._installed, *brought], [each.folder for each in planned]
        findings = await unready(production, history, run)
        if findings:
            return "review", "; ".join(finding.detail for finding in findings)
        try:
            await self._clone()
            await migrations.apply(
                with_database(self._server, STAGING), history, token, wanted=in_order(planned), run=run
            )
        except Failure as failure:
            return "staging", _told(failure)
        if different := await self._prove(history, token):
            return "replay", different
        for contracting in (False, True):
            wanted = [each.folder for each in planned if each.contracting is contracting]
            await migrations.apply(production, history, token, wanted=wanted, run=run)
        self._installed, self._packages = history, [package]
        self._sources += [_source(each) for each in planned]
        return None, ""

    async def _prove(self, history: Sequence[Migration], token: tuple[int, int]) -> str:
        """The lines in which the replayed schema is not staging's."""
        await drop_database(self._server, PROOF)
        await create_database(self._server, PROOF)
        await migrations.apply(with_database(self._server, PROOF), history, token)
        one, other = [set(await schema_description(with_database(self._server, n))) for n in (PROOF, STAGING)]
        return "; ".join(sorted(one ^ other))

    async def _clone(self) -> None:
        await drop_database(self._server, STAGING)
        await self._execute("postgres", f"CREATE DATABASE {STAGING} TEMPLATE {PRODUCTION} STRATEGY FILE_COPY")

    async def _against_oracle(self) -> list[str]:
        wrong = []
        production, oracle = await self._state(PRODUCTION), await self._state(ORACLE)
        for what in ("schema", "rows"):
            if production[what] != oracle[what]:
                differing = sorted(set(production[what]) ^ set(oracle[what]))
                wrong.append(f"production's {what} are not the oracle's: {differing[:6]}")
        found = await diagnose(
            with_database(self._server, PRODUCTION), {each.folder: each.sql for each in self._installed}
        )
        if not found.up_to_date:
            wrong.append(f"Prisma has something to say: {found}")
        return wrong

    async def _state(self, name: str) -> dict[str, tuple[str, ...]]:
        """The schema's lines, the tables' rows, and what Prisma's table says."""
        url = with_database(self._server, name)
        connection = await asyncpg.connect(url, statement_cache_size=0)
        tables = await connection.fetch(_TABLES)
        rows = []
        for (table,) in tables:
            digest = "count(*) || ' ' || md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), ''))"
            rows.append(f"{table} {await connection.fetchval(f'SELECT {digest} FROM {table} t')}")
        recorded: tuple[str, ...] = ()
        if await connection.fetchval("SELECT to_regclass('_prisma_migrations')"):
            found = await connection.fetch(
                "SELECT migration_name || checksum FROM _prisma_migrations ORDER BY 1"
            )
            recorded = tuple(row[0] for row in found)
        await connection.close()
        return {"schema": await schema_description(url), "rows": tuple(rows), "recorded": recorded}

    async def _execute(self, name: str, sql: str) -> None:
        connection = await asyncpg.connect(with_database(self._server, name))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


def _package(release: Release) -> Package:
    contract = [script.name for script in release.migrations if script.contracting]
    more = {f"prisma/migrations/{each.name}/migration.sql": each.sql for each in release.migrations}
    names = ", ".join(f"'{name}'" for name in contract)
    return read_package(packed(a_package(manifest=f"[migrations]\ncontract = [{names}]\n", more=more)))


def _published(package: Package) -> Published:
    return Published(
        system=package.system,
        version="1.2.0",
        package="0" * 64,
        summary="The one before",
        migrations=package_migrations(package),
        published_at=datetime.now(UTC),
        published_by="library@example.com",
    )


def _packages(package: Package) -> Packages:
    upgrade = Upgrade(
        system=package.system,
        from_version="1.2.0",
        to_version="1.3.0",
        from_package="0" * 64,
        to_package="1" * 64,
    )
    return Packages(upgrade, package, package)


def _source(planned: PlannedMigration) -> Source:
    return Source(planned.folder, planned.system, planned.name, planned.checksum)


def _told(failure: Failure) -> str:
    return "; ".join([failure.outcome.reason, *(finding.detail for finding in failure.outcome.findings)])


def main() -> None:
    """Exits 1 when a good release was stopped, a bad one was not, or production is not the oracle's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--migrations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="upgradepath-history-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", fsync=False) as server,
    ):
        seen = asyncio.run(Upgrades(server.url(), given.seed).run(given.migrations))
    print(
        f"{seen.applied} migrations in {seen.releases} releases, {time.monotonic() - began:.0f} s; stopped:"
    )
    for stopped, times in sorted(seen.stopped.items()):
        print(f"  {times} × {stopped}")
    for wrong in seen.wrong:
        print(f"WRONG: {wrong}")
    sys.exit(1 if seen.wrong else 0)


if __name__ == "__main__":
    main()
