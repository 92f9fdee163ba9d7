"""Twice the text takes twice the time, also where somebody writes the worst: patterns and readers alike.

Time is CPU time of this thread, so that a busy machine does not matter. The texts are made of what each
pattern itself takes: a new pattern is attacked without anybody naming it here.
"""

import re
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from tests.security.patterns import patterns, words_of

_CHARACTERS = 4_000
_SUSPECT_S = 0.002
"""A pattern that goes once through so much takes a tenth of that."""
_TIMES = 8
_GROWTH_MAX = 4 * _TIMES
_EVERYWHERE = ("\n", " ", "a", "0", '"', "/*")


def test_no_pattern_takes_more_than_its_share_for_a_longer_text() -> None:
    """64 KiB of blank lines in a published package's schema took 11 s."""
    found = patterns()
    assert len(found) > 100
    slow = {name: growth for name, (one, how) in found.items() if (growth := _worst(one, how)) is not None}
    assert not slow


def test_a_slow_pattern_is_seen() -> None:
    assert _worst(re.compile(r"^\s*provider\s*=", re.MULTILINE), frozenset({"search"})) is not None


def _worst(pattern: re.Pattern[Any], methods: frozenset[str]) -> tuple[str, str, float] | None:
    for method, (head, atom) in product(methods, _atoms(pattern)):

        def text(characters: int, head: str = head, atom: str = atom) -> str:
            return head + atom * (characters // len(atom)) + "\n!"

        if _taken(pattern, method, text(_CHARACTERS)) < _SUSPECT_S:
            continue
        growth = _growth(lambda size: _taken(pattern, method, text(size)))  # noqa: B023
        if growth > _GROWTH_MAX:
            return head, atom, growth
    return None


def _growth(taken: Callable[[int], float]) -> float:
    once = min(taken(_CHARACTERS) for _ in range(3))
    return taken(_TIMES * _CHARACTERS) / once


def _atoms(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str]]:
    words = words_of(pattern)
    atoms = dict.fromkeys((*_EVERYWHERE, *words[:12], *words[-4:]))
    yield from product(dict.fromkeys(("", *words[:3], *words[-2:])), atoms)


def _taken(pattern: re.Pattern[Any], method: str, text: str) -> float:
    given: Any = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
    call = getattr(pattern, method)
    before = time.thread_time()
    if method == "sub":
        call(given[:0], given)
    elif method == "finditer":
        for _ in call(given):
            pass
    else:
        call(given)
    return time.thread_time() - before
