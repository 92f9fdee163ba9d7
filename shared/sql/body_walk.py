"""A body of PL/pgSQL as PostgreSQL's scanner sees it, and how one walks along it. Pure."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from shared.sql.parsing import Fault, Unreadable, tokens_of

FragmentKind = Literal["statement", "expression", "query", "dynamic"]
OPENING, CLOSING = ("(", "["), (")", "]")


@dataclass(frozen=True)
class Fragment:
    """SQL as it stands in a body, from the body's line `line` (from 1) on.

    A `statement` is parsed as it is, an `expression` behind SELECT, a `query` as either; the value of a
    `dynamic` one is SQL that is run.
    """

    kind: FragmentKind
    text: str
    line: int


class BodyWalk:
    """A place in a body, and the fragments found up to there."""

    def __init__(self, body: str) -> None:
        self._body = body
        self._tokens = tokens_of(body)
        self._words = [_word(body[each.start : each.end]) for each in self._tokens]
        self._ends = [at for at, letter in enumerate(body) if letter == "\n"]
        self._at = 0
        self._found: list[Fragment] = []

    def _word(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._words[at] if at < len(self._words) else ""

    def _line(self, at: int) -> int:
        place = self._tokens[min(at, len(self._tokens) - 1)].start if self._tokens else 0
        return bisect_left(self._ends, place) + 1

    def _no(self, at: int) -> Unreadable:
        near = self._words[at] if at < len(self._words) else "its end"
        return Unreadable(
            Fault(self._line(at), f"PL/pgSQL cannot be read at {near[:40]}", "correct the function's body")
        )

    def _take(self, kind: FragmentKind, start: int, end: int) -> None:
        """A fragment of the tokens from `start` to before `end`; nothing where there are none."""
        if start < end:
            text = self._body[self._tokens[start].start : self._tokens[end - 1].end]
            self._found.append(Fragment(kind, text, self._line(start)))

    def _find(self, start: int, *wanted: str) -> int:
        """The first of the words outside of brackets. Raises `Unreadable`; the end counts as a semicolon."""
        depth = 0
        for at in range(start, len(self._words)):
            word = self._words[at]
            if depth == 0 and (word in wanted or word == ";"):
                if word not in wanted:
                    raise self._no(at)
                return at
            depth += (word in OPENING) - (word in CLOSING)
        if ";" in wanted:
            return len(self._words)
        raise self._no(len(self._words))

    def _until(self, kind: FragmentKind, *ends: str) -> None:
        """What stands between this word and the next of `ends`, which is passed."""
        end = self._find(self._at + 1, *ends)
        self._take(kind, self._at + 1, end)
        self._at = end + 1

    def _plain(self, start: int, end: int) -> None:
        """Names, numbers and signs alone: nothing here that runs."""
        for at in range(start, end):
            if self._words[at] in OPENING or self._words[at] == "SELECT":
                raise self._no(at)

    def _closing(self, opened: int) -> int:
        depth = 0
        for at in range(opened, len(self._words)):
            depth += (self._words[at] in OPENING) - (self._words[at] in CLOSING)
            if depth == 0:
                return at
        raise self._no(opened)

    def _dynamic(self, last: str) -> None:
        """EXECUTE, its INTO and its USING, up to `last`, which is passed."""
        at = self._find(self._at + 1, "INTO", "USING", last)
        self._take("dynamic", self._at + 1, at)
        while at < len(self._words) and self._words[at] != last:
            end = self._find(at + 1, "INTO", "USING", last)
            if self._words[at] == "INTO":
                self._plain(at, end)
            else:
                self._take("expression", at + 1, end)
            at = end
        self._at = at + 1

    def _between(self, start: int, end: int) -> str:
        return self._body[self._tokens[start].start : self._tokens[end - 1].end] if start < end else ""


def is_name(word: str) -> bool:
    return word[:1].isalpha() or word[:1] in ('"', "_", "$") or not word.isascii()


def _word(token: str) -> str:
    """In capitals as PL/pgSQL compares its words: a quoted name is none of them, nor is `ıf`."""
    return token if token.startswith('"') or not token.isascii() else token.upper()
