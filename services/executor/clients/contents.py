"""The contents of a database as a backup should bring them back: rows, sequences, large objects, versions.

What stands in them is summed up by the server, table by table, so that a database of any size takes little
memory here. Sums depend on no order, neither of rows nor of columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from services.executor.clients.catalogue import NOT_OURS, not_extension
from services.executor.clients.postgres import Connection, literal, quoted, session
from services.executor.clients.row_digests import ROW_SUM, RowDigest
from shared.sql.columns import shown

_SCAN_S = 3600.0
_LOCK_TIMEOUT_S = 30.0
_NOT_FOREIGN = "NOT n.nspname = ANY($1::text[])"
# A restore computes a materialized view anew, and may rightly find other rows: said, and no difference.
_VIEWS = f"""
    SELECT n.nspname AS schema, c.relname AS name, (
        SELECT array_agg(a.attname ORDER BY a.attname) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'm' AND c.relispopulated AND {_NOT_FOREIGN} AND {NOT_OURS}
    AND {not_extension("pg_class", "c")} ORDER BY 1, 2
"""
_TABLES = f"""
    SELECT n.nspname AS schema, c.relname AS name, (
        SELECT array_agg(a.attname ORDER BY a.attname) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {_NOT_FOREIGN} AND {NOT_OURS}
    AND {not_extension("pg_class", "c")} ORDER BY 1, 2
"""
_SEQUENCES = f"""
    SELECT n.nspname AS schema, c.relname AS name, s.seqincrement AS step
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't' AND {_NOT_FOREIGN} AND {NOT_OURS} AND {not_extension("pg_class", "c")}
    ORDER BY 1, 2
"""
_OF_DATABASE = "the database: datcollversion"
_PIECE_BYTES = 16 * 2**20
# Piece by piece: one may have 4 TB, and no value more than 1 GB. What follows a whole piece is asked for.
_LARGE_OBJECTS = f"""
    WITH RECURSIVE pieces AS (
        SELECT m.oid, 0::bigint AS at, length(p.piece) AS length, sha256(p.piece) AS sum
        FROM pg_largeobject_metadata m,
            LATERAL (SELECT lo_get(m.oid, 0, {_PIECE_BYTES}) AS piece OFFSET 0) p
        UNION ALL
        SELECT s.oid, s.at + {_PIECE_BYTES}, length(p.piece), sha256(p.piece)
        FROM pieces s,
            LATERAL (SELECT lo_get(s.oid, s.at + {_PIECE_BYTES}, {_PIECE_BYTES}) AS piece OFFSET 0) p
        WHERE s.length = {_PIECE_BYTES})
    SELECT count(*) FILTER (WHERE at = 0), coalesce(
        sum(hashtextextended(oid || ' ' || at || ' ' || encode(sum, 'hex'), 0)::numeric), 0)::text
    FROM pieces
"""
# The version of an extension is of the functions that are called. That of a collation is of the operating
# system that sorted the indexes: a copy is sorted anew, so it has today's.
_VERSIONS = f"""
    SELECT 'extension ' || e.extname AS thing, e.extversion AS version FROM pg_extension e
    UNION ALL SELECT format('collation %I.%I', n.nspname, c.collname), coalesce(c.collversion, '')
    FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE {_NOT_FOREIGN} AND {NOT_OURS} AND {not_extension("pg_collation", "c")}
    UNION ALL SELECT 'the database: ' || key, value FROM pg_database d, jsonb_each_text(to_jsonb(d))
    WHERE d.datname = current_database() AND key IN ('encoding', 'datcollate', 'datctype', 'datlocprovider',
        'datlocale', 'daticulocale', 'daticurules', 'datcollversion')
    UNION ALL SELECT format('materialized view %I.%I', n.nspname, c.relname),
        CASE WHEN c.relispopulated THEN 'filled' ELSE 'not filled' END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'm' AND {_NOT_FOREIGN} AND {NOT_OURS} AND {not_extension("pg_class", "c")}
"""


@dataclass(frozen=True)
class Contents:
    """Tables and sequences by name, things with a version by what they are."""

    rows: dict[str, RowDigest]
    sequences: dict[str, int]
    """The last number that was given out, or the one before the first."""
    large_objects: RowDigest
    versions: dict[str, str]
    views: dict[str, RowDigest]
    """Materialized views that are filled."""

    @property
    def total(self) -> int:
        """The number of rows in all tables."""
        return sum(each.rows for each in self.rows.values())


async def contents(url: str, foreign: list[str], snapshot: str | None = None) -> Contents:
    """Read in one snapshot, or in the one that is named; the schemas in `foreign` are left out.

    Raises asyncpg's error when a policy hides rows from the role: nothing is counted that is not all.
    """
    async with (
        session(url, lock_timeout_s=_LOCK_TIMEOUT_S, statement_timeout_s=_SCAN_S, plain=True) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        if snapshot is not None:
            await connection.execute(f"SET TRANSACTION SNAPSHOT {literal(snapshot)}")
        await connection.execute("SET LOCAL row_security = off")
        rows: dict[str, RowDigest] = {}
        views: dict[str, RowDigest] = {}
        for known, query in ((rows, _TABLES), (views, _VIEWS)):
            for table in await connection.fetch(query, foreign):
                known[shown((table["schema"], table["name"]))] = await _digest(connection, table)
        sequences = await _sequences(connection, foreign)
        large_objects = RowDigest(*await connection.fetchrow(_LARGE_OBJECTS))
        versions = {row["thing"]: row["version"] for row in await connection.fetch(_VERSIONS, foreign)}
    return Contents(rows, sequences, large_objects, versions, views)


async def sequences(url: str, foreign: list[str]) -> dict[str, int]:
    """The sequences alone: they go on while a snapshot stands still."""
    async with session(url, lock_timeout_s=_LOCK_TIMEOUT_S) as connection:
        return await _sequences(connection, foreign)


def made_anew(wanted: Contents, found: Contents) -> Iterator[str]:
    """A copy has these anew, which is no difference: versions of collations, rows of materialized views; each
    with what brings production there."""
    for thing in sorted(wanted.versions.keys() & found.versions.keys()):
        one, other = wanted.versions[thing], found.versions[thing]
        if one != other and _is_collation(thing):
            refresh = "DATABASE … REFRESH COLLATION" if thing == _OF_DATABASE else "COLLATION … REFRESH"
            yield f"{thing} {_known(one)}, in a copy {_known(other)} (REINDEX, then ALTER {refresh} VERSION)"
    for name in sorted(wanted.views.keys() & found.views.keys()):
        before, now = wanted.views[name], found.views[name]
        if before != now:
            rows = f"{before.rows:,} rows, in a copy {now.rows:,}, not the same"
            yield f"materialized view {name} {rows} (REFRESH MATERIALIZED VIEW computes it anew)"


def differences(wanted: Contents, found: Contents, later: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Each thing that is otherwise, and how; `later` is where the sequences stood after the dump."""
    for name in sorted(wanted.rows.keys() | found.rows.keys()):
        before, now = wanted.rows.get(name), found.rows.get(name)
        if before != now:
            yield f"table {name}", f"rows: {_words(before)} before, {_words(now)} after"
    for name, number in wanted.sequences.items():
        low, high = sorted((number, later.get(name, number)))
        came = found.sequences.get(name)
        if came is None or not low <= came <= high:
            yield f"sequence {name}", f"it stood at {low} to {high}, and stands at {came}"
    if wanted.large_objects != found.large_objects:
        yield "large objects", f"{_words(wanted.large_objects)} before, {_words(found.large_objects)} after"
    both = wanted.versions.keys() & found.versions.keys()
    for thing in sorted(wanted.versions.keys() | found.versions.keys()):
        one, other = wanted.versions.get(thing), found.versions.get(thing)
        if one != other and not (thing in both and _is_collation(thing)):
            yield thing, f"{_known(one)} before, {_known(other)} after"


def _is_collation(thing: str) -> bool:
    return thing == _OF_DATABASE or thing.startswith("collation ")


def _words(digest: RowDigest | None) -> str:
    return "none" if digest is None else f"{digest.rows:,} with the sum {digest.sum}"


def _known(version: str | None) -> str:
    return "not there" if version is None else version or "no version"


async def _digest(connection: Connection, table: Any) -> RowDigest:
    row = ", ".join(quoted(column) for column in table["columns"] or ())
    # ONLY: the rows of a child or a partition are counted as its own.
    found = await connection.fetchrow(
        f"SELECT count(*), {ROW_SUM.format(row=row)} FROM ONLY {quoted(table['schema'], table['name'])}"
    )
    return RowDigest(*found)


async def _sequences(connection: Connection, foreign: list[str]) -> dict[str, int]:
    found = {}
    for row in await connection.fetch(_SEQUENCES, foreign):
        last, called = await connection.fetchrow(
            f"SELECT last_value, is_called FROM {quoted(row['schema'], row['name'])}"
        )
        found[shown((row["schema"], row["name"]))] = last if called else last - row["step"]
    return found
