"""Where a database's migration history and the repository's folders do not tell the same story. Pure."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from services.executor.clients.migration_files import FOLDER, Migration
from services.executor.clients.migration_table import Row
from shared.contracts.stages import Finding
from shared.reading.progress import now_reading
from shared.sql.concerns import Concern, grouped
from shared.sql.permitted import refused_in
from shared.sql.script import alone_in, faults_of, read_statements

_STAMPED = re.compile(r"\d{14}_")
_NAME_BYTES_MAX = 255
_VALUE = re.compile(r': *+".*+')
# What may simply be done again after a crash in its middle.
_AGAIN = ("VACUUM", "REINDEX")


def finding(subject: str, detail: str, cure: str) -> Finding:
    return Finding(kind="migration", subject=subject, detail=detail, cure=cure)


def misfits(rows: Sequence[Row], by_folder: Mapping[str, Migration], run: Collection[str]) -> list[Finding]:
    """What is failed, edited, missing, renamed, out of order, or in the repository only.

    `run` names the folders that are to be applied by this Run, all of them: now, before, or later.
    """
    done = {row.name for row in rows if row.applied}
    pending = {name: each for name, each in by_folder.items() if name not in done}
    last = max((name for name in done if name not in run and _STAMPED.match(name)), default="")
    parent = next((each.parent for each in by_folder.values()), FOLDER)
    found = [finding for row in rows for finding in _of_row(row, parent, by_folder, pending)]
    for name in sorted(pending.keys() - {row.name for row in rows if row.unfinished}):
        found += _of_pending(name, name in run, last)
    return found


def script_faults(migrations: Collection[Migration]) -> list[Finding]:
    """Why one of these could not run or not be undone, found by reading."""
    found: list[Finding] = []
    for each in migrations:
        path = each.path
        now_reading(f"{path}/migration.sql")
        if len(each.folder.encode()) > _NAME_BYTES_MAX:
            found.append(finding(path, "Prisma keeps no name longer than 255 bytes.", "shorten the name"))
        for fault in faults_of(each.sql):
            found.append(finding(f"{path}/migration.sql:{fault.line}", f"{fault.reason}.", fault.cure))
        if each.down_sql is not None:
            found += _down_faults(f"{path}/down.sql", each.down_sql)
    return found + not_permitted(migrations)


def not_permitted(migrations: Iterable[Migration]) -> list[Finding]:
    """Why these must not run anywhere, however they came here: SQL that reaches beyond the Project's schemas.

    The registry has judged packages in the same way. A branch may carry other scripts, and a registry may be
    an older one.
    """
    concerns = [
        (f"{each.path}/{name}", concern)
        for each in migrations
        for name, sql in (("migration.sql", each.sql), ("down.sql", each.down_sql or ""))
        for concern in _refused_in(f"{each.path}/{name}", sql)
    ]
    # What cannot be read at all is told by its line, with the other faults of a script.
    return [
        finding(group.first, f"It must not run. {group.sentence}.", group.cure)
        for group in grouped((name, concern) for name, concern in concerns if concern.statement)
    ]


def _refused_in(path: str, sql: str) -> tuple[Concern, ...]:
    now_reading(path)
    return refused_in(sql)


def _down_faults(path: str, sql: str) -> Iterator[Finding]:
    now_reading(path)
    faults = faults_of(sql)
    for fault in faults:
        yield finding(f"{path}:{fault.line}", f"{fault.reason}.", fault.cure)
    for statement in () if faults else read_statements(sql):
        if statement.opens_transaction or statement.commits:
            yield finding(
                f"{path}:{statement.line}",
                "The way back is one transaction already, together with what is undone before and after it.",
                f"leave out {statement.tokens[0]}",
            )


def _of_row(
    row: Row, parent: str, by_folder: Mapping[str, Migration], pending: Mapping[str, Migration]
) -> Iterator[Finding]:
    known = by_folder.get(row.name)
    if row.unfinished:
        yield from _of_unfinished(row, parent, known)
    elif row.applied and known is None:
        renamed = next((name for name, each in pending.items() if each.ran_as(row.checksum)), None)
        if renamed is not None:
            yield finding(
                row.name,
                f"It was renamed to {renamed} after it was applied, and would be applied again.",
                f"name the folder {parent}/{row.name} again",
            )
        else:
            yield finding(
                row.name,
                "It is applied to the database, but the repository has no such folder.",
                f"bring back {parent}/{row.name}, as it was when it ran",
            )
    elif row.applied and known is not None and not known.ran_as(row.checksum):
        yield finding(
            row.name,
            f"It was edited after it was applied: sha256 {known.checksum}, but {row.checksum} ran.",
            f"restore {parent}/{row.name}/migration.sql and put the change into a new migration",
        )


def _of_unfinished(row: Row, parent: str, known: Migration | None) -> Iterator[Finding]:
    resolve = f"prisma migrate resolve --rolled-back {row.name} (or --applied)"
    if row.logs is not None or not row.ours or known is None:
        yield finding(
            row.name,
            f"It failed before and is not resolved (P3009): {_first_line(row.logs)}",
            f"look at what it left, then {resolve}",
        )
    elif row.parts and not known.ran_as(row.checksum):
        yield finding(
            row.name,
            f"It was edited after {row.parts} of its transactions were committed.",
            f"restore {parent}/{row.name}/migration.sql as it was when it ran",
        )
    elif _cannot_tell(known):
        yield finding(
            row.name,
            "It was interrupted, and runs outside a transaction: nobody can tell how far it came.",
            f"look at what it left, then {resolve}",
        )


def _cannot_tell(migration: Migration) -> bool:
    alone = alone_in(migration.sql)
    return alone is not None and alone.index_build is None and alone.tokens[0] not in _AGAIN


def _of_pending(name: str, wanted: bool, last: str) -> Iterator[Finding]:
    if not wanted:
        yield finding(
            name,
            "The repository has this migration, and the database has not.",
            "apply it to production first (prisma migrate deploy), or take it off the branch",
        )
    elif _STAMPED.match(name) and name < last:
        yield finding(
            name,
            f"It is out of order: {last}, which comes after it, is applied already.",
            "request a new plan, which stamps it after the last one",
        )


def _first_line(logs: str | None) -> str:
    # The rest may quote rows, and what we answer travels far from them.
    first = next(iter((logs or "").strip().splitlines()), "it was interrupted")
    return _VALUE.sub(': "…"', first)
