"""Every compiled pattern of ours, and texts that are the worst for it."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from re import _constants as signs  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

ROOT = Path(__file__).parents[2]
_METHODS = {"search", "match", "fullmatch", "finditer", "findall", "sub", "split"}
_SAMPLES = {signs.CATEGORY_SPACE: " ", signs.CATEGORY_DIGIT: "0", signs.CATEGORY_NOT_WORD: "-"}


def patterns() -> dict[str, tuple[re.Pattern[Any], frozenset[str]]]:
    """Each module's patterns by their names, with the methods that are called on them."""
    found: dict[str, tuple[re.Pattern[Any], frozenset[str]]] = {}
    for top in ("services", "shared", "cli"):
        for file in sorted((ROOT / top).rglob("*.py")):
            text = file.read_text()
            if "re.compile" not in text or "migrations" in file.parts:
                continue
            module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
            called = _called(ast.parse(text))
            for name, value in vars(module).items():
                for number, pattern in enumerate(_patterns_in(value)):
                    methods = frozenset(called.get(name, ())) or frozenset({"search"})
                    found[f"{module.__name__}.{name}{number or ''}"] = pattern, methods
    return found


def _called(tree: ast.AST) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in _METHODS:
            found.setdefault(node.value.id, set()).add(node.attr)
    return found


def _patterns_in(value: object) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _patterns_in(getattr(each, "said", each))


def words_of(pattern: re.Pattern[Any]) -> list[str]:
    """The pattern's matter in pieces: its literals, samples of its classes, and one whole sample."""
    found: dict[str, None] = {}
    whole = _sample(parser.parse(pattern.pattern, pattern.flags & re.VERBOSE), found)
    texts = [each.decode("latin-1") if isinstance(each, bytes) else each for each in (*found, whole)]
    return sorted({each for each in texts if each}, key=len)


def _sample(parsed: Any, found: dict[str, None]) -> str:
    whole = run = ""
    for sign, about in parsed:
        one = _one(sign, about)
        if one is not None:
            run += one
        else:
            found[run], run = None, ""
            one = _below(sign, about, found)
        whole += one
    found[run] = None
    return whole


def _one(sign: Any, about: Any) -> str | None:
    if sign is signs.LITERAL:
        return chr(about)
    if sign in (signs.ANY, signs.NOT_LITERAL):
        return "a"
    if sign is signs.IN:
        kind, what = about[0]
        if kind is signs.LITERAL:
            return chr(what)
        return chr(what[0]) if kind is signs.RANGE else _SAMPLES.get(what, "a")
    return None


def _below(sign: Any, about: Any, found: dict[str, None]) -> str:
    if sign is signs.SUBPATTERN:
        return _sample(about[3], found)
    if sign in (signs.MAX_REPEAT, signs.MIN_REPEAT, signs.POSSESSIVE_REPEAT):
        return _sample(about[2], found)
    if sign is signs.BRANCH:
        samples = [_sample(each, found) for each in about[1]]
        return samples[0]
    if sign is signs.ATOMIC_GROUP:
        return _sample(about, found)
    if sign in (signs.ASSERT, signs.ASSERT_NOT):
        _sample(about[1], found)
    return ""
