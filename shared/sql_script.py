"""A script read as PostgreSQL reads it: its statements, its transactions, and what cannot run. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

_TOKEN = re.compile(
    r"""
      (?P<blank>\s+|--[^\n]*)
    | (?P<comment>/\*)
    | (?P<string>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
    | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
    | (?P<name>"(?:[^"]|"")+")
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ENDS_TRANSACTION = re.compile(r"\b(COMMIT|ROLLBACK)\b", re.IGNORECASE)
_MARK = "\ufeff"
_NOT_IN_TRANSACTION = tuple(
    pattern.split()
    for pattern in (
        "VACUUM",
        "ALTER SYSTEM",
        "CREATE DATABASE",
        "DROP DATABASE",
        "CREATE TABLESPACE",
        "DROP TABLESPACE",
        "CREATE SUBSCRIPTION",
        "DROP SUBSCRIPTION",
        "REINDEX DATABASE",
        "REINDEX SYSTEM",
        "REINDEX SCHEMA",
    )
)


@dataclass(frozen=True)
class Fault:
    """Why a script cannot run, or must not; `line` counts from 1."""

    line: int
    reason: str
    cure: str


@dataclass(frozen=True)
class IndexBuild:
    """What a CREATE or DROP INDEX CONCURRENTLY names, as written; `table` is none for a drop."""

    creates: bool
    index: str | None
    table: str | None


@dataclass(frozen=True)
class Statement:
    """One statement; `tokens` hold no comments, and keywords and plain names in capitals."""

    text: str
    start: int
    line: int
    tokens: tuple[str, ...] = field(repr=False)

    def begins(self, *words: str) -> bool:
        return self.tokens[: len(words)] == words

    @property
    def opens_transaction(self) -> bool:
        return self.begins("BEGIN") or self.begins("START", "TRANSACTION")

    @property
    def commits(self) -> bool:
        return (self.begins("COMMIT") or self.begins("END")) and "PREPARED" not in self.tokens

    @property
    def abandons(self) -> bool:
        back_to_savepoint = "TO" in self.tokens
        return (self.begins("ROLLBACK") or self.begins("ABORT")) and not back_to_savepoint

    @property
    def runs_alone(self) -> bool:
        """Whether PostgreSQL takes it only outside a transaction, and so only alone in its file."""
        if any(self.begins(*words) for words in _NOT_IN_TRANSACTION) or self.begins("CALL"):
            return True
        if self.begins("DO"):
            return _ENDS_TRANSACTION.search(self.text) is not None
        concurrently = "CONCURRENTLY" in self.tokens
        return concurrently and (
            self.index_build is not None
            or self.begins("REINDEX")
            or (self.begins("ALTER", "TABLE") and "DETACH" in self.tokens)
        )

    @cached_property
    def index_build(self) -> IndexBuild | None:
        """What it builds or drops, if it is an index and concurrently."""
        tokens = [token for token in self.tokens if token not in ("UNIQUE", "IF", "NOT", "EXISTS")]
        if tokens[1:3] != ["INDEX", "CONCURRENTLY"] or tokens[0] not in ("CREATE", "DROP"):
            return None
        name, rest = qualified(tokens[3:])
        if tokens[0] == "DROP":
            return IndexBuild(False, name, None)
        if name == "ON":
            rest = tokens[3:]
        table, _ = qualified(rest[2:] if rest[1:2] == ["ONLY"] else rest[1:])
        return IndexBuild(True, None if name == "ON" else name, table)


def qualified(tokens: list[str]) -> tuple[str, list[str]]:
    """The name, with its schema if it has one, that `tokens` begin with, and what follows."""
    if tokens[1:2] == ["."]:
        return "".join(tokens[:3]), tokens[3:]
    return "".join(tokens[:1]), tokens[1:]


@dataclass(frozen=True)
class Part:
    """What becomes true at once: one transaction, or one statement that runs outside of any."""

    sql: str
    start: int
    alone: bool
    committed: bool
    """The script itself ends the transaction here."""


