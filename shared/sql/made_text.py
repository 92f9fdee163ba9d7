"""SQL that a script puts together: its text as far as the expression's constants say it. Pure."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from shared.sql.tree import inner, kind, strings

UNKNOWN = "unknown_here"
"""Stands where only running it would tell: a name, or a part of one."""
_FORMATTED = re.compile(r"%(?:(?P<at>\d{1,4})\$)?-?\d*(?P<kind>[sIL%])")
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,20}\s*")
_CHARACTERS_MAX = 100_000
_TRIED_MAX = 4


@dataclass(frozen=True)
class MadeText:
    """`text` is all of it if `whole`; otherwise `UNKNOWN` stands for some of it."""

    text: str
    whole: bool = True


NOTHING = MadeText(UNKNOWN, whole=False)


def made_text(node: Any) -> MadeText:
    """The text that an expression yields, bounded."""
    made = _made(node)
    # Each part is bounded, so that texts in texts do not multiply.
    return made if len(made.text) <= _CHARACTERS_MAX else NOTHING


def possible_texts(text: str) -> Iterator[str]:
    """What a text with unknown parts may be: names, strings or numbers in their place, and its beginnings.

    Of a text with more than four unknown parts, the first four are tried.
    """
    pieces = text.split(UNKNOWN)
    for known in range(min(len(pieces) - 1, _TRIED_MAX), 0, -1):
        for chosen in product((UNKNOWN, f"'{UNKNOWN}'", "1"), repeat=known):
            filled = [piece + part for piece, part in zip(pieces, chosen, strict=False)]
            if known == len(pieces) - 1:
                yield "".join(filled) + pieces[known]
            # Without what follows: options, a list of columns.
            yield "".join(filled) + (pieces[known][0] if pieces[known][:1] in ("'", '"') else "")


def number_of(node: Any) -> int | None:
    """The whole number that an expression yields if its constants say it."""
    match kind(node):
        case "A_Const" if node.HasField("ival"):
            return int(node.ival.ival)
        case "A_Const" if node.HasField("fval"):
            return _number(node.fval.fval)
        case "A_Const" if node.HasField("sval"):
            return _number(node.sval.sval)
        case "TypeCast":
            return number_of(inner(node.arg))
        case "A_Expr":
            return _calculated(node)
    return None


def _number(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def _calculated(node: Any) -> int | None:
    right = number_of(inner(node.rexpr))
    left = number_of(inner(node.lexpr)) if node.HasField("lexpr") else 0
    if left is None or right is None or abs(left) > 2**63 or abs(right) > 2**63:
        return None
    match strings(node.name)[-1]:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/" if right:
            return left // right
        case "#":
            return left ^ right
    return None


def _made(node: Any) -> MadeText:
    match kind(node):
        case "A_Const" if node.HasField("sval"):
            return MadeText(node.sval.sval)
        case "A_Const" if node.HasField("ival"):
            return MadeText(str(node.ival.ival))
        case "A_Const" if node.HasField("fval"):
            return MadeText(node.fval.fval)
        case "A_Const" if node.isnull:
            return MadeText("")
        case "TypeCast":
            return made_text(inner(node.arg))
        case "CollateClause":
            return made_text(inner(node.arg))
        case "A_Expr" if strings(node.name)[-1:] == ("||",):
            return _joined([made_text(inner(node.lexpr)), made_text(inner(node.rexpr))])
        case "FuncCall":
            maker = _MAKERS.get(strings(node.funcname)[-1])
            given = None if maker is None else _given(node.args)
            return NOTHING if maker is None or given is None else maker(given)
    return NOTHING


def _given(arguments: Any) -> Sequence[MadeText] | None:
    """The texts that a function gets; none when they are too long together."""
    found, length = [], 0
    for each in arguments:
        found.append(made_text(inner(each)))
        length += len(found[-1].text)
        if length > _CHARACTERS_MAX:
            return None
    return found


def _joined(parts: Sequence[MadeText], between: str = "") -> MadeText:
    # Counted before it is built: each part may be as long as a text may be at all.
    if sum(len(each.text) + len(between) for each in parts) > _CHARACTERS_MAX:
        return NOTHING
    return MadeText(between.join(each.text for each in parts), all(each.whole for each in parts))


def _joined_with(parts: Sequence[MadeText]) -> MadeText:
    if not parts:
        return NOTHING
    joined = _joined(parts[1:], parts[0].text if parts[0].whole else " ")
    return MadeText(joined.text, joined.whole and parts[0].whole)


def _formatted(parts: Sequence[MadeText]) -> MadeText:
    if not parts or not parts[0].whole:
        return NOTHING
    pattern, following = parts[0].text, iter(range(1, len(parts)))
    pieces: list[MadeText] = []
    length, behind = 0, 0
    for found in _FORMATTED.finditer(pattern):
        placed = MadeText("%")
        if found["kind"] != "%":
            at = int(found["at"]) if found["at"] else next(following, 0)
            if found["at"]:
                following = iter(range(at + 1, len(parts)))
            given = parts[at] if 0 < at < len(parts) else NOTHING
            placed = MadeText(_PLACED[found["kind"]](given.text), given.whole)
        pieces += [MadeText(pattern[behind : found.start()]), placed]
        behind = found.end()
        length += len(placed.text)
        if length > _CHARACTERS_MAX:
            return NOTHING
    return _joined([*pieces, MadeText(pattern[behind:])])


def _as_name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _as_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_PLACED: dict[str, Callable[[str], str]] = {"s": str, "I": _as_name, "L": _as_literal}


def _changed(change: Callable[[str], str]) -> Callable[[Sequence[MadeText]], MadeText]:
    def change_first(parts: Sequence[MadeText]) -> MadeText:
        return MadeText(change(parts[0].text), parts[0].whole) if len(parts) == 1 else NOTHING

    return change_first


def _character(parts: Sequence[MadeText]) -> MadeText:
    (code,) = parts if len(parts) == 1 else (NOTHING,)
    number = _number(code.text) if code.whole else None
    return MadeText(chr(number)) if number is not None and 0 < number < 0xD800 else NOTHING


def _replaced(parts: Sequence[MadeText]) -> MadeText:
    if len(parts) != 3:
        return NOTHING
    text, old, new = parts
    if not old.text:
        return text
    if len(text.text) + text.text.count(old.text) * len(new.text) > _CHARACTERS_MAX:
        return NOTHING
    return MadeText(text.text.replace(old.text, new.text), text.whole and old.whole and new.whole)


def _reversed(parts: Sequence[MadeText]) -> MadeText:
    known = len(parts) == 1 and parts[0].whole
    return MadeText(parts[0].text[::-1]) if known else NOTHING


_MAKERS: dict[str, Callable[[Sequence[MadeText]], MadeText]] = {
    "concat": _joined,
    "textcat": _joined,
    "concat_ws": _joined_with,
    "format": _formatted,
    "quote_ident": _changed(_as_name),
    "quote_literal": _changed(_as_literal),
    "quote_nullable": _changed(_as_literal),
    "lower": _changed(str.lower),
    "upper": _changed(str.upper),
    "btrim": _changed(str.strip),
    "text": _changed(str),
    "chr": _character,
    "replace": _replaced,
    "reverse": _reversed,
}
