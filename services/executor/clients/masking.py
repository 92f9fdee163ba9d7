"""Copy production's rows into staging, with every personal column masked on its way out of production.

The masking is done by production's SELECT inside a read-only snapshot: real data never lands in staging.
"""

import secrets
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from services.executor.clients.dressing import dress, dressing
from services.executor.clients.mask_plan import TablePlan, plan_copy
from services.executor.clients.mask_weakening import Masks
from services.executor.clients.postgres import Connection, quoted, schema_description, session, words
from services.executor.clients.prisma import Model
from services.executor.clients.role_powers import PARAMETER_RIGHTS_FROM
from services.executor.clients.sampling import choose
from services.executor.clients.set_aside import SetAside, put_back, set_aside
from services.executor.clients.suspended_rules import resume, suspend
from services.executor.clients.table_copy import copy_table, is_verdict, misfit, together
from shared.clients.database_urls import place
from shared.contracts.projects import StagingData
from shared.contracts.stages import Finding
from shared.errors import Failure

_LANES_MAX = 4
"""Tables that are copied at a time: each costs production one connection."""
_LARGE_BYTES = 16 << 20
_ROW_BYTES = 500
"""A guess at a row of which only some are copied."""
_VIEWS = (
    "SELECT format('%I.%I', n.nspname, c.relname) AS name"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'm' {condition} ORDER BY c.oid"
)


@dataclass(frozen=True)
class Copied:
    """Rows per table (with its schema unless that is `public`) and how many columns were masked."""

    rows: dict[str, int]
    masked_columns: int


