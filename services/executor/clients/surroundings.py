"""What stands around a migration and is told, not refused: who keeps it waiting, who does not follow.

Sessions are named by their number and age alone: the text of a query may hold personal data.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from services.executor.clients.postgres import session
from shared.contracts.impact import Lint, StatementImpact
from shared.sql.actions import DropColumn
from shared.sql.columns import Table, shown
from shared.sql.names import quoted
from shared.sql.script import Statement

LONG_S = 60
CONNECTIONS = 4
"""At once: who migrates, who dumps, who keeps the dump's snapshot, who looks."""
_SERVER = """
    SELECT (SELECT coalesce(sum(pg_table_size(c.oid)), 0)::bigint FROM pg_class c
            WHERE c.relkind IN ('r', 'm')) AS rows_bytes,
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int
            - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int AS free,
        (SELECT array_agg(evtname::text ORDER BY evtname) FROM pg_event_trigger e
            WHERE evtenabled <> 'D' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
            AND d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid)) AS triggers,
        (SELECT array_agg(slot_name::text ORDER BY slot_name) FROM pg_replication_slots
            WHERE slot_type = 'logical' AND database = current_database()) AS slots,
        (SELECT array_agg(subname::text ORDER BY subname) FROM pg_subscription s JOIN pg_database b
            ON b.oid = s.subdbid WHERE b.datname = current_database()) AS subscriptions,
        current_user AS role,
        (SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user) AS makes_databases
"""
_TABLES = """
    SELECT w.name, c.oid, pg_total_relation_size(c.oid) AS bytes,
        (SELECT array_agg(p.pubname::text ORDER BY p.pubname) FROM pg_publication_tables p
            WHERE p.schemaname = n.nspname AND p.tablename = c.relname) AS publications,
        (SELECT jsonb_object_agg(a.attname, p.pubname) FROM pg_depend d JOIN pg_publication_rel r
            ON d.classid = 'pg_publication_rel'::regclass AND r.oid = d.objid
            JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_attribute a ON a.attrelid = c.oid
            AND a.attnum = d.refobjsubid WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
            AND d.refobjsubid > 0)::text AS listed
    FROM unnest($1::text[]) AS w (name) JOIN pg_class c ON c.oid = to_regclass(w.name)
    JOIN pg_namespace n ON n.oid = c.relnamespace
"""
# Of other roles' sessions a role without pg_read_all_stats sees the locks, and not since when.
_HOLDERS = """
    SELECT l.relation, l.pid, extract(epoch FROM now() - a.xact_start)::int AS age_s
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.relation = ANY($1::oid[]) AND l.granted AND l.pid <> pg_backend_pid()
        AND coalesce(extract(epoch FROM now() - a.xact_start), $2) >= $2
    GROUP BY 1, 2, 3 ORDER BY 3 DESC NULLS LAST, 2
"""
_OLD = """
    SELECT pid, extract(epoch FROM now() - xact_start)::int AS age_s FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND extract(epoch FROM now() - xact_start) >= $1 ORDER BY 2 DESC, 1
"""


async def surroundings(
    url: str,
    scripts: Mapping[str, Sequence[Statement]],
    impacts: Mapping[str, Sequence[StatementImpact]],
    *,
    room_bytes: int,
    long_s: int = LONG_S,
) -> dict[str, tuple[Lint, ...]]:
    """Per script, in their order, what its maintainer should know of the server; reads only.

    `room_bytes` is what this worker has for a dump; a transaction is worth a word after `long_s`.
    Raises Retry when the database cannot be asked.
    """
    named = {table for each in scripts.values() for one in each for table in _tables(one)}
    async with session(url) as connection:
        server = await connection.fetchrow(_SERVER)
        tables = {each["name"]: each for each in await connection.fetch(_TABLES, [quoted(*t) for t in named])}
        holders = await connection.fetch(_HOLDERS, [each["oid"] for each in tables.values()], long_s)
        old = await connection.fetch(_OLD, long_s)
    first = next((folder for folder, statements in scripts.items() if statements), None)
    found: dict[str, tuple[Lint, ...]] = {}
    for folder, statements in scripts.items():
        lints = list(_of_server(server, room_bytes)) if folder == first else []
        for statement, impact in zip(statements, impacts[folder], strict=True):
            lints += _of_statement(statement, impact, tables, holders, old)
        found[folder] = tuple(dict.fromkeys(lints))
    return found


