"""A script cut by PostgreSQL's own parser. Pure."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import postgast
from google.protobuf.message import DecodeError
from postgast import pg_query_pb2

from shared.sql.bounds import MARK, TooMuch, bound_sql
from shared.sql.tree import inner

_COPIES = re.compile(r"\bCOPY\b", re.IGNORECASE)
_FROM_STDIN = re.compile(r"\bFROM\s++STDIN\b", re.IGNORECASE)


@dataclass(frozen=True)
class Fault:
    """Why a script cannot run, or must not; `line` counts from 1."""

    line: int
    reason: str
    cure: str


class Unreadable(ValueError):
    """PostgreSQL's parser says no."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"line {fault.line}: {fault.reason}")
        self.fault = fault

    def __reduce__(self) -> tuple[type["Unreadable"], tuple[Fault]]:
        return type(self), (self.fault,)


NO_ROWS_FROM_STDIN = ("COPY … FROM STDIN has nobody who sends the rows", "write INSERT … VALUES")


# The tree comes as a message, and a message has at most a hundred parts inside each other.
_TOO_DEEP = Fault(1, "an expression or a query is nested too deeply", "split it, or use brackets less deeply")


@dataclass(frozen=True)
class Token:
    """A word, name, number or sign of the text, no comment; places are characters from the beginning."""

    start: int
    end: int


@dataclass(frozen=True)
class Parsed:
    """One statement: the parser's node, where its first word begins and its last ends, and where the next
    statement may begin: behind its semicolon."""

    node: Any
    start: int
    end: int
    after: int
    tokens: tuple[Token, ...]


def parse(sql: str) -> tuple[Parsed, ...]:
    """The statements of a script, in order. Raises `Unreadable`."""
    mark = len(MARK) if sql.startswith(MARK) else 0
    text = sql[mark:]
    if "\0" in text:
        # The parser would take it for the end.
        raise Unreadable(Fault(_line(text, text.index("\0")), "it holds a NUL character", "save it as UTF-8"))
    try:
        bound_sql(text)
        tree = postgast.parse(text)
    except TooMuch as error:
        raise Unreadable(Fault(_line(text, error.at), str(error), "split the script")) from None
    except postgast.PgQueryError as error:
        raise Unreadable(_fault(text, error)) from None
    except DecodeError:
        raise Unreadable(_TOO_DEEP) from None
    place = _places(text, mark)
    tokens = tuple(_tokens(text, place))
    starts = [token.start for token in tokens]
    found = []
    for raw in tree.stmts:
        # No length means that no semicolon follows.
        end = place(raw.stmt_location + raw.stmt_len) if raw.stmt_len else len(sql)
        own = tokens[bisect_left(starts, place(raw.stmt_location)) : bisect_left(starts, end)]
        found.append(Parsed(inner(raw.stmt), own[0].start, own[-1].end, min(end + 1, len(sql)), own))
    return tuple(found)


def tokens_of(text: str) -> tuple[Token, ...]:
    """The tokens of any text in PostgreSQL's spelling, a function's body too. Raises `Unreadable`."""
    try:
        bound_sql(text)
        return tuple(_tokens(text, _places(text, 0)))
    except TooMuch as error:
        raise Unreadable(Fault(_line(text, error.at), str(error), "split the script")) from None
    except postgast.PgQueryError as error:
        raise Unreadable(_fault(text, error)) from None


def nodes_of(text: str) -> tuple[Any, ...]:
    """The parser's nodes of a part of what `tokens_of` has bounded, without places. Raises `Unreadable`."""
    try:
        return tuple(inner(raw.stmt) for raw in postgast.parse(text).stmts)
    except postgast.PgQueryError as error:
        raise Unreadable(_fault(text, error)) from None
    except DecodeError:
        raise Unreadable(_TOO_DEEP) from None


def _tokens(text: str, place: Callable[[int], int]) -> Iterator[Token]:
    for each in postgast.scan(text).tokens:
        if each.token not in (pg_query_pb2.Token.SQL_COMMENT, pg_query_pb2.Token.C_COMMENT):
            yield Token(place(each.start), place(each.end))


def _places(text: str, offset: int) -> Callable[[int], int]:
    """From bytes, which the parser counts in what it read, to characters."""
    if text.isascii():
        return lambda byte: byte + offset
    starts = list(accumulate((len(character.encode()) for character in text), initial=0))
    return lambda byte: bisect_left(starts, byte) + offset


def _fault(text: str, error: postgast.PgQueryError) -> Fault:
    # In its errors the parser counts characters, from 1; 0 where it knows no place.
    at = max(error.cursorpos - 1, 0)
    copied = _copied_rows(text[:at])
    if error.message.endswith('at or near "\\"') and not copied:
        return Fault(_line(text, at), "a backslash command is psql's, not SQL", "leave it out")
    if copied:
        return Fault(_line(text, copied[0]), *NO_ROWS_FROM_STDIN)
    cure = "close it" if "unterminated" in error.message else "correct the SQL"
    return Fault(_line(text, at), f"PostgreSQL cannot read it: {error.message}", cure)


def _copied_rows(text: str) -> list[int]:
    """Where each `COPY … FROM STDIN …;` begins; each statement is looked at once."""
    found, at = [], 0
    while (end := text.find(";", at)) >= 0:
        copy = _COPIES.search(text, at, end)
        if copy is not None and _FROM_STDIN.search(text, copy.end(), end) is not None:
            found.append(copy.start())
        at = end + 1
    return found


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
