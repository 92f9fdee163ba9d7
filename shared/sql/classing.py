"""Which class each statement of an upgrade is of, and whether the code that runs survives it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from shared.contracts.impact import MigrationClass, OldCode, StatementImpact
from shared.sql.actions import (
    Action,
    AddColumn,
    AddConstraint,
    AddLabel,
    ChangeType,
    Code,
    Create,
    CreateIndex,
    CreateTable,
    CreateType,
    Drop,
    DropColumn,
    DropConstraint,
    DropIndex,
    DropNotNull,
    DropTable,
    Outside,
    Read,
    RenameColumn,
    RenameConstraint,
    RenameIndex,
    RenameLabel,
    RenameTable,
    RenameType,
    Renumber,
    Rewrite,
    Rights,
    SetDefault,
    SetNotNull,
    Setting,
    ValidateConstraint,
    Write,
)
from shared.sql.columns import shown
from shared.sql.scene import Scene
from shared.sql.script import Statement

CLASSES: tuple[MigrationClass, ...] = get_args(MigrationClass)
_ANSWERS: tuple[OldCode, ...] = get_args(OldCode)
_STATEMENT_CHARACTERS = 160


@dataclass(frozen=True)
class _Effect:
    kind: MigrationClass
    because: str
    old_code: OldCode = "survives"


def classify(statements: Iterable[Statement], scene: Scene) -> tuple[StatementImpact, ...]:
    """Each statement's class, in the order in which they run."""
    return tuple(_classified(statement, scene) for statement in statements)


def worst(kinds: Iterable[MigrationClass]) -> MigrationClass:
    """The gravest of the classes; additive when there are none."""
    return max(kinds, key=CLASSES.index, default="additive")


def broken(impacts: Sequence[StatementImpact]) -> tuple[StatementImpact, ...]:
    """The destructive statements that the old code would not survive: they belong behind the activation."""
    return tuple(each for each in impacts if each.kind == "destructive" and each.old_code == "fails")


def _classified(statement: Statement, scene: Scene) -> StatementImpact:
    effects: list[_Effect] = []
    for action in statement.actions:
        effects.append(_effect(action, scene))
        scene.keep_up(action)
    kind = worst(effect.kind for effect in effects)
    text = " ".join(statement.text.split())
    return StatementImpact(
        line=statement.line,
        statement=text if len(text) <= _STATEMENT_CHARACTERS else text[: _STATEMENT_CHARACTERS - 1] + "…",
        kind=kind,
        because=tuple(dict.fromkeys(each.because for each in effects if each.kind == kind)),
        old_code=max((each.old_code for each in effects), key=_ANSWERS.index, default="survives"),
    )


def _effect(action: Action, scene: Scene) -> _Effect:
    match action:
        case CreateTable(table=table):
            return _Effect("additive", f"table {shown(table)} is new")
        case DropTable() | DropColumn() | RenameTable() | RenameColumn() | RenameLabel() | Drop():
            return _taking_away(action, scene)
        case AddColumn():
            return _new_column(action, scene)
        case SetNotNull() | DropNotNull() | SetDefault() | ChangeType():
            return _column(action, scene)
        case AddConstraint() | ValidateConstraint() | DropConstraint():
            return _constraint(action, scene)
        case CreateIndex() | DropIndex():
            return _index(action, scene)
        case Write():
            return _write(action, scene)
        case RenameType(name=name, to=to):
            return _Effect("additive", f"type {shown(name)} is called {shown(to)} from then on", "may fail")
        case RenameConstraint(to=to) | RenameIndex(to=to):
            return _Effect("additive", f"a rule or an index is called {to} from then on")
        case CreateType() | Create():
            return _Effect("additive", "something new, without rows")
        case AddLabel(type=name, label=label):
            because = f"{shown(name)} may be {label!r}, which code that does not know it cannot read"
            return _Effect("additive", because, "may fail")
        case Rewrite(table=table, what=what):
            on = f" of {shown(table)}" if table else ""
            kind: MigrationClass = "blocking" if what in _LOCKING else "rewriting"
            return _Effect(kind, f"{what}{on} lets nobody in while it runs", "may fail")
        case Read():
            return _Effect("additive", "a query")
        case Setting(what=what) | Rights(what=what):
            return _Effect("additive", what)
        case Renumber(sequence=sequence):
            return _Effect("additive", f"sequence {sequence} goes on at another number")
        case Outside(what=what):
            return _Effect("additive", f"{what}, which is outside the database", "may fail")
        case Code(what=what):
            return _Effect("backfill", f"{what}: what it does is decided when it runs", "may fail")


_LOCKING = frozenset({"LOCK TABLE", "ATTACH PARTITION", "ENFORCED", "REINDEX", "REFRESH MAT VIEW"})


