"""How far each migration can be undone, as its statements and the rows that exist say. Pure."""

from collections.abc import Iterator, Sequence

from shared.contracts.impact import StatementImpact, WayDownMark
from shared.sql.actions import Action, ChangeType, Code, Create, DropColumn, DropTable, Write, shown
from shared.sql.classing import Scene
from shared.sql.script import Statement

_OUTSIDE = frozenset(
    {"create role", "alter role", "alter role set", "drop role", "alter system", "createdb", "dropdb"}
    | {"alter database", "alter database set", "create table space", "drop table space"}
)


def mark(
    statements: Sequence[Statement], impacts: Sequence[StatementImpact], scene: Scene
) -> tuple[WayDownMark, tuple[str, ...]]:
    """What going down brings back of one migration's work on rows, and why not all; keeps the scene up."""
    lost: list[str] = []
    outside: list[str] = []
    for statement, impact in zip(statements, impacts, strict=True):
        for action in statement.actions:
            outside += _reaches_outside(action)
            lost += _lost(action, impact, scene)
            scene.keep_up(action)
    if outside:
        return "point of no return", tuple(dict.fromkeys(outside))
    return ("restore only" if lost else "reversible"), tuple(dict.fromkeys(lost))


def _reaches_outside(action: Action) -> Iterator[str]:
    match action:
        case Code(what=what) | Create(kind=what) if what in _OUTSIDE:
            yield f"{what}: it changes the server, of which a backup of the database knows nothing"
        case _:
            return


def _lost(action: Action, impact: StatementImpact, scene: Scene) -> Iterator[str]:
    """What of the rows that were there before no statement brings back."""
    verdicts = {probe.verdict for probe in impact.probes}
    touches_nothing = bool(impact.probes) and all(probe.rows == 0 for probe in impact.probes)
    match action:
        case Code(what=what):
            yield f"{what}: nobody can say what it does to rows"
        case DropTable(table=table, kind="table" | "foreign table") if not scene.is_new(table):
            if not touches_nothing:
                yield f"the rows of {shown(table)} go"
        case DropColumn(table=table, column=column) if not scene.is_new(table, column):
            if not touches_nothing:
                yield f"the values of {shown(table)}.{column} go"
        case ChangeType(table=table, column=column) if not scene.is_new(table, column):
            if verdicts & {"would fail", "loses", "unknown"}:
                yield f"not every value of {shown(table)}.{column} comes back as it was"
        case Write(table=table) if not scene.is_new(table) and not touches_nothing:
            yield from _overwritten(action, scene)
        case _:
            return


def _overwritten(write: Write, scene: Scene) -> Iterator[str]:
    table = shown(write.table)
    match write.verb:
        case "insert":
            yield f"the rows that are added to {table} stay"
        case "delete" | "truncate":
            yield f"rows of {table} are deleted"
        case "update":
            old = [column for column in write.columns if not scene.is_new(write.table, column)]
            if old or not write.columns:
                yield f"values of {', '.join(f'{table}.{column}' for column in old) or table} are overwritten"