class Progress:
    """How far a copy is. `total_bytes` is production's estimate, which the rows on their way may miss."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self.bytes = 0
        self.tables: list[str] = []
        """Those that are under way."""

    def moved(self, count: int) -> None:
        self.bytes += count

    def __str__(self) -> str:
        # What travels is smaller than what lies in the tables, so the whole is only about so much.
        return (
            f"{self.bytes >> 20} of about {self.total_bytes >> 20} MiB: {', '.join(self.tables) or 'indexes'}"
        )


async def masked_copy(
    production: str,
    staging: str,
    models: Sequence[Model],
    progress: Progress | None = None,
    data: StagingData = StagingData(),
    left_alone: Collection[str] = (),
    accepted: Masks | None = None,
) -> Copied:
    """Fill staging, whose schema is there already, with production's rows as of one moment.

    `data` says of which tables a sample is enough; a row that is kept brings what it refers to. Nothing is
    copied of the schemas that are to be `left_alone`. No rule may mask less than the `accepted` ones.

    Values that were equal stay equal within the copy, so joins hold; no two copies give the same values.
    Raises Failure, naming each field and its cure, before a row is read when a text column has no rule, a
    rule does not fit, or production has a column that no schema file knows.
    """
    progress = progress or Progress()
    salt = secrets.token_hex(16)
    async with _reading(production) as source:
        plans = await _sampled(source, await plan_copy(source, models, salt, left_alone, accepted), data)
        progress.total_bytes = sum(plan.bytes for plan in plans)
        before = await schema_description(staging)
        async with _writing(staging) as target:
            worn = await dressing(target)
            rules = await suspend(target, replica=await _is_replica(target))
            await _empty(target, plans)
            large = [plan for plan in plans if plan.bytes >= _LARGE_BYTES]
            aside = {
                plan: await set_aside(target, plan.schema, plan.table, partitioned=plan.partitioned)
                for plan in large
            }
            lanes = _Lanes(production, staging, progress, aside)
            rows = await lanes.copy(source, target, plans)
            await _refer(target, aside)
            await resume(target, rules)
            await _set_sequences(source, target, left_alone)
            await _refresh_views(source, target)
            if any(each.own for each in aside.values()):
                # Made again, they lack their comments, and nothing is clustered or replicated by them.
                await dress(target, worn)
    if rules.back or rules.judged or any(each.own for each in aside.values()):
        await _require_as_before(staging, before)
    return Copied(dict(sorted(rows.items())), sum(plan.masked for plan in plans))


async def _sampled(source: Connection, plans: Sequence[TablePlan], data: StagingData) -> Sequence[TablePlan]:
    by_label = {plan.label: plan for plan in plans}
    if unknown := sorted(data.rows.keys() - by_label.keys()):
        raise Failure(
            f"staging.rows names tables that production does not have: {', '.join(unknown)}",
            *(
                Finding(
                    kind="project-file",
                    subject=f"staging.rows.{label}",
                    detail="Production has no such table.",
                    cure="write the name that the database has, with its schema unless that is public",
                )
                for label in unknown
            ),
        )
    tables = {(plan.schema, plan.table): plan.rows for plan in plans}
    limits = {(by_label[label].schema, by_label[label].table): rows for label, rows in data.rows.items()}
    sample = await choose(source, tables, data.rows_max, limits)
    return [
        replace(
            plan,
            query=plan.query + sample.condition((plan.schema, plan.table)),
            bytes=min(plan.bytes, len(sample.rows[plan.schema, plan.table]) * _ROW_BYTES),
        )
        if (plan.schema, plan.table) in sample.rows
        else plan
        for plan in plans
    ]


async def unmasked(production: str, models: Sequence[Model]) -> tuple[Finding, ...]:
    """Everything for which a masked copy would be refused, each with its cure; reads no row."""
    async with _reading(production) as source:
        try:
            await plan_copy(source, models, "")
        except Failure as failure:
            return failure.outcome.findings
    return ()


class _Lanes:
    """Copies tables side by side, the largest first, all of them as of one moment."""

    def __init__(
        self, production: str, staging: str, progress: Progress, aside: dict[TablePlan, SetAside]
    ) -> None:
        self._production = production
        self._staging = staging
        self._progress = progress
        self._aside = aside
        self._rows: dict[str, int] = {}

    async def copy(
        self, source: Connection, target: Connection, plans: Sequence[TablePlan]
    ) -> dict[str, int]:
        """Rows per table. The two connections are the first lane; another is opened per large table."""
        waiting = iter(sorted(plans, key=lambda plan: plan.bytes, reverse=True))
        more = min(_LANES_MAX, sum(plan.bytes >= _LARGE_BYTES for plan in plans)) - 1
        snapshot: str = await source.fetchval("SELECT pg_export_snapshot()") if more > 0 else ""
        await together(
            [
                self._lane(source, target, waiting),
                *(self._another_lane(snapshot, waiting) for _ in range(more)),
            ]
        )
        return self._rows

    async def _another_lane(self, snapshot: str, waiting: Iterator[TablePlan]) -> None:
        async with _reading(self._production, snapshot) as source, _writing(self._staging) as target:
            await self._lane(source, target, waiting)

    async def _lane(self, source: Connection, target: Connection, waiting: Iterator[TablePlan]) -> None:
        for plan in waiting:
            self._progress.tables.append(plan.label)
            self._rows[plan.label] = await copy_table(source, target, plan, self._progress.moved)
            if plan in self._aside:
                try:
                    await put_back(target, self._aside[plan].own)
                except asyncpg.PostgresError as error:
                    if not is_verdict(error):
                        raise
                    raise misfit(plan.label, error) from error
                # Without it the database guesses how long a migration's statements take.
                await target.execute(f"ANALYZE {quoted(plan.schema, plan.table)}")
            self._progress.tables.remove(plan.label)


@asynccontextmanager
async def _reading(production: str, snapshot: str = "") -> AsyncIterator[Connection]:
    """A session inside a read-only snapshot: a new one, or the named one of another session."""
    async with session(production, statement_timeout_s=0, plain=True) as source:
        # Rows that a policy hides from the role would be missing in silence.
        await source.execute("SET row_security = off")
        async with source.transaction(isolation="repeatable_read", readonly=True):
            if snapshot:
                await source.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            yield source


@asynccontextmanager
async def _writing(staging: str) -> AsyncIterator[Connection]:
    async with session(staging, statement_timeout_s=0, plain=True) as target:
        try:
            # Triggers and foreign keys held for these rows in production; the order of tables is then free.
            await target.execute("SET session_replication_role = replica")
        except asyncpg.InsufficientPrivilegeError as error:
            if target.get_server_version().major < PARAMETER_RIGHTS_FROM:
                yield target
                return
            raise Failure(
                "staging's role may not load rows without firing triggers",
                Finding(
                    kind="environment",
                    subject="environments.staging.database",
                    detail=f"{place(staging)}: {error}",
                    cure="as a superuser: GRANT SET ON PARAMETER session_replication_role"
                    " TO <the staging role>",
                ),
            ) from error
        yield target


async def _is_replica(target: Connection) -> bool:
    """False where nobody can let the role silence triggers: the owner takes them away instead."""
    role: str = await target.fetchval("SHOW session_replication_role")
    return role == "replica"


async def _empty(target: Connection, plans: Sequence[TablePlan]) -> None:
    # Migrations may have put rows there; production's are the ones that count.
    if plans:
        await target.execute(f"TRUNCATE {', '.join(quoted(plan.schema, plan.table) for plan in plans)}")


async def _refer(target: Connection, aside: dict[TablePlan, SetAside]) -> None:
    """Bring the references back once both of their tables are filled."""
    for plan, each in aside.items():
        try:
            await put_back(target, each.references)
        except asyncpg.PostgresError as error:
            if not is_verdict(error):
                raise
            raise misfit(f"those that refer to {plan.label}", error) from error


async def _require_as_before(staging: str, before: tuple[str, ...]) -> None:
    """Nothing that was set aside may be missing: staging would prove less than it says."""
    after = await schema_description(staging)
    if after != before:
        different = "; ".join(sorted(set(before) ^ set(after)))
        raise RuntimeError(f"staging's schema is not as it was before its rows came: {different}")


async def _set_sequences(source: Connection, target: Connection, left_alone: Collection[str]) -> None:
    found = await source.fetch(
        "SELECT schemaname, sequencename, last_value FROM pg_sequences"
        " WHERE schemaname !~ '^pg_' AND schemaname NOT IN ('information_schema', 'upgradepath')"
        " AND last_value IS NOT NULL AND schemaname <> ALL ($1::text[])",
        list(left_alone),
    )
    for schema, name, value in found:
        await target.execute("SELECT setval($1::text::regclass, $2)", quoted(schema, name), value)


async def _refresh_views(source: Connection, target: Connection) -> None:
    """Fill those that production has filled. Raises Failure, naming the view, for one that cannot be."""
    empty = {name for (name,) in await source.fetch(_VIEWS.format(condition="AND NOT relispopulated"))}
    # One may read another, which is then older.
    for (name,) in await target.fetch(_VIEWS.format(condition="")):
        if name in empty:
            continue
        try:
            await target.execute(f"REFRESH MATERIALIZED VIEW {name}")
        except asyncpg.PostgresError as error:
            if not is_verdict(error):
                raise
            raise Failure(
                f"the materialized view {name} cannot be filled from the masked rows",
                Finding(
                    kind="project-file",
                    subject=name,
                    detail=words(error),
                    cure="give the columns that the view reads another mask rule (`keep` where no person is"
                    " named), or let the view allow for masked values in a migration",
                ),
            ) from error
