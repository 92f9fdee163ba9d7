"""What a restore would undo: per table, what was written since a backup began, counted beforehand.

A row says which transaction wrote it last. Those that applied the Run's migrations have noted their numbers.
What a row was before, and who deleted one, nobody can tell afterwards.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from services.executor.clients.catalogue import NOT_OURS, not_extension
from services.executor.clients.postgres import Connection, quoted, session
from shared.background import end
from shared.sql.columns import shown

# As long as a dump may take: each table is read once, beside a dump that reads it anyway.
_SCAN_S = 3600.0
_LOCK_TIMEOUT_S = 30.0
# So many numbers are kept of transactions that overtook the oldest one that was open.
_OVERTAKING_MAX = 50_000
_OUR_TABLES = """
    CREATE SCHEMA IF NOT EXISTS upgradepath;
    CREATE TABLE IF NOT EXISTS upgradepath.backup_begun (
        backup text PRIMARY KEY, began xid8 NOT NULL, overtaking bigint[] NOT NULL
    );
    CREATE TABLE IF NOT EXISTS upgradepath.backup_table (
        backup text, relation oid, name text NOT NULL, rows bigint NOT NULL, PRIMARY KEY (backup, relation)
    );
"""
# A partition's rows are told under its table's name, and none is asked for rows that lie elsewhere.
_TABLES = f"""
    SELECT c.oid AS relation, n.nspname AS schema, c.relname AS name,
        rn.nspname AS root_schema, r.relname AS root
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class r ON r.oid = CASE WHEN c.relispartition THEN pg_partition_root(c.oid) ELSE c.oid END
    JOIN pg_namespace rn ON rn.oid = r.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.relname <> '_prisma_migrations'
    AND {NOT_OURS} AND {not_extension("pg_class", "c")}
    ORDER BY c.oid
"""
# Half of all numbers: further apart, none is before or after another.
_APART_MAX = 2**31 - 1


@dataclass(frozen=True)
class Counts:
    """Rows of one table, in numbers."""

    then: int = 0
    """In the backup."""
    untouched: int = 0
    """There now as the backup has them."""
    written: int = 0
    """There now, and last written since by others than the upgrade: added or changed."""
    upgraded: int = 0
    """There now, and last written since by the upgrade."""

    @property
    def gone(self) -> int:
        """Of the backup's rows, those removed or changed since, by anybody.

        Exact where the upgrade wrote no row that is there. Where it did, at least: some may be new ones.
        """
        return max(0, self.then - self.untouched - self.upgraded)


@dataclass(frozen=True)
class Written:
    """Table to its counts, only of those in which something was written or is gone."""

    tables: dict[str, Counts]
    untold: tuple[str, ...] = ()
    """Migrations that ended transactions by themselves: their rows count as others'."""

    def words(self) -> str:
        """What is counted, and how far one may rely on it."""
        lost = [_words(name, counts) for name, counts in self.tables.items() if counts.written or counts.gone]
        upgraded = [f"{each.upgraded:,} of {name}" for name, each in self.tables.items() if each.upgraded]
        said = (
            f"A restore would undo, of what was written since the backup: {'; '.join(lost)}."
            if lost
            else "Since the backup nobody added, changed or removed a row."
        )
        ours = (
            f" ({', '.join(upgraded)}; it may have written over what others wrote before)" if upgraded else ""
        )
        said += f" Left out are the rows that the upgrade wrote{ours}, not those that it removed."
        if self.untold:
            said += f" What {', '.join(self.untold)} wrote cannot be told apart and is counted."
        return said


def _words(name: str, counts: Counts) -> str:
    # The upgrade may have written over others' rows, and added some where others removed theirs.
    least = "at least " if counts.upgraded else ""
    words = []
    if counts.written:
        words.append(f"{least}{_rows(counts.written)} added or changed")
    if counts.gone:
        words.append(f"{least}{counts.gone:,} of {_rows(counts.then)} in the backup removed or changed")
    return f"{name}: {', '.join(words)}"


def _rows(number: int) -> str:
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


@dataclass
class Beginning:
    """Where a backup begins: a snapshot for the dump, and each table's number of rows in it."""

    snapshot: str
    began: int
    overtaking: list[int] = field(default_factory=list)
    """Transactions not before `began` whose rows are in the snapshot all the same."""
    rows: list[tuple[int, str, int]] = field(default_factory=list)
    """A table's oid, name and number of rows."""


