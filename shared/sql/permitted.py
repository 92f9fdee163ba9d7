"""What a script of a Release may do: everything within the Project's own schemas, nothing beyond. Pure.

The tree of PostgreSQL's parser is judged, with all that stands in it: expressions, views, rules, policies,
bodies of functions and DO blocks, constants that are run as SQL. What cannot be read is refused.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from shared.sql import risks
from shared.sql.body_walk import Fragment
from shared.sql.calls import is_run, value_of
from shared.sql.concerns import INSIDE, Concern, excerpt
from shared.sql.made_text import NOTHING, MadeText, made_text, possible_texts
from shared.sql.outward import LANGUAGES, SQL_TAKERS
from shared.sql.parsing import Unreadable, nodes_of, parse
from shared.sql.plpgsql import fragments_of
from shared.sql.points import refused_points
from shared.sql.refusing import refusals_of
from shared.sql.tree import below, inner, kind, parts_of_tree, strings

_DEPTH_MAX = 12
_HOLDING_CODE = frozenset({"DoStmt", "CreateFunctionStmt", "CreateTrigStmt", "FuncCall", "A_Indirection"})
_DYNAMIC = risks.Risk(
    "it makes its SQL while it runs, and nobody can say beforehand what it does", grave=True
)
_OTHER_LANGUAGE = (
    "code in other languages than sql and plpgsql cannot be read, and may reach beyond the database"
)
_TRIED_MAX = 2_000
_TRIED_CHARACTERS = 200
"""A text counts once more for each of so many characters: the work is the parser's, by length."""
# The words with which statements begin that may be refused, themselves or for what stands in them.
_BEGINNING = re.compile(
    r"\s*+(?:[(;]|--|/\*|(?:abort|alter|analyze|begin|call|checkpoint|close|cluster|comment|commit|copy|create"
    r"|deallocate|declare|delete|discard|do|drop|end|execute|explain|fetch|grant|import|insert|listen|load|lock"
    r"|merge|move|notify|prepare|reassign|refresh|reindex|release|reset|revoke|rollback|savepoint|security|select"
    r"|set|show|start|table|truncate|unlisten|update|vacuum|values|with)\b)",
    re.IGNORECASE,
)
_SPACED = re.compile(r"\s|/\*")


@dataclass
class _Tried:
    """How many texts were tried as SQL."""

    count: int = 0


@lru_cache(maxsize=16)
def concerns_of(sql: str) -> tuple[Concern, ...]:
    """Every concern of a script, in order. Raises `Unreadable` when PostgreSQL cannot read it."""
    judge = _Judge()
    line, counted = 1, 0
    for each in parse(sql):
        line += sql.count("\n", counted, each.start)
        counted = each.start
        judge.statement(each.node, sql[each.start : each.end], line)
    return tuple(dict.fromkeys(judge.found))


def refused_in(sql: str) -> tuple[Concern, ...]:
    """The concerns for which a script must not run; one that cannot be read is such a one itself."""
    try:
        return tuple(each for each in concerns_of(sql) if each.kind == "refused")
    except Unreadable as error:
        fault = error.fault
        return (Concern("refused", fault.line, "", fault.reason, fault.cure),)


