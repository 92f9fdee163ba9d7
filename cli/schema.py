"""`upgradepath schema …`: what a Project's schema fragments make together. Asks no service.

Prisma's engine is imported where it is used: the other commands start without it.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cli.asking import AsJson
from cli.output import line, note, raw, say, show_json, table, text
from cli.progress import doing
from cli.world import NoAnswer
from shared.errors import Reject
from shared.project_file import PROJECT_FILE, read_project_file

if TYPE_CHECKING:
    from shared.prisma.ownership import Conflict

app = typer.Typer(help="A Project's schema fragments: one schema, whose what is, what SQL leads to another.")

_T = TypeVar("_T")
Folder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="A Project, a package, or a folder of .prisma files.",
    ),
]
HERE = Path()


@app.command("check")
def check(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Say every dispute and error of the fragments, by file and line; exit 1 if there is one."""
    from shared.prisma.parser import InvalidSchema, PrismaSchema
    from shared.prisma.unified import unify

    try:
        merged = _asked(unify(PrismaSchema(), _read(folder)))
    except InvalidSchema as invalid:
        if as_json:
            show_json([each.__dict__ for each in invalid.problems])
        else:
            rows = [(f"{each.file}:{each.line}", each.message) for each in invalid.problems]
            table(("where", "what is wrong"), rows, empty="")
        raise typer.Exit(1) from None
    if as_json:
        show_json([])
        return
    owned = ", ".join(f"{owner} {count}" for owner, count in sorted(Counter(merged.owners.values()).items()))
    say(line(text("ok: ", "bold green"), f"one schema of {len(merged.owners)} blocks: {owned}"))


@app.command("without")
def without(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="The System that would go.")],
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Say which fields of others could not stay if a System went; exit 1 if there is one."""
    from shared.prisma.blocks import Unreadable
    from shared.prisma.fragments import remove
    from shared.prisma.ownership import Conflicts, owner_of

    files = _read(folder)
    owners = {owner_of(path) for path in files}
    if system not in owners:
        raise typer.BadParameter(f"the owners here are {', '.join(sorted(owners))}", param_hint="SYSTEM")
    try:
        left = remove(files, system)
    except Unreadable as error:
        note(str(error))
        raise typer.Exit(1) from None
    broken = left.conflicts if isinstance(left, Conflicts) else ()
    if as_json:
        show_json([_told(each) for each in broken])
    elif broken:
        rows = [(each.subject, str(each.one), f"{each.reason} ({each.other})") for each in broken]
        table(("field", "where", "why it could not stay"), rows, empty="")
    else:
        say(line(text("ok: ", "bold green"), f"nothing of others needs {system}"))
    if broken:
        raise typer.Exit(1)


@app.command("diff")
def diff(
    before: Folder,
    after: Folder,
    trial: Annotated[
        bool, typer.Option("--trial/--no-trial", help="Try it in an empty database before it is printed.")
    ] = True,
) -> None:
    """Print the SQL that leads from the schema of one folder to that of another; the way back is the swap."""
    from cli.schema_trial import CannotRun, try_difference
    from shared.prisma.engine import EngineError
    from shared.prisma.fragments import merge
    from shared.prisma.migrating import diff as difference
    from shared.prisma.ownership import Conflicts

    merged = [merge(_read(folder)) for folder in (before, after)]
    sides = [side.files for side in merged if not isinstance(side, Conflicts)]
    if len(sides) < len(merged):
        note("the fragments of one side dispute something: upgradepath schema check names it")
        raise typer.Exit(1)
    try:
        sql = _asked(difference(*sides))
        if trial and sql:
            note("trying it in an empty database …")
            _asked(try_difference(sides[0], sides[1], sql))
        raw(sql)
    except EngineError as error:
        note(error.message)
        raise typer.Exit(1) from None
    except CannotRun as error:
        note(f"Prisma's SQL for this cannot run, so it is not printed: {error}")
        note("write this migration by hand, or change the schema in smaller steps")
        raise typer.Exit(1) from None


def _read(folder: Path) -> dict[str, str]:
    """The schema files of a Project or package, by their paths from the folder."""
    found = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in _paths(folder)}
    if not found:
        raise typer.BadParameter(f"there is no .prisma file in {folder}", param_hint="FOLDER")
    return found


def _paths(folder: Path) -> list[Path]:
    declared = folder / PROJECT_FILE
    if not declared.is_file():
        root = folder / "prisma" if (folder / "prisma").is_dir() else folder
        return sorted(root.rglob("*.prisma"))
    prisma = read_project_file(declared.read_text(encoding="utf-8")).prisma
    single = folder / prisma.single
    return [*sorted((folder / prisma.schemas).rglob("*.prisma")), *([single] if single.is_file() else [])]


def _asked(question: Coroutine[None, None, _T]) -> _T:
    try:
        with doing("asking Prisma's engine (the first time it is made ready)"):
            return asyncio.run(question)
    except Reject as rejected:
        refusal = rejected.refusals[0]
        raise NoAnswer(refusal.reason, refusal.cure) from rejected


def _told(conflict: "Conflict") -> dict[str, object]:
    place, other = conflict.one.place, conflict.other.place
    return {
        "field": conflict.subject,
        "reason": conflict.reason,
        "file": place[0],
        "line": place[1],
        "needs": f"{other[0]}:{other[1]}",
        "cure": conflict.cure,
    }