@dataclass(frozen=True)
class Script:
    """A whole script. `unfinished` is what was never closed: a quote, a comment, a parenthesis."""

    sql: str
    statements: tuple[Statement, ...]
    unfinished: Fault | None

    @property
    def alone(self) -> Statement | None:
        """The statement for which the script runs outside a transaction."""
        return self.statements[0] if len(self.statements) == 1 and self.statements[0].runs_alone else None

    def parts(self) -> tuple[Part, ...]:
        """The script's transactions in order, where PostgreSQL ends them when it gets the script at once.

        Statements outside BEGIN and COMMIT run with what stands around them, up to the next COMMIT.
        """
        if self.alone is not None:
            return (Part(self.sql, 0, alone=True, committed=False),)
        found: list[Part] = []
        start = 0
        for statement in self.statements:
            if statement.commits:
                found.append(Part(self.sql[start : statement.start], start, alone=False, committed=True))
                start = statement.start + len(statement.text) + 1
        if not found or any(statement.start >= start for statement in self.statements):
            found.append(Part(self.sql[start:], start, alone=False, committed=False))
        return tuple(found)

    def faults(self) -> Iterator[Fault]:
        """Why `prisma migrate deploy` could not run it, or would leave it half done."""
        if self.unfinished is not None:
            yield self.unfinished
        if self.sql.startswith(_MARK):
            yield Fault(1, "it begins with a byte order mark", "save it as UTF-8 without one")
        if "\0" in self.sql:
            line = self.sql[: self.sql.index("\0")].count("\n") + 1
            yield Fault(line, "it holds a NUL character", "save it as UTF-8")
        depth = 0
        for statement in self.statements:
            yield from self._faults_of(statement)
            if statement.opens_transaction:
                depth = statement.line
            elif statement.commits:
                depth = 0
        if depth:
            yield Fault(depth, "BEGIN has no COMMIT", "write COMMIT at its end, or leave BEGIN out")

    def _faults_of(self, statement: Statement) -> Iterator[Fault]:
        line, tokens = statement.line, statement.tokens
        if "\\" in tokens:
            yield Fault(line, "a backslash command is psql's, not SQL", "leave it out")
        if tokens[0] == "COPY" and _follow(tokens, "FROM", "STDIN"):
            yield Fault(line, "COPY … FROM STDIN has nobody who sends the rows", "write INSERT … VALUES")
        if statement.abandons:
            yield Fault(line, "ROLLBACK takes back what the script did before it", "leave it out")
        if _follow(tokens, "PREPARE", "TRANSACTION"):
            yield Fault(line, "a prepared transaction outlives the migration", "write COMMIT")
        if statement.runs_alone and len(self.statements) > 1:
            yield Fault(
                line,
                f"{' '.join(tokens[:3])} cannot run in a transaction, and several statements are one",
                "move it into a migration of its own",
            )
        build = statement.index_build
        if build is not None and build.creates and build.index is None:
            cure = "write CREATE INDEX CONCURRENTLY <name> ON …"
            yield Fault(line, "an index without a name cannot be found again after a crash", cure)


def _follow(tokens: tuple[str, ...], *words: str) -> bool:
    return any(tokens[place : place + len(words)] == words for place in range(len(tokens)))


def read_script(sql: str) -> Script:
    """Split a script by PostgreSQL's own rules. Never fails: what is not closed is told as `unfinished`."""
    return _Reading(sql).script()


class _Reading:
    """One script being read."""

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._statements: list[Statement] = []
        self._tokens: list[str] = []
        self._start = 0
        self._parentheses = 0
        self._body = 0
        """How deep in BEGIN ATOMIC … END; semicolons in there do not end the statement."""
        self._unfinished: Fault | None = None

    def script(self) -> Script:
        sql, place = self._sql, 1 if self._sql.startswith(_MARK) else 0
        while place < len(sql):
            found = _TOKEN.match(sql, place)
            assert found is not None, "the last alternative takes any character"
            end = found.end()
            if found.lastgroup == "comment":
                end = self._comment_end(place)
            elif found.lastgroup == "dollar":
                end = self._dollar_end(found)
                self._add("$$", place)
            elif found.lastgroup != "blank":
                self._take(found, place)
            place = end
        if self._parentheses > 0 and self._tokens:
            self._unclosed(self._start, "a parenthesis")
        self._end(len(sql))
        return Script(sql, tuple(self._statements), self._unfinished)

    def _take(self, found: re.Match[str], place: int) -> None:
        kind, text = found.lastgroup, found.group()
        if kind == "word":
            self._add(text.upper(), place)
            self._nest(text.upper())
        elif kind == "other" and text == ";" and self._parentheses <= 0 and not self._body:
            self._end(place)
        else:
            if kind == "other" and text in "'\"":
                self._unclosed(place, "a quote")
            self._parentheses += {"(": 1, ")": -1}.get(text, 0) if kind == "other" else 0
            self._add("''" if kind == "string" else text, place)

    def _nest(self, word: str) -> None:
        if word == "ATOMIC" and self._tokens[-2:-1] == ["BEGIN"] and self._tokens[0] == "CREATE":
            self._body = 1
        elif self._body and word == "CASE":
            self._body += 1
        elif self._body and word == "END":
            self._body -= 1

    def _add(self, token: str, place: int) -> None:
        if not self._tokens:
            self._start = place
        self._tokens.append(token)

    def _end(self, place: int) -> None:
        if self._tokens:
            text = self._sql[self._start : place]
            line = self._sql.count("\n", 0, self._start) + 1
            self._statements.append(Statement(text, self._start, line, tuple(self._tokens)))
        self._tokens, self._parentheses, self._body = [], 0, 0

    def _comment_end(self, place: int) -> int:
        depth = 0
        for edge in _COMMENT_EDGE.finditer(self._sql, place):
            depth += 1 if edge.group() == "/*" else -1
            if depth == 0:
                return edge.end()
        self._unclosed(place, "a comment")
        return len(self._sql)

    def _dollar_end(self, found: re.Match[str]) -> int:
        place = self._sql.find(found.group(), found.end())
        if place < 0:
            self._unclosed(found.start(), f"a text quoted by {found.group()}")
            return len(self._sql)
        return place + len(found.group())

    def _unclosed(self, place: int, what: str) -> None:
        line = self._sql.count("\n", 0, place) + 1
        self._unfinished = self._unfinished or Fault(line, f"{what} is never closed", "close it")