@dataclass
class _Judge:
    found: list[Concern] = field(default_factory=list)
    scene: risks.Made = field(default_factory=risks.Made)
    depth: int = 0
    tried: _Tried = field(default_factory=_Tried)
    variables: bool = False
    """A name may be that of a variable: inside of PL/pgSQL."""
    parameters: frozenset[str] = frozenset()
    """The parameters of the function in SQL whose body is judged."""
    executed: set[str] = field(default_factory=set)
    """Texts that were judged as SQL."""
    _text: str = ""
    _line: int = 1

    def statement(self, node: Any, text: str, line: int) -> None:
        """Judge a statement that stands at `line`, with all that is below it."""
        self._text, self._line = text, line
        parts = list(parts_of_tree(node))
        for reason, cure in refused_points(parts, variables=self.variables, parameters=self.parameters):
            self._refuse(reason, cure)
        for part in parts:
            for reason, cure in refusals_of(part):
                self._refuse(reason, cure)
            for risk in risks.risks_of(part, self.scene):
                self._risk(risk)
            if part.kind in _HOLDING_CODE:
                self._look_inside(part.node, text, line)
                self._text, self._line = text, line

    def _refuse(self, reason: str, cure: str) -> None:
        self.found.append(Concern("refused", self._line, excerpt(self._text), reason, cure))

    def _risk(self, risk: risks.Risk) -> None:
        statement = excerpt(self._text)
        self.found.append(Concern("risk", self._line, statement, risk.reason, grave=risk.grave))

    def _look_inside(self, node: Any, text: str, line: int) -> None:
        match kind(node):
            case "DoStmt":
                given = {inner(each).defname: inner(inner(each).arg) for each in node.args}
                language = given["language"].sval if "language" in given else "plpgsql"
                body = given["as"].sval if "as" in given else ""
                self._body(language, body, line + _lines_before(text, body))
            case "CreateFunctionStmt":
                self._function(node, text, line)
            case "FuncCall":
                self._taker(node)
            case "CreateTrigStmt":
                # The trigger's function gets them, and may run them.
                for each in strings(node.args):
                    self._suspect(each)
            case "A_Indirection":
                # `('…'::text).f` is f('…').
                self._suspect(made_text(inner(node.arg)).text)

    def _function(self, node: Any, text: str, line: int) -> None:
        given = {inner(each).defname: inner(inner(each).arg) for each in node.options}
        language = given["language"].sval if "language" in given else "sql"
        bodies = strings(given["as"].items) if "as" in given else ()
        if language in LANGUAGES and len(bodies) > 1:
            self._refuse("a function of the server's files is called", INSIDE)
        parameters = frozenset(inner(each).name for each in node.parameters)
        for body in bodies[:1]:
            self._body(language, body, line + _lines_before(text, body), parameters)

    def _body(self, language: str, body: str, line: int, parameters: frozenset[str] = frozenset()) -> None:
        if language not in LANGUAGES:
            self._refuse(_OTHER_LANGUAGE, "write it in sql or plpgsql")
            return
        try:
            if language == "sql":
                self._script(body, line, parameters=parameters)
            else:
                self._fragments(fragments_of(body), line)
        except Unreadable as error:
            reason = f"the body cannot be read: {error.fault.reason}"
            self._refuse(reason, error.fault.cure)

    def _script(
        self, sql: str, line: int, *, refusals_only: bool = False, parameters: frozenset[str] = frozenset()
    ) -> None:
        """Judge SQL that is run from inside other SQL. Raises `Unreadable`."""
        self.executed.add(sql)
        placed, counted = [], 0
        for each in parse(sql):
            line += sql.count("\n", counted, each.start)
            counted = each.start
            placed.append((each.node, sql[each.start : each.end], line))
        self._inside(placed, refusals_only=refusals_only, parameters=parameters)

    def _inside(
        self,
        placed: Sequence[tuple[Any, str, int]],
        *,
        refusals_only: bool = False,
        variables: bool = False,
        parameters: frozenset[str] = frozenset(),
    ) -> None:
        """Judge statements, each with its text and line, that stand inside the one that is judged."""
        if self.depth >= _DEPTH_MAX:
            self._refuse("its SQL stands too deep in other SQL", f"nest it {_DEPTH_MAX} deep at the most")
            return
        inside = _Judge(
            scene=self.scene,
            depth=self.depth + 1,
            executed=self.executed,
            tried=self.tried,
            variables=variables,
            parameters=parameters,
        )
        for node, text, at in placed:
            inside.statement(node, text, at)
        self.found += [each for each in inside.found if each.kind == "refused" or not refusals_only]

    def _fragments(self, fragments: tuple[Fragment, ...], line: int) -> None:
        nodes: list[Any] = []
        made: list[tuple[Fragment, MadeText]] = []
        for each in fragments:
            found = _nodes_of(each)
            nodes += found
            self._inside([(node, each.text, line + each.line - 1) for node in found], variables=True)
            if each.kind == "dynamic":
                made.append((each, _executed(found)))
        for each, known in made:
            self._text, self._line = f"EXECUTE {each.text}", line + each.line - 1
            self._execute(known)
        if not all(known.whole for _, known in made):
            # Constants of a body that runs SQL nobody can follow: they must not be what is refused.
            for node in nodes:
                for text in _constants(node):
                    self._suspect(text)
                for value in _selected(node):
                    self._possible(made_text(value))

    def _execute(self, made: MadeText) -> None:
        """Judge a text that is run as SQL, as far as it is known."""
        if made.whole:
            # The text of a constant has its own lines; the statement that runs it is where people look.
            try:
                self._script(made.text, self._line)
            except Unreadable as error:
                self._refuse(f"the SQL that it runs cannot be read: {error.fault.reason}", error.fault.cure)
            return
        self._risk(_DYNAMIC)
        self._possible(made)

    def _possible(self, made: MadeText) -> None:
        """Refuse what is refused in one of the texts that may come out."""
        if not _BEGINNING.match(made.text):
            return
        for text in [made.text] if made.whole else possible_texts(made.text):
            before = len(self.found)
            self.tried.count += 1 + len(text) // _TRIED_CHARACTERS
            if self.tried.count > _TRIED_MAX:
                self._refuse("more of its SQL is made while it runs than can be followed", "split the script")
                return
            self._suspect(text)
            if len(self.found) > before:
                return

    def _suspect(self, text: str) -> None:
        """Refuse what is refused in a text that may be run as SQL, or may be no SQL at all."""
        if text in self.executed or not _BEGINNING.match(text):
            return
        self.executed.add(text)
        try:
            self._script(text, self._line, refusals_only=True)
        except Unreadable:
            # Words, or the parts do not fit: nothing is known of it.
            return

    def _taker(self, node: Any) -> None:
        """A call whose arguments may be SQL: it is known to run it, or nobody knows what it does."""
        name = strings(node.funcname)[-1]
        at = 0 if name.startswith("pgr_") else SQL_TAKERS.get(name)
        for place, each in enumerate(node.args):
            made = made_text(value_of(each))
            if is_run(inner(each), place, at):
                self._execute(made)
            elif made.whole and _SPACED.search(made.text):
                self._suspect(made.text)


