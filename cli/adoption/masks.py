"""Which mask rule each open column may want: proposed from its name, its type and counts over its rows. Pure.

A proposal is a person's to confirm. What is not plainly harmless is proposed to be hashed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tomlkit

from services.executor.clients.mask_file import PROPOSED
from services.executor.clients.mask_likeness import Key, Reference
from services.executor.clients.mask_plan import fitting
from services.executor.clients.mask_types import JSON_KINDS, NUMBERS, Column
from shared.prisma.mask_words import RULES, MaskRule

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_MAIL = {"email", "emails", "mail"}
_PHONE = {"phone", "mobile", "tel", "telephone", "fax", "sms", "msisdn", "whatsapp"}
_NAME = {"firstname", "lastname", "surname", "forename", "fullname", "nickname", "username", "realname"}
_NOT_A_PERSONS = {"file", "table", "host", "domain", "field", "column", "event", "class", "job"}
_HARMLESS = {
    *("id", "uuid", "cuid", "type", "kind", "status", "state", "role", "currency", "locale", "language"),
    *("lang", "timezone", "tz", "version", "mode", "level", "unit", "format", "mime", "algorithm", "slug"),
}
_SECRET = {"password", "secret", "token", "hash", "key", "salt", "signature", "ssn", "iban", "card", "otp"}
# Papers that name one person, whatever the number looks like.
_PAPERS = {
    *("tax", "tin", "itin", "vat", "nif", "nie", "dni", "nin", "nino", "bsn", "cpf", "curp", "rfc", "pesel"),
    *("social", "insurance", "aadhaar", "visa", "bic", "dob", "birth", "birthday", "birthdate"),
}
_PAPERS_BEGIN = (
    *("passport", "national", "licen", "driving", "driver", "citizen"),
    *("taxid", "taxn", "socialsec", "iban"),
)
_SAMPLED_MIN = 20
_FEW_VALUES = 12
_SPREAD_MAX = 10_000_000


@dataclass(frozen=True)
class Sample:
    """Counts over some rows of one column; no value leaves the database."""

    values: int = 0
    distinct: int = 0
    like_email: int = 0
    like_phone: int = 0
    like_id: int = 0
    like_key: int = 0
    """`like_id` counts what only a program makes up, `like_key` what may be a key: digits, no spaces."""
    spread: float | None = None
    """Of numbers: how far they lie from their mean, as a standard deviation."""


@dataclass(frozen=True)
class OpenColumn:
    """A column without a rule, and the model's field that stands for it."""

    model: str
    field: str
    column: Column
    is_id: bool


@dataclass(frozen=True)
class Proposal:
    """A rule for one field, and why."""

    model: str
    field: str
    rule: MaskRule
    why: str


def propose(
    columns: Sequence[OpenColumn],
    samples: Mapping[Key, Sample],
    references: Sequence[Reference],
    rules: Mapping[Key, MaskRule],
) -> list[Proposal]:
    """A proposal for each column. What refers to another column gets that one's rule, so that joins hold.

    A column without a sample was not counted, and one without rows has an empty sample. `rules` are those
    that stand already.
    """
    chosen = {each.column.key: _choose(each, samples.get(each.column.key)) for each in columns}
    # A chain of references has as many links as there are columns at the most.
    for _ in columns:
        changed = False
        for own, theirs in ((each.own, each.theirs) for each in references):
            rule = rules.get(theirs) or (chosen[theirs][0] if theirs in chosen else None)
            if own in chosen and rule is not None and chosen[own][0] != rule:
                chosen[own] = (rule, f"as {theirs[1]}.{theirs[2]}, to which it refers")
                changed = True
            # A column with a rule draws in the one that it refers to.
            if theirs in chosen and own in rules and chosen[theirs][0] != rules[own] != "null":
                chosen[theirs] = (rules[own], f"as {own[1]}.{own[2]}, which refers to it")
                changed = True
        if not changed:
            break
    return [Proposal(each.model, each.field, *chosen[each.column.key]) for each in columns]


def _choose(open_column: OpenColumn, sample: Sample | None) -> tuple[MaskRule, str]:
    takes = fitting(open_column.column)
    for rule, why in _wishes(open_column, sample):
        if rule in takes:
            return rule, why
    if "null" in takes:
        return "null", f"nothing else fits {open_column.column.type}"
    return "keep", f"nothing else fits {open_column.column.type}: mind what it holds"