def _taking_away(
    action: DropTable | DropColumn | RenameTable | RenameColumn | RenameLabel | Drop, scene: Scene
) -> _Effect:
    match action:
        case DropTable(table=table, kind=kind):
            if scene.is_new(table):
                return _Effect("additive", f"{kind} {shown(table)} was made by this upgrade")
            lost = "with its rows" if kind == "table" else "and whoever reads it fails"
            return _Effect("destructive", f"{kind} {shown(table)} goes, {lost}", _fails(scene.uses(table)))
        case DropColumn(table=table, column=column):
            if scene.is_new(table, column):
                return _Effect("additive", f"column {shown(table)}.{column} was made by this upgrade")
            because = f"column {shown(table)}.{column} goes, with its values"
            return _Effect("destructive", because, _fails(scene.uses(table, column)))
        case RenameTable(table=table, to=to):
            because = f"table {shown(table)} is called {shown(to)} from then on"
            if scene.is_new(table):
                return _Effect("additive", because)
            return _Effect("destructive", because, _fails(scene.uses(table)))
        case RenameColumn(table=table, column=column, to=name):
            because = f"column {shown(table)}.{column} is called {name} from then on"
            if scene.is_new(table, column):
                return _Effect("additive", because)
            return _Effect("destructive", because, _fails(scene.uses(table, column)))
        case RenameLabel(type=name, label=label, to=new):
            because = f"{shown(name)}'s value {label!r} is called {new!r} from then on"
            return _Effect("destructive", because, "fails")
        case Drop(kind=kind, name=name):
            if kind in ("schema", "sequence", "extension", "function", "procedure", "partition", "aggregate"):
                return _Effect("destructive", f"{kind} {name} goes, and whoever uses it fails", "may fail")
            return _Effect("additive", f"{kind} {name} goes; no row does")


def _fails(uses: bool) -> OldCode:
    return "fails" if uses else "survives"


def _new_column(action: AddColumn, scene: Scene) -> _Effect:
    table, column = action.table, action.column
    name = f"{shown(table)}.{column.name}"
    if scene.is_new(table):
        return _Effect("additive", f"column {name} is new in a new table")
    filled = column.fills or column.generated is not None
    if filled or column.volatile:
        why = "every row gets a value of its own, so the table is written anew under a lock"
        return _Effect("rewriting", f"column {name} is new: {why}")
    if column.not_null and column.default is None:
        why = (
            "must not be null and has no default: where there are rows it fails, later the old code's inserts"
        )
        return _Effect("blocking", f"column {name} {why}", "may fail")
    if any(
        constraint.kind != "foreign key" or column.default is not None for constraint in column.constraints
    ):
        return _Effect("blocking", f"column {name} is new with a constraint: all rows are read under a lock")
    return _Effect("additive", f"column {name} is new")


def _column(action: SetNotNull | DropNotNull | SetDefault | ChangeType, scene: Scene) -> _Effect:
    table = action.table
    name = f"{shown(table)}.{action.column}"
    if scene.is_new(table):
        return _Effect("additive", f"{name} is in a new table")
    used: OldCode = "may fail" if scene.uses(table, action.column) else "survives"
    match action:
        case SetNotNull():
            return _Effect("blocking", f"all rows are read under a lock to see that {name} is not null", used)
        case DropNotNull():
            return _Effect("additive", f"{name} may be null from then on", used)
        case SetDefault():
            return _Effect("additive", f"only later inserts see the default of {name}")
        case ChangeType(type=new):
            because = (
                f"{name} becomes {new}: the table is written anew under a lock, unless the types are kin"
            )
            return _Effect("rewriting", because, used)


def _constraint(action: AddConstraint | ValidateConstraint | DropConstraint, scene: Scene) -> _Effect:
    table = action.table
    match action:
        case _ if scene.is_new(table):
            return _Effect("additive", f"a constraint of the new table {shown(table)}")
        case ValidateConstraint(name=name):
            return _Effect(
                "additive", f"rows are read to prove {name}, while others go on reading and writing"
            )
        case DropConstraint(name=name):
            return _Effect("additive", f"{name} no longer holds rows back")
        case AddConstraint(constraint=constraint):
            what = f"{constraint.kind} of {shown(table)}"
            if not constraint.validated or constraint.using_index:
                return _Effect("additive", f"{what}, without reading the rows that are there", "may fail")
            other = f" and {shown(constraint.references)}" if constraint.references else ""
            because = f"{what}: all rows are read while writers of {shown(table)}{other} wait"
            return _Effect("blocking", because, "may fail")


def _index(action: CreateIndex | DropIndex, scene: Scene) -> _Effect:
    match action:
        case DropIndex(name=name):
            return _Effect("additive", f"index {shown(name)} goes; what it made fast is slow")
        case CreateIndex(table=table, name=name, unique=unique, concurrently=concurrently):
            what = f"{'unique ' if unique else ''}index {name or 'without a name'} on {shown(table)}"
            if scene.is_new(table):
                return _Effect("additive", f"{what}, which is new")
            answer: OldCode = "may fail" if unique else "survives"
            if concurrently:
                return _Effect("additive", f"{what}, built while others go on", answer)
            return _Effect("blocking", f"{what}: writers wait until it is built", answer)


def _write(action: Write, scene: Scene) -> _Effect:
    table = shown(action.table)
    if scene.is_new(action.table):
        return _Effect("backfill", f"rows of the new table {table}")
    match action.verb:
        case "insert":
            return _Effect("backfill", f"rows are added to {table}")
        case "update":
            rows = "every row" if action.everywhere else "rows"
            return _Effect("backfill", f"{rows} of {table} {'is' if action.everywhere else 'are'} written")
        case "delete" | "truncate":
            rows = "every row" if action.everywhere else "rows"
            return _Effect("destructive", f"{rows} of {table} {'is' if action.everywhere else 'are'} deleted")