def _nodes_of(fragment: Fragment) -> tuple[Any, ...]:
    if fragment.kind in ("statement", "query"):
        try:
            return nodes_of(fragment.text)
        except Unreadable:
            # A loop over the name of a cursor, perhaps with arguments.
            if fragment.kind == "statement":
                raise
    return nodes_of(f"SELECT {fragment.text}")


def _executed(nodes: tuple[Any, ...]) -> MadeText:
    """The text that EXECUTE runs, of what it is given behind a SELECT: unknown if that is no one value."""
    values = [value for node in nodes for value in _selected(node)]
    return made_text(values[0]) if len(values) == 1 else NOTHING


def _selected(node: Any) -> Iterator[Any]:
    """The values that a query yields, in each of the queries that it unites."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if kind(each) == "SelectStmt":
            yield from (inner(inner(value).val) for value in each.target_list)
            waiting += [getattr(each, side) for side in ("rarg", "larg") if each.HasField(side)]


def _constants(node: Any) -> Iterator[str]:
    for each in below(node):
        if kind(each) == "A_Const" and each.HasField("sval"):
            yield each.sval.sval


def _lines_before(text: str, body: str) -> int:
    """The lines of the statement above its body, which stands there as it is between dollar signs."""
    return text.count("\n", 0, max(text.find(body), 0)) if body else 0
