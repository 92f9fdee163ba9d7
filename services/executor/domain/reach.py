"""What a statement sets off beyond the rows that it names: triggers, rules, functions. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from services.executor.domain.dressing import Dressing
from shared.sql.actions import Outside, Write
from shared.sql.blocks import statements_of_function, statements_of_trigger
from shared.sql.columns import Table, shown
from shared.sql.outside import outside_of
from shared.sql.parsing import Unreadable, parse
from shared.sql.script import Statement
from shared.sql.tree import below, inner, kind, strings, table_of

_READING = frozenset({"SelectStmt"})
# Here a call is kept for another time, if it is one at all.
_DEFINING = frozenset({"CreateFunctionStmt", "CreateTrigStmt", "ViewStmt", "RuleStmt", "CreatePolicyStmt"})


@dataclass(frozen=True)
class Body:
    """What a function of the user's does: `quiet` is one that only computes."""

    quiet: bool
    outside: tuple[str, ...] = ()

    @classmethod
    def of(cls, definition: str) -> "Body":
        """As the statement that makes it says; nobody knows of dynamic SQL, nor of other languages."""
        try:
            (made,) = parse(definition)
        except Unreadable:
            return cls(quiet=False)
        options = {inner(each).defname: inner(inner(each).arg) for each in made.node.options}
        language = options["language"].sval.lower() if "language" in options else "sql"
        if language not in ("sql", "plpgsql"):
            return cls(quiet=False)
        if "as" not in options:
            # SQL's own body is a tree, which is read as it is.
            return cls(quiet=False, outside=tuple(outside_of(made.node)))
        texts, dynamic = strings(options["as"].items), False
        if language == "plpgsql" and strings(made.node.return_type.names)[-1:] == ("trigger",):
            texts, dynamic = statements_of_trigger(texts[0])
        elif language == "plpgsql":
            texts, dynamic = statements_of_function(definition)
        quiet, outside = not dynamic, []
        for each in texts:
            try:
                statements = parse(each)
            except Unreadable:
                quiet = False
                continue
            quiet = quiet and all(kind(statement.node) in _READING for statement in statements)
            outside += [reason for statement in statements for reason in outside_of(statement.node)]
        return cls(quiet and not outside, tuple(dict.fromkeys(outside)))


@dataclass
class Reach:
    """A database's triggers, rules, functions and foreign tables; `keep_up` adds what an upgrade makes."""

    functions: dict[str, Body] = field(default_factory=dict)
    """The user's own, by their plain names; of several with one name the gravest."""
    fired: dict[Table, tuple[str, ...]] = field(default_factory=dict)
    """Per table, the functions that its triggers call; an empty name stands for a rule."""
    foreign: set[Table] = field(default_factory=set)
    last: dict[Table, str] = field(default_factory=dict)
    """Per table its last column: another one that is dropped does not come back to its place."""
    worn: Dressing = field(default_factory=dict)
    """What its things wear."""
    published: dict[Table, tuple[str, ...]] = field(default_factory=dict)
    """Per table, the publications that name it: one made in its place is in none of them."""
    owned: set[str] = field(default_factory=set)
    """The sequences that are a column's, as people write them: made again, they go on behind its numbers."""

    def add(self, name: str, body: Body) -> None:
        """Know of a function."""
        known = self.functions.get(name, body)
        outside = tuple(dict.fromkeys(known.outside + body.outside))
        self.functions[name] = Body(known.quiet and body.quiet, outside)

    def keep_up(self, statement: Statement) -> None:
        """The reach after the statement."""
        node = statement.node
        match kind(node):
            case "CreateFunctionStmt":
                self.add(strings(node.funcname)[-1], Body.of(statement.text))
            case "CreateTrigStmt":
                self._fires(table_of(node.relation, statement.schema), strings(node.funcname)[-1])
            case "RuleStmt":
                self._fires(table_of(node.relation, statement.schema), "")
            case "CreateForeignTableStmt":
                self.foreign.add(table_of(node.base_stmt.relation, statement.schema))

    def _fires(self, table: Table, function: str) -> None:
        self.fired[table] = (*self.fired.get(table, ()), function)

    def outside(self, statement: Statement) -> Iterator[str]:
        """What nothing in the database takes back."""
        yield from (each.what for each in statement.actions if isinstance(each, Outside))
        for name in self._called(statement):
            yield from (f"{name}(): {reason}" for reason in self.functions[name].outside)
        for table in _written(statement):
            if table in self.foreign:
                yield f"rows of {shown(table)} are on another server"
            for name in self.fired.get(table, ()):
                body = self.functions.get(name)
                yield from (f"a trigger of {shown(table)}: {each}" for each in (body.outside if body else ()))

    def unknown(self, statement: Statement) -> Iterator[str]:
        """What may happen to rows that the statement does not name."""
        for name in self._called(statement):
            if not self.functions[name].quiet:
                yield f"calls {name}(): nobody can say what it does to rows"
        for table in _written(statement):
            if table in self.fired:
                what = "rules" if set(self.fired[table]) == {""} else "triggers"
                yield f"{what} of {shown(table)} run when its rows are written, and may write others"

    def _called(self, statement: Statement) -> list[str]:
        if kind(statement.node) in _DEFINING:
            return []
        calls = (each for each in below(statement.node) if kind(each) == "FuncCall")
        names = dict.fromkeys(strings(each.funcname)[-1] for each in calls)
        return [name for name in names if name in self.functions]


def _written(statement: Statement) -> list[Table]:
    return list(dict.fromkeys(each.table for each in statement.actions if isinstance(each, Write)))