@asynccontextmanager
async def beginning(url: str, *, overtaking_max: int = _OVERTAKING_MAX) -> AsyncIterator[Beginning]:
    """A snapshot that a dump can share as long as this is open. Writes nothing.

    Its tables are counted meanwhile: the numbers are there once it has ended. With more than `overtaking_max`
    such transactions, what they wrote counts as written since the backup.
    """
    async with (
        session(url, lock_timeout_s=_LOCK_TIMEOUT_S, statement_timeout_s=_SCAN_S) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        # It waits for the dump's end, and nothing is said over it meanwhile.
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        found = await connection.fetchrow(
            "SELECT pg_export_snapshot(), pg_snapshot_xmin(pg_current_snapshot())::text"
        )
        noted = Beginning(found[0], int(found[1]))
        counting = asyncio.create_task(_count(connection, noted, overtaking_max))
        try:
            yield noted
            await counting
        finally:
            await end(counting)


async def _count(connection: Connection, noted: Beginning, overtaking_max: int) -> None:
    overtaking: set[int] = set()
    recent: list[int] = []
    for table in await connection.fetch(_TABLES):
        row = await connection.fetchrow(
            f"SELECT count(*), count(*) FILTER (WHERE {_since(noted.began)}), (array_agg(DISTINCT"
            f" xmin::text::bigint) FILTER (WHERE {_since(noted.began)}))[1:{overtaking_max + 1}]"
            f" FROM ONLY {quoted(table['schema'], table['name'])}"
        )
        noted.rows.append((table["relation"], _name(table), row[0]))
        recent.append(row[1])
        overtaking |= set(row[2] or ())
    if len(overtaking) <= overtaking_max:
        noted.overtaking = sorted(overtaking)
    else:
        # A transaction has been open for very long: all since it began counts as written since the backup.
        noted.rows = [(*row[:2], row[2] - later) for row, later in zip(noted.rows, recent, strict=True)]


async def keep(url: str, backup: str, noted: Beginning) -> None:
    """Note it for the backup with this digest, in the `upgradepath` schema, which no dump holds."""
    async with session(url) as connection, connection.transaction():
        await connection.execute(_OUR_TABLES)
        await connection.execute(
            "INSERT INTO upgradepath.backup_begun VALUES ($1, $2::text::xid8, $3) ON CONFLICT DO NOTHING",
            backup,
            str(noted.began),
            noted.overtaking,
        )
        await connection.executemany(
            "INSERT INTO upgradepath.backup_table VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            [(backup, *row) for row in noted.rows],
        )


async def since_backup(url: str, backup: str, folders: Collection[str]) -> Written | None:
    """What was written since the backup with this digest began, rows that these migrations wrote left out.

    None when it is not known where it began. A row that a migration writes behind a savepoint, or in a block
    that catches errors, bears a number of its own and counts as others'. Reads only, each table once.
    """
    async with (
        session(url, lock_timeout_s=_LOCK_TIMEOUT_S, statement_timeout_s=_SCAN_S) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        if not await connection.fetchval("SELECT to_regclass('upgradepath.backup_begun') IS NOT NULL"):
            return None
        begun = await connection.fetchrow(
            "SELECT began::text::bigint AS began, overtaking,"
            " pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS now"
            " FROM upgradepath.backup_begun WHERE backup = $1",
            backup,
        )
        if begun is None or begun["now"] - begun["began"] > _APART_MAX:
            return None
        ours, untold = await _ours(connection, begun["began"], folders)
        since = f"{_since(begun['began'])} AND NOT xmin = ANY({_numbers(begun['overtaking'])})"
        counted = await _compared(connection, backup, since, _numbers(ours))
    touched = {name: each for name, each in counted.items() if each.written or each.gone or each.upgraded}
    return Written(touched, untold)


async def _compared(connection: Connection, backup: str, since: str, ours: str) -> dict[str, Counts]:
    """Each table that is there or was; one that has another name now goes by that."""
    tables = await connection.fetch(_TABLES)
    names = {table["relation"]: _name(table) for table in tables}
    then, untouched, written, upgraded = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for relation, name, rows in await connection.fetch(
        "SELECT relation, name, rows FROM upgradepath.backup_table WHERE backup = $1", backup
    ):
        then[names.get(relation, name)] += rows
    for table in tables:
        found = await connection.fetchrow(
            f"SELECT count(*) FILTER (WHERE NOT ({since})),"
            f" count(*) FILTER (WHERE {since} AND NOT xmin = ANY({ours})),"
            f" count(*) FILTER (WHERE {since} AND xmin = ANY({ours}))"
            f" FROM ONLY {quoted(table['schema'], table['name'])}"
        )
        for counter, number in zip((untouched, written, upgraded), found, strict=True):
            counter[_name(table)] += number
    return {
        name: Counts(then[name], untouched[name], written[name], upgraded[name])
        for name in sorted(then.keys() | untouched.keys())
    }


async def _ours(
    connection: Connection, began: int, folders: Collection[str]
) -> tuple[list[int], tuple[str, ...]]:
    """The numbers of the transactions that applied these, and which of them ended some by themselves."""
    if not await connection.fetchval("SELECT to_regclass('upgradepath.wrote') IS NOT NULL"):
        return [], ()
    noted = await connection.fetch(
        "SELECT DISTINCT migration_name, transaction::xid::text::bigint, alone FROM upgradepath.wrote"
        " WHERE migration_name = ANY($1::text[]) AND transaction >= $2::text::xid8",
        list(folders),
        str(began),
    )
    ours = sorted({number for _, number, alone in noted if not alone})
    return ours, tuple(sorted({name for name, _, alone in noted if alone}))


def _since(began: int) -> str:
    """Whether a row's transaction is not before this one. A number of an era long ago is of a frozen row."""
    return f"age(xmin) BETWEEN 0 AND age('{began % 2**32}'::xid)"


def _numbers(transactions: Sequence[int]) -> str:
    return f"'{{{','.join(map(str, transactions))}}}'::xid[]"


def _name(table: asyncpg.Record) -> str:
    return shown((table["root_schema"], table["root"]))
