"""A script as PostgreSQL reads it: its statements, its transactions, and what cannot run. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from postgast import pg_query_pb2

from shared.sql.actions import Action
from shared.sql.bounds import MARK
from shared.sql.names import quoted
from shared.sql.parsing import NO_ROWS_FROM_STDIN, Fault, Unreadable, parse
from shared.sql.reading import actions_of
from shared.sql.tree import inner, kind, strings

DEFAULT_SCHEMA = "public"
_WORDS = 3
"""Of a statement: as many as anybody asks for."""
_ENDS_TRANSACTION = re.compile(r"\b(COMMIT|ROLLBACK)\b(?!\s+(DROP|DELETE|PRESERVE)\b)", re.IGNORECASE)
_NEVER_IN_TRANSACTION = frozenset(
    {"AlterSystemStmt", "CreatedbStmt", "DropdbStmt", "CreateTableSpaceStmt", "DropTableSpaceStmt"}
    | {"CreateSubscriptionStmt", "DropSubscriptionStmt"}
)
_WHOLE_REINDEX = (
    pg_query_pb2.REINDEX_OBJECT_DATABASE,
    pg_query_pb2.REINDEX_OBJECT_SYSTEM,
    pg_query_pb2.REINDEX_OBJECT_SCHEMA,
)
_OPENS = (pg_query_pb2.TRANS_STMT_BEGIN, pg_query_pb2.TRANS_STMT_START)
_ALONE_ELSEWHERE = "cannot run in a transaction, and several statements are one"


@dataclass(frozen=True)
class IndexBuild:
    """What a CREATE or DROP INDEX CONCURRENTLY names.

    `index` is a plain name for one that is built, and SQL text, with its schema, for one that is dropped;
    `table` is SQL text, and none for a drop.
    """

    creates: bool
    index: str | None
    table: str | None


@dataclass(frozen=True)
class Statement:
    """One statement: its first line (from 1), its text without semicolon and comments around it."""

    line: int
    text: str
    start: int
    after: int
    """Where the next may begin: behind its semicolon."""
    schema: str
    node: Any = field(compare=False, repr=False)
    tokens: tuple[str, ...] = field(repr=False)
    """The first words, of names and strings too: words and plain names in capitals; a string is `''`."""

    @cached_property
    def actions(self) -> tuple[Action, ...]:
        """What it does."""
        return tuple(actions_of(self.node, self.schema))

    @property
    def opens_transaction(self) -> bool:
        return self._transaction in _OPENS

    @property
    def commits(self) -> bool:
        return bool(self._transaction == pg_query_pb2.TRANS_STMT_COMMIT)

    @property
    def _transaction(self) -> int | None:
        return self.node.kind if kind(self.node) == "TransactionStmt" else None

    @property
    def runs_alone(self) -> bool:
        """Whether PostgreSQL takes it only outside a transaction, and so only alone in its file."""
        node = self.node
        match kind(node):
            case "VacuumStmt":
                return bool(node.is_vacuumcmd)
            case "ReindexStmt":
                return node.kind in _WHOLE_REINDEX or _has_option(node.params, "concurrently")
            case "IndexStmt" | "DropStmt":
                return bool(node.concurrent)
            case "AlterTableStmt":
                commands = [inner(each) for each in node.cmds]
                return any(
                    each.subtype == pg_query_pb2.AT_DetachPartition and inner(getattr(each, "def")).concurrent
                    for each in commands
                )
            case other:
                return other in _NEVER_IN_TRANSACTION

    @property
    def may_end_transactions(self) -> bool:
        """Whether it can do so where it stands alone; inside a transaction PostgreSQL forbids it."""
        if kind(self.node) == "DoStmt":
            return _ENDS_TRANSACTION.search(self.text) is not None
        return kind(self.node) == "CallStmt"

    @property
    def index_build(self) -> IndexBuild | None:
        """What it builds or drops, if it is an index and concurrently."""
        node = self.node
        if kind(node) == "IndexStmt" and node.concurrent:
            names = [each for each in (node.relation.schemaname, node.relation.relname) if each]
            return IndexBuild(True, node.idxname or None, quoted(*names))
        if kind(node) == "DropStmt" and node.concurrent:
            return IndexBuild(False, quoted(*strings(inner(node.objects[0]).items)), None)
        return None


def _has_option(options: Any, name: str) -> bool:
    return any(inner(each).defname == name for each in options)


@dataclass(frozen=True)
class Part:
    """What becomes true at once: one transaction, or one statement that runs outside of any."""

    sql: str
    start: int
    alone: bool = False
    end: str = ""
    """The COMMIT with which the script itself ends the transaction here, as written."""

    @property
    def committed(self) -> bool:
        return bool(self.end)


@dataclass(frozen=True)
class Script:
    """A whole script."""

    sql: str
    statements: tuple[Statement, ...]

    @property
    def alone(self) -> Statement | None:
        """The statement for which the script runs outside a transaction."""
        if len(self.statements) != 1:
            return None
        (only,) = self.statements
        return only if only.runs_alone or only.may_end_transactions else None

    def parts(self) -> tuple[Part, ...]:
        """The script's transactions in order, where PostgreSQL ends them when it gets the script at once.

        Statements outside BEGIN and COMMIT run with what stands around them, up to the next COMMIT. Put
        together, `sql` and `end` of all parts are the script.
        """
        if self.alone is not None:
            return (Part(self.sql, 0, alone=True),)
        found: list[Part] = []
        start = 0
        commits = [each for each in self.statements if each.commits]
        for statement in commits:
            # What follows the last COMMIT is comments at the most.
            last = statement is self.statements[-1]
            end = len(self.sql) if last else statement.after
            found.append(Part(self.sql[start : statement.start], start, end=self.sql[statement.start : end]))
            start = end
        if start < len(self.sql) or not found:
            found.append(Part(self.sql[start:], start))
        return tuple(found)

    def faults(self) -> Iterator[Fault]:
        """Why `prisma migrate deploy` could not run it, or would leave it half done."""
        if self.sql.startswith(MARK):
            yield Fault(1, "it begins with a byte order mark", "save it as UTF-8 without one")
        opened = 0
        for statement in self.statements:
            yield from self._faults_of(statement)
            if statement.opens_transaction:
                opened = statement.line
            elif statement.commits:
                opened = 0
        if opened:
            yield Fault(opened, "BEGIN has no COMMIT", "write COMMIT at its end, or leave BEGIN out")

    def _faults_of(self, statement: Statement) -> Iterator[Fault]:
        line, node = statement.line, statement.node
        if kind(node) == "CopyStmt" and node.is_from and not node.filename and not node.is_program:
            yield Fault(line, *NO_ROWS_FROM_STDIN)
        if kind(node) == "TransactionStmt":
            if node.kind == pg_query_pb2.TRANS_STMT_ROLLBACK:
                yield Fault(line, "ROLLBACK takes back what the script did before it", "leave it out")
            elif node.kind == pg_query_pb2.TRANS_STMT_PREPARE:
                yield Fault(line, "a prepared transaction outlives the migration", "write COMMIT")
            elif node.chain:
                yield Fault(line, "AND CHAIN leaves another transaction open", "write COMMIT, then BEGIN")
        if statement.runs_alone and len(self.statements) > 1:
            words = " ".join(statement.tokens[:3])
            yield Fault(line, f"{words} {_ALONE_ELSEWHERE}", "move it into a migration of its own")
        build = statement.index_build
        if build is not None and build.creates and build.index is None:
            cure = "write CREATE INDEX CONCURRENTLY <name> ON …"
            yield Fault(line, "an index without a name cannot be found again after a crash", cure)


def read_script(sql: str) -> Script:
    """A script as a whole. Raises `Unreadable`."""
    return Script(sql, read_statements(sql))


def read_statements(sql: str, schema: str = DEFAULT_SCHEMA) -> tuple[Statement, ...]:
    """The statements of a script; `schema` is meant where a name has none. Raises `Unreadable`."""
    statements = []
    line, counted = 1, 0
    for each in parse(sql):
        line += sql.count("\n", counted, each.start)
        counted = each.start
        words = tuple(_word(sql[token.start : token.end]) for token in each.tokens[:_WORDS])
        text = sql[each.start : each.end]
        statements.append(Statement(line, text, each.start, each.after, schema, each.node, words))
    return tuple(statements)


def alone_in(sql: str) -> Statement | None:
    """The statement for which the script runs outside a transaction; none, too, of one that is unreadable."""
    try:
        return read_script(sql).alone
    except Unreadable:
        return None


def parts_of(sql: str) -> tuple[Part, ...]:
    """The script's transactions in order; one that is unreadable goes to the server in one piece.

    What a Run brings is refused when it cannot be read. What a Project had before may be older than any rule,
    and is replayed as Prisma runs it.
    """
    try:
        return read_script(sql).parts()
    except Unreadable:
        return (Part(sql, 0),)


def faults_of(sql: str) -> tuple[Fault, ...]:
    """Why a script could not run, that PostgreSQL's parser says no among it."""
    try:
        return tuple(read_script(sql).faults())
    except Unreadable as error:
        return (error.fault,)


def _word(token: str) -> str:
    if token.startswith('"'):
        return token
    return "''" if "'" in token or (token.startswith("$") and token.endswith("$")) else token.upper()