def _tables(statement: Statement) -> list[Table]:
    named = (getattr(action, "table", None) for action in statement.actions)
    return [table for table in dict.fromkeys(named) if table is not None]


def _of_server(server: Mapping[str, object], free: int) -> Iterator[Lint]:
    need = int(str(server["rows_bytes"]))
    if free < need:
        yield _lint(
            1,
            "disk-of-the-worker",
            f"A dump may need up to {_size(need)}, and this worker has {_size(free)} for it.",
            "give the worker a larger scratch folder, unless the rows compress well",
        )
    if int(str(server["free"])) < CONNECTIONS:
        yield _lint(
            1,
            "connections",
            f"The server has {server['free']} connections left, and an upgrade takes up to {CONNECTIONS}.",
            "raise max_connections, or let fewer clients connect meanwhile",
        )
    if not server["makes_databases"]:
        yield _lint(
            1,
            "backup-not-tried",
            "Production's role may not make a database, so whether a backup comes back cannot be tried.",
            f'ALTER ROLE "{server["role"]}" CREATEDB',
        )
    for rule, names, what, cure in (
        ("event-triggers", server["triggers"], "fire on what migrations do",
         "see what they do, or disable them"),
        ("logical-replication", server["slots"], "are logical replication slots, which do not carry DDL",
         "change what reads them first, so that it takes the new schema"),
        ("logical-replication", server["subscriptions"], "bring rows from elsewhere, and no DDL",
         "migrate the publisher in the order that its columns ask for"),
    ):  # fmt: skip
        if isinstance(names, list) and names:
            yield _lint(1, rule, f"{', '.join(names)} {what}.", cure)


def _of_statement(
    statement: Statement,
    impact: StatementImpact,
    tables: Mapping[str, Mapping[str, object]],
    holders: Sequence[Mapping[str, object]],
    old: Sequence[Mapping[str, object]],
) -> Iterator[Lint]:
    line = statement.line
    for table in _tables(statement):
        known = tables.get(quoted(*table))
        if known is None:
            continue
        name = shown(table)
        if impact.kind == "rewriting":
            yield _lint(
                line,
                "disk-of-the-server",
                f"{name} is written anew: up to {_size(int(str(known['bytes'])))} more while it is."
                " How much is free there is unknown: PostgreSQL does not tell.",
                "look at the server's disk before you approve",
            )
        if isinstance(known["publications"], list) and impact.kind != "backfill":
            names = ", ".join(known["publications"])
            cure = "change the subscribers' tables, too: added columns there first, dropped ones here first"
            yield _lint(
                line, "logical-replication", f"{name} is published by {names}, without its DDL.", cure
            )
        yield from _of_columns(statement, table, json.loads(str(known["listed"] or "{}")))
        for holder in holders:
            if holder["relation"] == known["oid"]:
                cure = (
                    "end it, or wait for it; a migration gives up its lock again and again until it is gone"
                )
                yield _lint(line, "waits-for-a-session", f"{_who(holder)} holds a lock on {name}.", cure)
    if statement.runs_alone:
        for each in old:
            cure = "end it, or wait for it: what runs concurrently waits for every older transaction"
            yield _lint(line, "waits-for-a-session", f"{_who(each)} has a transaction open.", cure)


def _of_columns(statement: Statement, table: Table, listed: Mapping[str, str]) -> Iterator[Lint]:
    """`listed` has the publication that names a column, by the column."""
    for action in statement.actions:
        if isinstance(action, DropColumn) and action.table == table and (by := listed.get(action.column)):
            yield _lint(
                statement.line,
                "published-column",
                f"Publication {by} names {shown(table)}.{action.column}: production does not let it go.",
                f"ALTER PUBLICATION {quoted(by)} SET TABLE … without it, before the upgrade",
            )


def _who(holder: Mapping[str, object]) -> str:
    age = "an age that this role may not see" if holder["age_s"] is None else f"{holder['age_s']} s"
    return f"Session {holder['pid']} ({age})"


def _lint(line: int, rule: str, message: str, cure: str) -> Lint:
    return Lint(line=line, rule=rule, message=message, cure=cure)


def room_in(folder: Path) -> int:
    """The bytes that are free in a folder, or in what it will be made in."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free


def _size(number: int) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{max(1, number >> 20)} MiB"
