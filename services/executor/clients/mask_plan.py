"""Decide, from production's catalogue and the schema files' rules, how each column leaves production."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from services.executor.clients.mask_file import MASKING_FILE
from services.executor.clients.mask_likeness import Key, Reference, likenesses, too_narrow
from services.executor.clients.mask_rules import Column, Likeness, expression
from services.executor.clients.postgres import Connection, quoted
from services.executor.clients.prisma import RULES, FieldOf, MaskRule, Model
from shared.contracts.stages import Finding
from shared.errors import Failure

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
        CASE WHEN t.typelem <> 0 AND t.typcategory = 'A' THEN e.typname
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
            AS loose
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type e ON e.oid = t.typelem LEFT JOIN last ON last.domain = t.oid
    LEFT JOIN pg_type b ON b.oid = last.type
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


@dataclass(frozen=True)
class TablePlan:
    """How one table is copied: the query for production and the columns that it fills in staging."""

    schema: str
    table: str
    columns: tuple[str, ...]
    rows: str
    """What stands in the query's FROM."""
    query: str
    format: Literal["binary", "text"]
    masked: int
    partitioned: bool
    bytes: int
    """The table's size in production."""

    @property
    def label(self) -> str:
        return self.table if self.schema == "public" else f"{self.schema}.{self.table}"


async def plan_copy(
    source: Connection, models: Sequence[Model], salt: str, left_alone: Collection[str] = ()
) -> list[TablePlan]:
    """One plan per table, sorted, without the schemas `left_alone`. Raises Failure with all that is wrong."""
    known = {
        (model.schema, model.table, each.column): (model, each)
        for model in models
        for each in model.fields
        if each.column is not None
    }
    columns = [each for each in await columns_of(source) if each.schema not in left_alone]
    findings = [finding for column in columns for finding in _problems(column, known.get(column.key))]
    rules = {key: each.mask for key, (_, each) in known.items()}
    there = {column.key for column in columns}
    references = [each for each in await references_of(source) if {each.own, each.theirs} <= there]
    findings += [_parted(each, rules) for each in references if _differ(each, rules)]
    by_key = {column.key: column for column in columns}
    likeness = likenesses(by_key, references, rules)
    findings += await too_narrow(source, by_key, likeness, rules)
    if findings:
        raise Failure("production's rows cannot be masked as the schema files stand", *findings)
    tables: dict[tuple[str, str], list[Column]] = {}
    for column in columns:
        tables.setdefault((column.schema, column.table), []).append(column)
    return [
        _table(schema, table, found, rules, likeness, salt)
        for (schema, table), found in sorted(tables.items())
    ]


async def columns_of(source: Connection) -> list[Column]:
    """Every column of every table that the migrations made."""
    return [Column(**dict(record)) for record in await source.fetch(_COLUMNS)]


async def references_of(source: Connection) -> list[Reference]:
    """Every column that refers to another, by each of its constraints."""
    return [Reference(row[0], tuple(row)[1:4], tuple(row)[4:]) for row in await source.fetch(_REFERENCES)]


def _table(
    schema: str,
    table: str,
    found: Sequence[Column],
    rules: Mapping[Key, MaskRule | None],
    likeness: Mapping[Key, Likeness],
    salt: str,
) -> TablePlan:
    copied = [column for column in found if not column.generated]
    masks = [(column, rules[column.key]) for column in copied]
    chosen = ", ".join(
        expression(column, rule, salt, likeness.get(column.key, Likeness())) for column, rule in masks
    )
    # A table that others inherit from would give their rows too, and they are copied by themselves.
    rows = f"{'' if found[0].partitioned else 'ONLY '}{quoted(schema, table)}"
    return TablePlan(
        schema=schema,
        table=table,
        columns=tuple(column.column for column in copied),
        rows=rows,
        query=f"SELECT {chosen} FROM {rows}",
        format="text" if any(column.text_only for column in copied) else "binary",
        masked=sum(rule not in (None, "keep") for _, rule in masks),
        partitioned=found[0].partitioned,
        bytes=found[0].bytes,
    )


def _problems(column: Column, known: tuple[Model, FieldOf] | None) -> list[Finding]:
    if known is None:
        return [
            _finding(
                f"{column.table}.{column.column}",
                "Production has this column, but no schema file knows it, so nobody said how to mask it.",
                "add it to a model of the schema files, or drop it in a migration",
            )
        ]
    model, each = known
    name = f"{model.name}.{each.name}"
    if column.generated:
        return []
    if each.mask is None and column.personal:
        return [
            _finding(
                name,
                f"It is {column.type} and has no mask rule, so the copy to staging stops here.",
                f"in {model.file}, model {model.name}, write above {each.name}: /// @mask {_listed(column)}",
            )
            if each.proposed is None
            else _finding(
                name,
                f"It is {column.type}; {MASKING_FILE} proposes {each.proposed}, and nobody has confirmed it.",
                f"in {MASKING_FILE}, [{model.name}], take the question mark away: {each.name} ="
                f' "{each.proposed}"; or write another of {"|".join(fitting(column))}',
            )
        ]
    if each.mask == "null" and column.required:
        return [
            _finding(
                name, "Its rule is null, but the column is required.", f"use hash or keep in {model.file}"
            )
        ]
    if each.mask is not None and not column.takes(each.mask):
        return [
            _finding(
                name,
                f"Its rule is {each.mask}, but {column.type} cannot hold one.",
                f"use {_listed(column)} in {model.file}",
            )
        ]
    return []


def _listed(column: Column) -> str:
    return "|".join(fitting(column))


def fitting(column: Column) -> list[MaskRule]:
    """The rules that the column takes."""
    return [rule for rule in RULES if column.takes(rule) and not (rule == "null" and column.required)]


def _differ(reference: Reference, rules: Mapping[Key, MaskRule | None]) -> bool:
    own = _rule(reference.own, rules)
    return own not in ("null", _rule(reference.theirs, rules))


def _rule(key: Key, rules: Mapping[Key, MaskRule | None]) -> MaskRule:
    return rules.get(key) or "keep"


def _parted(reference: Reference, rules: Mapping[Key, MaskRule | None]) -> Finding:
    own, theirs = reference.own, reference.theirs
    return _finding(
        f"{own[1]}.{own[2]}",
        f"It refers to {theirs[1]}.{theirs[2]}, but one is masked by {_rule(own, rules)} and the other by"
        f" {_rule(theirs, rules)}: the rows would lose each other.",
        "give both the same mask rule",
    )


def _finding(subject: str, detail: str, cure: str) -> Finding:
    return Finding(kind="project-file", subject=subject, detail=detail, cure=cure)
