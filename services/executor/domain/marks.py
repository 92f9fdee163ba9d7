"""How far each migration can be undone, as its statements and the rows that exist say. Pure.

*Reversible*: statements lead back to the schema as `catalogue` describes it (which leaves out comments and
how rows are stored), and to the rows of every table that was there, value for value. What that costs is said.
*Restore only*: rows or values go, are overwritten or are added to, or something changes that the description
leaves out: rights, owners, where a sequence stands, publications and the like. The backup brings it all back,
and what was written since is lost.
*Point of no return*: something beyond the database changes or hears of it, which no backup holds.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from services.executor.domain.dressing import strangers
from services.executor.domain.reach import Reach
from services.executor.domain.things import REMADE, Thing
from shared.contracts.impact import StatementImpact, WayDownMark
from shared.sql.actions import (
    Action,
    AddLabel,
    ChangeType,
    Code,
    Create,
    Drop,
    DropColumn,
    DropTable,
    Renumber,
    Rights,
    Write,
)
from shared.sql.columns import Table, shown
from shared.sql.scene import Scene
from shared.sql.script import Statement

# What the description of a schema does not have, so that no comparison says whether it came back.
_NOT_COMPARED = frozenset(
    {"publication", "cast", "operator", "opclass", "opfamily", "event trigger", "foreign server", "fdw"}
    | {"collation", "conversion", "transform", "access method", "language"}
    | {"tsconfiguration", "tsdictionary", "tsparser", "tstemplate"}
)
# Of what is made without our knowing more than its kind, these are in it.
_COMPARED = frozenset({"create foreign table", "create stats"})


def mark(
    statements: Sequence[Statement],
    impacts: Sequence[StatementImpact],
    scene: Scene,
    reach: Reach,
    gone: Sequence[Thing] = (),
) -> tuple[WayDownMark, tuple[str, ...]]:
    """What going down brings back of one migration's work on rows, and why not all; keeps scene and reach up.

    `gone` are the tables and columns that the schema before has and the schema after has not, and the things
    that are made anew on the way back.
    """
    lost: list[str] = []
    outside: list[str] = []
    named: set[tuple[Table, str | None]] = set()
    for statement, impact in zip(statements, impacts, strict=True):
        outside += reach.outside(statement)
        lost += reach.unknown(statement)
        for action in statement.actions:
            lost += _lost(action, impact, scene, reach)
            named.add((getattr(action, "table", ("", "")), getattr(action, "column", None)))
            scene.keep_up(action)
        reach.keep_up(statement)
    lost += _swept_away([each for each in gone if each.kind != REMADE], named, scene)
    for each in gone:
        if each.kind == "table" and (names := reach.published.get((each.schema, each.name))):
            of = shown((each.schema, each.name))
            lost.append(f"{of} is made anew, and no longer published by {', '.join(names)}")
        if each.kind == REMADE and (who := sorted(strangers(reach.worn, each.name))):
            lost.append(f"{each.name} is made anew, without the rights of {', '.join(who)}")
    if outside:
        return "point of no return", tuple(dict.fromkeys(outside))
    return ("restore only" if lost else "reversible"), tuple(dict.fromkeys(lost))


def costs(statements: Sequence[Statement]) -> tuple[str, ...]:
    """What a way down that leads back asks for all the same."""
    labels = [each for statement in statements for each in statement.actions if isinstance(each, AddLabel)]
    return tuple(
        dict.fromkeys(
            f"going down writes every table with a {shown(each.type)} anew, under a lock, and not while a row"
            f" is {each.label!r}"
            for each in labels
        )
    )


def _swept_away(
    gone: Sequence[Thing], named: AbstractSet[tuple[Table, str | None]], scene: Scene
) -> Iterator[str]:
    """What CASCADE took along: no statement names it, so no question was asked of its rows."""
    for thing in gone:
        whose = (thing.schema, thing.table or thing.name)
        column = thing.name if thing.kind == "column" else None
        if (whose, column) in named or (whose, None) in named or scene.is_new(whose, column):
            continue
        if column is None:
            yield f"the rows of {shown(whose)} go along"
        else:
            yield f"the values of {shown(whose)}.{column} go along"


def _lost(action: Action, impact: StatementImpact, scene: Scene, reach: Reach) -> Iterator[str]:
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
            elif reach.last.get(table, column) != column:
                yield f"{shown(table)}.{column} comes back as the last column of its table"
        case ChangeType(table=table, column=column) if not scene.is_new(table, column):
            if verdicts & {"would fail", "loses", "unknown"}:
                yield f"not every value of {shown(table)}.{column} comes back as it was"
        case Write(table=table, cascades=True):
            yield f"the rows of all that refers to {shown(table)} are deleted"
        case Write(table=table) if not scene.is_new(table) and not touches_nothing:
            yield from _overwritten(action, scene)
        case _:
            yield from _not_described(action, scene, reach)


def _not_described(action: Action, scene: Scene, reach: Reach) -> Iterator[str]:
    """What changes beside schema and rows, and stays so when both are as before."""
    match action:
        case Rights(what=what, tables=tables):
            if not tables or not all(map(scene.is_new, tables)):
                named = f" of {', '.join(map(shown, tables))}" if tables else ""
                yield f"{what}{named}: no statement of ours brings back who had them"
        case Renumber(sequence=sequence, table=table):
            if sequence not in scene.sequences and (table is None or not scene.is_new(table)):
                yield f"where the numbers of {sequence} stood is not kept"
        case Create(kind=kind, name=name) | Drop(kind=kind, name=name) if _is_not_compared(kind):
            yield f"{kind} {name}".strip() + ": no statement of ours takes it back"
        case Drop(kind="sequence", name=name) if name not in scene.sequences | reach.owned:
            yield f"where the numbers of {name} stood is not kept"
        case Drop(kind="extension", name=name):
            yield f"extension {name} goes, with what it keeps in tables of its own"
        case _:
            return


def _is_not_compared(kind: str) -> bool:
    return kind in _NOT_COMPARED or (kind.startswith("create ") and kind not in _COMPARED)


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
