"""SQL, bounded before PostgreSQL's parser sees it.

The parser makes a tree of the text and writes it out by recursion in C: a hundred thousand operators end the
process, and nested comments take quadratic time. Pure.
"""

import re
from dataclasses import dataclass

SCRIPT_BYTES_MAX = 1 << 20
MARK = "\ufeff"
"""What editors put at the beginning of a file; it is no SQL."""
DEPTH_MAX = 50
"""Of brackets, and of comments inside each other."""
CHAIN_TOKENS_MAX = 5_000
"""Words and signs of one expression: up to the next comma, AND, OR, WHEN or semicolon at the same depth."""
JOINS_MAX = 500
"""Joins and set operations of one statement, at the same depth."""

_TOKENS = re.compile(
    r"""
      (?P<gap>\s++|--[^\n]*+)
    | (?P<comment>/\*)
    | (?P<text>[eE]'(?:[^'\\]++|\\.|'')*+'?|'(?:[^']++|'')*+'?|"(?:[^"]++|"")*+"?)
    | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*+)?\$)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*+|[0-9.]++)
    | (?P<open>[(\[])
    | (?P<close>[)\]])
    | (?P<end>;)
    | (?P<comma>,)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_SEPARATORS = frozenset({"and", "or", "when", "then", "else", "loop", "begin"})
_JOINS = frozenset({"join", "union", "intersect", "except"})


class TooMuch(ValueError):
    """The script is larger or deeper than is read; `at` is where, in characters."""

    def __init__(self, reason: str, at: int = 0) -> None:
        super().__init__(reason)
        self.at = at


@dataclass
class _Level:
    """What was counted at one depth of brackets."""

    tokens: int = 0
    joins: int = 0


def bound_sql(text: str) -> None:
    """Raises `TooMuch` for a script that is too long, too deep or too long-winded; in linear time."""
    if len(text) > SCRIPT_BYTES_MAX or len(text.encode(errors="replace")) > SCRIPT_BYTES_MAX:
        raise TooMuch(f"it has more than {SCRIPT_BYTES_MAX >> 10} KiB")
    levels, at = [_Level()], 0
    while (token := _TOKENS.match(text, at)) is not None:
        at = token.end()
        match token.lastgroup:
            case "comment":
                at = _behind_comment(text, at) or len(text)
            case "dollar":
                closing = text.find(token.group(), at)
                at = len(text) if closing < 0 else closing + len(token.group())
                _count(levels[-1], "", token.start())
            case "open":
                levels.append(_Level())
                if len(levels) > DEPTH_MAX + 1:
                    raise TooMuch(f"brackets are nested more than {DEPTH_MAX} deep", token.start())
            case "close":
                if len(levels) > 1:
                    levels.pop()
                _count(levels[-1], "", token.start())
            case "end":
                levels = [_Level()]
            case "comma":
                levels[-1].tokens = 0
            case "word" | "text" | "sign":
                _count(levels[-1], token.group().lower(), token.start())


def _count(level: _Level, word: str, at: int) -> None:
    if word in _SEPARATORS:
        level.tokens = 0
        return
    level.tokens += 1
    level.joins += word in _JOINS
    if level.tokens > CHAIN_TOKENS_MAX:
        raise TooMuch(f"an expression has more than {CHAIN_TOKENS_MAX} words and signs", at)
    if level.joins > JOINS_MAX:
        raise TooMuch(f"a statement joins or unites more than {JOINS_MAX} times", at)


def _behind_comment(text: str, at: int) -> int | None:
    """Where a comment ends that has begun before `at`; none for one that does not."""
    depth = 1
    while depth:
        mark = _COMMENT_MARK.search(text, at)
        if mark is None:
            return None
        at = mark.end()
        depth += 1 if mark.group() == "/*" else -1
        if depth > DEPTH_MAX:
            raise TooMuch(f"comments are nested more than {DEPTH_MAX} deep", mark.start())
    return at


def is_empty(text: str) -> bool:
    """Whether there is nothing to run in it: comments, layout and semicolons at the most."""
    at = 1 if text.startswith(MARK) else 0
    try:
        while (token := _TOKENS.match(text, at)) is not None:
            at = token.end()
            if token.lastgroup == "comment":
                if (end := _behind_comment(text, at)) is None:
                    return False
                at = end
            elif token.lastgroup not in ("gap", "end"):
                return False
    except TooMuch:
        return False
    # PostgreSQL reads no NUL, not even in a comment.
    return at == len(text) and "\0" not in text
