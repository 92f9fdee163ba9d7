"""Production's columns as its catalogue describes them, and which of them refer to which."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.executor.clients.mask_likeness import Key, Reference
from services.executor.clients.mask_types import Column
from services.executor.clients.postgres import Connection
from shared.prisma.mask_words import MaskRule

# A domain may stand for another one: what it stands for in the end, and the length that one of them gives.
_COLUMNS = """
    WITH RECURSIVE base AS (
        SELECT oid AS domain, typbasetype AS type, typtypmod AS modifier FROM pg_type WHERE typtype = 'd'
        UNION ALL
        SELECT base.domain, t.typbasetype,
            CASE WHEN base.modifier >= 0 THEN base.modifier ELSE t.typtypmod END
        FROM base JOIN pg_type t ON t.oid = base.type WHERE t.typtype = 'd'
    ), last AS (SELECT base.* FROM base JOIN pg_type t ON t.oid = base.type WHERE t.typtype <> 'd')
    SELECT n.nspname AS schema, c.relname AS table, a.attname AS column, a.attnotnull AS required,
        format_type(a.atttypid, a.atttypmod) AS type, a.attgenerated <> '' AS generated,
        t.typsend = 0 OR CASE t.typtype WHEN 'd' THEN b.oid >= 16384 WHEN 'e' THEN false
            ELSE coalesce(nullif(t.typelem, 0), t.oid) >= 16384 END AS text_only,
        t.typelem <> 0 AND t.typcategory = 'A' AS many,
        CASE WHEN t.typelem <> 0 AND t.typcategory = 'A' THEN coalesce(eb.typname, e.typname)
             WHEN t.typtype = 'd' THEN b.typname ELSE t.typname END AS kind,
        CASE WHEN t.typelem <> 0 AND t.typcategory = 'A' THEN e.typcategory
             ELSE t.typcategory END::text AS category,
        c.relkind = 'p' AS partitioned,
        CASE WHEN c.relkind = 'p' THEN (SELECT sum(pg_table_size(p.relid)) FROM pg_partition_tree(c.oid) p)
             ELSE pg_table_size(c.oid) END::bigint AS bytes,
        CASE WHEN coalesce(e.typname, b.typname, t.typname) IN ('varchar', 'bpchar')
                THEN nullif(
                    greatest(CASE WHEN a.atttypmod >= 0 THEN a.atttypmod ELSE last.modifier END, 3) - 4, -1)
            WHEN coalesce(e.typname, b.typname, t.typname) = 'name' THEN 63 END AS characters,
        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indnkeyatts = 1
            AND i.indkey[0] = a.attnum) AS unique,
        NOT coalesce((SELECT l.collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation), true)
            AS loose,
        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
            AND a.attnum = ANY (i.indkey::int2[])) AS primary,
        EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.convalidated
            AND a.attnum = ANY (k.conkey)) AS refers,
        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion)
            AND (a.attnum = ANY (i.indkey::int2[]) OR EXISTS (SELECT FROM pg_depend d
                WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                AND d.refobjid = c.oid AND d.refobjsubid = a.attnum))) AS apart,
        (SELECT array_agg(l.enumlabel::text ORDER BY l.enumsortorder) FROM pg_enum l
            WHERE l.enumtypid IN (t.oid, e.oid, b.oid, eb.oid)) AS labels,
        CASE WHEN 'numeric' IN (t.typname, b.typname, e.typname, eb.typname)
            THEN nullif(greatest(a.atttypmod, last.modifier, elast.modifier), -1) - 4 END AS modifier
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type e ON e.oid = t.typelem LEFT JOIN last ON last.domain = t.oid
    LEFT JOIN pg_type b ON b.oid = last.type
    LEFT JOIN last elast ON elast.domain = e.oid LEFT JOIN pg_type eb ON eb.oid = elast.type
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'upgradepath')
    AND c.relname <> '_prisma_migrations'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
        AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY n.nspname, c.relname, a.attnum
"""
_REFERENCES = """
    SELECT k.oid AS constraint, n.nspname AS schema, c.relname AS table, a.attname AS column,
        fn.nspname AS to_schema, f.relname AS to_table, fa.attname AS to_column
    FROM pg_constraint k, unnest(k.conkey, k.confkey) AS pair(own, theirs), pg_class c, pg_namespace n,
        pg_attribute a, pg_class f, pg_namespace fn, pg_attribute fa
    WHERE k.contype = 'f' AND c.oid = k.conrelid AND n.oid = c.relnamespace
    AND a.attrelid = c.oid AND a.attnum = pair.own
    AND f.oid = k.confrelid AND fn.oid = f.relnamespace AND fa.attrelid = f.oid AND fa.attnum = pair.theirs
"""


async def columns_of(source: Connection) -> list[Column]:
    """Every column of every table that the migrations made."""
    return [_column(dict(record)) for record in await source.fetch(_COLUMNS)]


async def references_of(source: Connection) -> list[Reference]:
    """Every column that refers to another, by each of its constraints."""
    return [Reference(row[0], tuple(row)[1:4], tuple(row)[4:]) for row in await source.fetch(_REFERENCES)]


async def described(
    source: Connection, left_alone: Collection[str] = ()
) -> tuple[list[Column], list[Reference]]:
    """Production's columns and references, without the schemas `left_alone`."""
    columns = [each for each in await columns_of(source) if each.schema not in left_alone]
    there = {column.key for column in columns}
    references = [each for each in await references_of(source) if {each.own, each.theirs} <= there]
    following = _following(columns, references)
    return [replace(each, refers=each.key in following) for each in columns], references


def _following(columns: Sequence[Column], references: Sequence[Reference]) -> set[Key]:
    """The columns whose chain of references ends at one that says for itself how it is masked.

    What refers to a schema that is not copied, in a ring, or to a generated column follows nothing: its
    values would leave production by nobody's rule.
    """
    referring = {column.key for column in columns if column.refers}
    ends = {column.key for column in columns if not (column.refers or column.generated)}
    found: set[Key] = set()
    while more := {
        each.own for each in references if each.own in referring - found and each.theirs in ends | found
    }:
        found |= more
    return found


def followed(
    said: Mapping[Key, MaskRule | None], columns: Sequence[Column], references: Sequence[Reference]
) -> dict[Key, MaskRule | None]:
    """The rules that are `said`, and of a reference without one that of the column which it refers to."""
    rules = dict(said)
    silent = {column.key for column in columns if column.refers and rules.get(column.key) is None}
    # A chain of references has as many links as there are columns at the most.
    for _ in silent:
        found = {
            each.own: rule
            for each in references
            if each.own in silent
            and (rule := rules.get(each.theirs)) not in (None, rules.get(each.own))
            and rules.get(each.own) is None
        }
        if not found:
            break
        rules |= found
    return rules


def _column(record: dict[str, Any]) -> Column:
    modifier, labels = record.pop("modifier"), record.pop("labels")
    if modifier is not None:
        # Eleven bits with a sign. Source: numeric_typmod_scale in PostgreSQL's numeric.c
        record |= {"digits": modifier >> 16, "scale": ((modifier & 0x7FF) ^ 1024) - 1024}
    return Column(**record, labels=None if labels is None else tuple(labels))
