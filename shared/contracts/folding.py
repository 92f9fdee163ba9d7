"""The same fault of many things said once, with all of their names. Pure."""

import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

from shared.contracts.refusals import Refusal
from shared.contracts.stages import Finding

_NAMES_MAX = 100
_EACH_MAX = 3
"""So many of a kind are said one by one, each at its place."""
_LINE = re.compile(r"(?P<line>line \d{1,9}): ")
_HERE = "\0"


def folded(refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """Refusals whose words differ in their values alone, as one: at the place of the first."""
    groups: dict[tuple[str, ...], list[Refusal]] = {}
    for each in refusals:
        shape = (each.kind, _shape(each.reason, each.value), _shape(each.cure, each.value))
        groups.setdefault(shape if each.value else (*shape, each.field or ""), []).append(each)
    return tuple(_one(group, shape) for shape, group in groups.items())


def folded_places(refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """Refusals whose words differ in their places alone, as one that names every place."""
    groups: dict[tuple[str, ...], list[Refusal]] = {}
    for each in refusals:
        reason = _shape(_LINE.sub("", each.reason, count=1), each.field)
        groups.setdefault((each.kind, reason, _shape(each.cure, each.field)), []).append(each)
    found: list[Refusal] = []
    for (_, reason, cure), group in groups.items():
        names = tuple(dict.fromkeys(map(_place, group)))
        if len(names) <= _EACH_MAX:
            found += group
            continue
        fields = [each.field or "" for each in group]
        words = {"reason": _named(reason, names), "cure": cure.replace(_HERE, "each of them")}
        told = {**words, "field": _above(fields) or fields[0], "value": None}
        found.append(group[0].model_copy(update=told))
    return tuple(found)


def _place(refusal: Refusal) -> str:
    line = _LINE.match(refusal.reason)
    return f"{refusal.field or ''} ({line['line']})" if line else refusal.field or ""


def _above(fields: Sequence[str]) -> str:
    """The folder in which all of these paths are; an empty one if there is none."""
    parts = zip(*(each.split("/")[:-1] for each in fields), strict=False)
    return "/".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, parts))


def folded_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings whose words differ in their subjects alone, as one."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for each in findings:
        shape = (each.kind, _shape(each.detail, each.subject), _shape(each.cure, each.subject))
        groups.setdefault(shape, []).append(each)
    found: list[Finding] = []
    for (_, detail, cure), group in groups.items():
        names = tuple(dict.fromkeys(each.subject for each in group))
        told = group[0]
        if len(names) > 1:
            words = {"detail": _named(detail, names), "cure": cure.replace(_HERE, _listed(names))}
            told = told.model_copy(update=words)
        found.append(told)
    return tuple(found)


def _one(group: Sequence[Refusal], shape: Sequence[str]) -> Refusal:
    names = tuple(dict.fromkeys(each.value for each in group if each.value))
    if len(names) < 2:
        return group[0]
    return Refusal(
        kind=group[0].kind,
        reason=_named(shape[1], names),
        field=group[0].field,
        value=", ".join(names),
        cure=shape[2].replace(_HERE, _listed(names)),
    )


def _shape(words: str, name: str | None) -> str:
    return words.replace(name, _HERE) if name else words


def _named(words: str, names: Sequence[str]) -> str:
    return words.replace(_HERE, _listed(names)) if _HERE in words else f"{words}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    left = len(names) - _NAMES_MAX
    return ", ".join(names[:_NAMES_MAX]) + (f" and {left} more" if left > 0 else "")
