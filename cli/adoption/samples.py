"""The open columns of production, with counts that its server makes of some of their rows; only read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from cli.adoption.masks import OpenColumn, Proposal, Sample, propose
from services.executor.clients.mask_columns import described
from services.executor.clients.mask_likeness import Key, Reference
from services.executor.clients.mask_types import NUMBERS
from services.executor.clients.postgres import Connection, quoted, session
from services.executor.clients.prisma import Model
from shared.prisma.mask_words import MaskRule

_ROWS = 1000
_WITHIN_S = 10.0
_EMAIL = r"^[^@[:space:]]+@[^@[:space:]]+\.[^@[:space:]]+$"
_PHONE = r"^\+?[0-9][0-9 ()./-]{6,18}$"
# What only a program makes up: a UUID, a cuid, a ULID, hexadecimal digits, a word before a long random one.
# Digits alone are of a bank or an office.
MADE_UP = (
    r"^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|c[a-z0-9]{24,}|[0-7](?=[0-9]*[A-Z])[0-9A-HJKMNP-TV-Z]{25}"
    r"|(?=[0-9]*[a-f])([0-9a-f]{24}|[0-9a-f]{32})|[a-z]+_[A-Za-z0-9]{14,})$"
)
_KEY = r"^[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]*$"
_COUNTED = NUMBERS - {"money"}
"""Numbers of which the spread is asked for."""
_LIKE = (_EMAIL, _PHONE, MADE_UP, _KEY)


@dataclass(frozen=True)
class Columns:
    """Those without a rule, the rules that stand, and what refers to what."""

    open: Sequence[OpenColumn]
    rules: Mapping[Key, MaskRule]
    references: Sequence[Reference]


async def propose_masks(database: str, models: Sequence[Model]) -> list[Proposal]:
    """A proposal for each column that has neither a rule nor a proposal. Raises Retry as `session` does."""
    async with (
        session(database, statement_timeout_s=_WITHIN_S) as source,
        source.transaction(isolation="repeatable_read", readonly=True),
    ):
        found = await _columns(source, models)
        if not found.open:
            return []
        samples: dict[Key, Sample] = {}
        tables: dict[tuple[str, str], list[OpenColumn]] = {}
        for each in found.open:
            if not each.column.many and (each.column.category == "S" or each.column.kind in _COUNTED):
                tables.setdefault((each.column.schema, each.column.table), []).append(each)
        for table, columns in tables.items():
            samples |= await _counted(source, table, columns)
        return propose(found.open, samples, found.references, found.rules)


async def _columns(source: Connection, models: Sequence[Model]) -> Columns:
    known = {
        (model.schema, model.table, each.column): (model, each)
        for model in models
        for each in model.fields
        if each.column is not None
    }
    # The table behind a list on both sides is masked as what it refers to.
    joins = {model.name for model in models if model.name == model.table and model.name.startswith("_")}
    found: list[OpenColumn] = []
    columns, references = await described(source)
    for column in columns:
        if column.key not in known or not column.personal:
            continue
        model, each = known[column.key]
        if each.mask is None and each.proposed is None and model.name not in joins:
            found.append(OpenColumn(model.name, each.name, column, each.is_id))
    rules = {key: each.mask for key, (_, each) in known.items() if each.mask is not None}
    return Columns(found, rules, references)


async def _counted(
    source: Connection, table: tuple[str, str], columns: Sequence[OpenColumn]
) -> Mapping[Key, Sample]:
    counts: list[str] = []
    for each in columns:
        name, kind = f"{quoted(each.column.column)}::text", each.column.kind
        spread = f"stddev_pop({quoted(each.column.column)}::numeric)" if kind in _COUNTED else "NULL"
        matching = (f"count(*) FILTER (WHERE {name} ~ '{like}')" for like in _LIKE)
        counts += [f"count({name})", f"count(DISTINCT {name})", *matching]
        # NaN and infinity have no spread.
        counts.append(f"CASE WHEN {spread} BETWEEN 0 AND 1e15 THEN {spread} END::float8")
    chosen = ", ".join(quoted(each.column.column) for each in columns)
    query = f"SELECT {', '.join(counts)} FROM (SELECT {chosen} FROM {quoted(*table)} LIMIT {_ROWS}) s"
    try:
        async with source.transaction():
            row = tuple(await source.fetchrow(query))
    except asyncpg.PostgresError:
        # A role that may not read the table, or one that is too slow: not counted, which is not empty.
        return {}
    each_has = 3 + len(_LIKE)
    starts = range(0, len(row), each_has)
    return {
        each.column.key: Sample(*row[start : start + each_has])
        for each, start in zip(columns, starts, strict=True)
    }