def _wishes(open_column: OpenColumn, sample: Sample | None) -> list[tuple[MaskRule, str]]:
    """The best first."""
    column = open_column.column
    words = {word.lower() for word in _WORD.findall(f"{open_column.field} {column.column}")}
    if column.kind in JSON_KINDS:
        return [("json", "a document")]
    plain = _plain_wishes(column, words, sample)
    if plain:
        return plain
    if sample is not None and sample.like_email * 2 > sample.values:
        return [("email", _seen(sample.like_email, sample, "like addresses of mail")), ("hash", "")]
    if words & _SECRET:
        return [("hash", "its name speaks of a secret")]
    if words & _PAPERS or any(word.startswith(_PAPERS_BEGIN) for word in words):
        return [("hash", "its name speaks of a person's papers")]
    if words & _MAIL:
        return [("email", "its name"), ("hash", "its name")]
    if words & _PHONE:
        return [("phone", "its name"), ("hash", "its name")]
    if _names_a_person(words):
        return [("name", "its name"), ("hash", "its name")]
    if sample is None:
        return [("hash", "its rows could not be counted")]
    return _by_sample(open_column, words, sample)


def _plain_wishes(column: Column, words: set[str], sample: Sample | None) -> list[tuple[MaskRule, str]]:
    """For what is no text: numbers, days, labels, made-up keys and the rest; nothing for text."""
    papers = words & (_SECRET | _PAPERS | _PHONE) or any(word.startswith(_PAPERS_BEGIN) for word in words)
    if column.category == "E":
        return [("keep", "its name")] if words & _HARMLESS else [("enum", "a label")]
    if column.takes("date 30"):
        return [("date 365", "a day of a person's life")] if papers else [("date 30", "a day")]
    if column.kind in NUMBERS:
        if papers:
            return [("hash", "its name speaks of a person's papers")]
        spread = None if sample is None else sample.spread
        if spread is not None and spread > _SPREAD_MAX:
            return [("hash", "its numbers are as long as those of papers and telephones")]
        return [(_noise(spread), "a number"), ("number 10", "a number"), ("hash", "a number")]
    if column.kind == "uuid":
        return [("uuid", "a made-up id that is no key")]
    return (
        []
        if column.category == "S"
        else [("number 10", "a span of numbers"), ("hash", "it may hold anything")]
    )


def _noise(spread: float | None) -> MaskRule:
    """Half of the spread, in round numbers; never the one step that moves all values by the same."""
    half = max(2.0, (spread if spread is not None else 20.0) / 2)
    digits = 10 ** (len(str(int(half))) - 1)
    return f"number {int(half) // digits * digits}"


def _by_sample(open_column: OpenColumn, words: set[str], sample: Sample) -> list[tuple[MaskRule, str]]:
    """By what its rows look like, where the name says nothing plain."""
    enough = sample.values >= _SAMPLED_MIN
    if enough and sample.like_phone * 10 > sample.values * 9 and not words & _HARMLESS:
        return [("phone", _seen(sample.like_phone, sample, "like telephone numbers")), ("hash", "")]
    if open_column.is_id and (not sample.values or sample.like_key * 10 > sample.values * 9):
        return [("keep", "the key, a made-up id")]
    if "id" in words and sample.values and sample.like_id * 10 > sample.values * 9:
        return [("keep", "a made-up id")]
    if words & _HARMLESS and not sample.values:
        return [("keep", "its name; it has no rows to look at")]
    if enough and sample.distinct <= _FEW_VALUES and sample.distinct * 5 <= sample.values:
        return [("keep", f"{sample.distinct} different values in {sample.values} rows")]
    return [("hash", "it may hold anything")]


def _names_a_person(words: set[str]) -> bool:
    return bool(words & _NAME) or ("name" in words and not words & _NOT_A_PERSONS)


def _seen(count: int, sample: Sample, what: str) -> str:
    return f"{count} of {sample.values} sampled look {what}"


def masking_text(before: str | None, proposals: Sequence[Proposal], *, confirmed: bool) -> str:
    """The text of `masking.toml` with the proposals, what stood there kept; `confirmed` by a person."""
    document = tomlkit.parse(before) if before is not None else _new()
    if confirmed:
        for table in document.values():
            for field, rule in table.items():
                if str(rule).endswith(PROPOSED):
                    table[field] = str(rule).removesuffix(PROPOSED)
    for each in sorted(proposals, key=lambda each: (each.model, each.field)):
        if each.model not in document:
            document[each.model] = tomlkit.table()
        word = tomlkit.item(each.rule if confirmed else f"{each.rule}{PROPOSED}")
        word.comment(each.why)
        document[each.model][each.field] = word
    return tomlkit.dumps(document)


def _new() -> tomlkit.TOMLDocument:
    document = tomlkit.document()
    for line in (
        "How each column is masked on its way from production to staging: a table for each model, and",
        f"one of {', '.join(RULES)} for each field. A rule with a question mark is a",
        "proposal, made from the column's name, its type and counts over its rows. Read each, and take",
        "the question mark away; until then no row is copied.",
    ):
        document.add(tomlkit.comment(line))
    return document
