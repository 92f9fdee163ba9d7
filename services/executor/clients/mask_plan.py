"""Decide, from production's catalogue and the schema files' rules, how each column leaves production."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from services.executor.clients.mask_columns import described, followed
from services.executor.clients.mask_file import MASKING_FILE
from services.executor.clients.mask_likeness import Key, Reference, likenesses, too_narrow
from services.executor.clients.mask_rules import Column, Likeness, expression
from services.executor.clients.mask_weakening import Masks, masks_of, weaker
from services.executor.clients.postgres import Connection, quoted
from services.executor.clients.prisma import FieldOf, Model
from shared.contracts.stages import Finding
from shared.errors import Failure
from shared.prisma.mask_words import RULES, MaskRule


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
    source: Connection,
    models: Sequence[Model],
    salt: str,
    left_alone: Collection[str] = (),
    accepted: Masks | None = None,
) -> list[TablePlan]:
    """One plan per table, sorted, without the schemas `left_alone`.

    Raises Failure with all that is wrong, and for rules that mask less than the `accepted` ones.
    """
    known = {
        (model.schema, model.table, each.column): (model, each)
        for model in models
        for each in model.fields
        if each.column is not None
    }
    columns, references = await described(source, left_alone)
    findings = [finding for column in columns for finding in _problems(column, known.get(column.key))]
    rules = followed({key: each.mask for key, (_, each) in known.items()}, columns, references)
    findings += [_parted(each, rules) for each in references if _differ(each, rules)]
    by_key = {column.key: column for column in columns}
    if accepted is not None:
        findings += [_unaccepted(line) for line in weaker(masks_of(columns, rules), accepted)]
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


def _unaccepted(line: str) -> Finding:
    subject, _, said = line.partition(": ")
    return _finding(
        subject,
        f"It would be masked less than was accepted with the Run's start: {said or 'more columns'}.",
        "give it the rule of before; or cancel the Run and plan anew:"
        " `run accept-masks` is then for who may weaken masks",
    )


def _finding(subject: str, detail: str, cure: str) -> Finding:
    return Finding(kind="project-file", subject=subject, detail=detail, cure=cure)
