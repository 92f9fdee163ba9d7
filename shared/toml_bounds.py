"""TOML, bounded before it is parsed: the parser takes quadratic time for dotted keys, and recurses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.bounds import DEPTH_MAX, FILE_BYTES_MAX, OutOfBounds, bounded_size

KEY_PARTS_MAX = 50
KEY_WORK_MAX = 400_000
"""Of all keys together: a key's parts times the parts that stand above it, which is how the parser goes."""

_TOKENS = re.compile(
    r"""
      (?P<gap>[ \t\r]++|\#[^\n]*+)
    | (?P<word>[A-Za-z0-9_+:-]++
        | \"{3}(?:[^"\\]++|\\.|"(?!""))*+(?:"{3,5}|\Z)
        | '{3}(?:[^']++|'(?!''))*+(?:'{3,5}|\Z)
        | "(?:[^"\\\n]++|\\[^\n])*+"?
        | '[^'\n]*+'?)
    | (?P<dot>\.)
    | (?P<open>[\[{])
    | (?P<close>[\]}])
    | (?P<equals>=)
    | (?P<line>\n)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def bound_toml(text: str, *, bytes_max: int = FILE_BYTES_MAX) -> None:
    """Raises `OutOfBounds`, with the line, for a text that is too long, too deep or has too long keys."""
    bounded_size(text, bytes_max)
    for line, state in _states(text):
        if state.depth > DEPTH_MAX:
            raise OutOfBounds(f"brackets are nested more than {DEPTH_MAX} deep", line)
        if state.parts > KEY_PARTS_MAX:
            raise OutOfBounds(f"a key has more than {KEY_PARTS_MAX} parts", line)
        if state.work > KEY_WORK_MAX:
            raise OutOfBounds("there are too many long keys", line)


@dataclass
class _State:
    depth: int = 0
    parts: int = 1
    header: int = 0
    work: int = 0


def _states(text: str) -> Iterator[tuple[int, _State]]:
    """The state after each token that changes it, in linear time; as far as the parser would come."""
    state, line, in_header = _State(), 1, False
    for token in _TOKENS.finditer(text):
        match token.lastgroup:
            case "gap":
                continue
            case "word":
                line += token.group().count("\n")
                continue
            case "dot":
                state.parts += 1
            case "open":
                in_header = in_header or (state.depth == 0 and _begins_line(text, token.start()))
                state.depth += 1
                state.parts = 1
            case "close":
                if in_header:
                    state.header = state.parts
                    state.work += state.parts * state.parts
                state.depth = max(state.depth - 1, 0)
                in_header = in_header and state.depth > 0
                state.parts = 1
            case "equals":
                state.work += state.parts * (state.parts + state.header)
                state.parts = 1
            case "line":
                line += 1
                state.parts = 1
            case _:
                state.parts = 1
        yield line, state


def _begins_line(text: str, at: int) -> bool:
    while at and text[at - 1] in " \t":
        at -= 1
    return at == 0 or text[at - 1] == "\n"
