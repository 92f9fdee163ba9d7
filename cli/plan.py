"""`upgradepath plan …`: ask what an upgrade would take, and read the answer."""

from pathlib import Path
from typing import Annotated

import typer
from rich.syntax import Syntax

from cli.answers import PlanAnswer, RunAnswer
from cli.asking import AsJson, ProjectArgument, RunArgument, asks
from cli.client import Server
from cli.exporting import OutFolder, keep
from cli.output import clean, line, raw, say, show_json, stdout, text
from cli.plan_page import print_plan, print_short
from cli.run_page import print_blocked
from cli.watch import is_settled, wait_for
from shared.contracts.runs import RunView

app = typer.Typer(help="What an upgrade would change, at what risk, and how it is undone.")


@app.command("create")
@asks()
def create(
    server: Server,
    project: ProjectArgument,
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYSTEM[@VERSION]…", help="What to upgrade together; the newest without @VERSION."
        ),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            "--add",
            metavar="SYSTEM[@VERSION]",
            help="A System that the Project does not pin yet, added in the same Run; may be repeated.",
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove",
            metavar="SYSTEM",
            help="A System that leaves the Project in the same Run; its tables stay. May be repeated.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the plan, and show it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Open a Run and have its plan made. Nothing is changed until somebody says `run start`.

    With --add, Systems come in that the Project does not pin yet: their files, schema, migrations,
    configuration and pins, in the same Run. With --remove, Systems leave it: their files, settings and
    pins go; their tables stay with their rows, and their part of the schema and its migrations with them.
    """
    if not systems and not add and not remove:
        raise typer.BadParameter("name a System to upgrade, or --add SYSTEM, or --remove SYSTEM")
    wanted = {"systems": read_systems(systems or []), "add": read_systems(add or []), "remove": remove or []}
    document = server.command("planner", "runs", body={"project": project, **wanted})
    opened = RunView.model_validate(document)
    if not wait:
        if as_json:
            show_json(document)
            return
        say(
            line(text("planning ", "bold green"), opened.id),
            line(text("next: ", "dim"), f"upgradepath plan show {opened.id}"),
        )
        return
    run = wait_for(server, opened.id, lambda run: run.status != "planning" or is_settled(run))
    if run.plan is None:
        say(line(text(f"{run.id} has no plan: ", "bold red"), run.status))
        print_blocked(run)
        raise typer.Exit(1)
    _show(server, run, as_json, whole=False)


@app.command("show")
@asks()
def show(server: Server, run: RunArgument, as_json: AsJson = False) -> None:
    """The plan: what changes, the four review questions, the risk, how it is undone."""
    _show(server, RunAnswer.model_validate(server.read("planner", "runs", run)).run, as_json)


@app.command("diff")
@asks()
def diff(server: Server, run: RunArgument) -> None:
    """The whole change as a unified diff."""
    patch = server.read_text("planner", "runs", run, "diff")
    console = stdout()
    if console.is_terminal:
        console.print(Syntax(clean(patch), "diff", theme="ansi_dark", background_color="default"))
    else:
        raw(patch)


@app.command("export")
@asks()
def export(server: Server, run: RunArgument, out: OutFolder = Path()) -> None:
    """Keep the plan in a file that the planner signed: `upgradepath verify` reads it offline."""
    keep(out, f"{run}.plan.dsse.json", server.read_bytes("planner", "runs", run, "plan", "signed"))


def _show(server: Server, run: RunView, as_json: bool, *, whole: bool = True) -> None:
    document = server.read("planner", "runs", run.id, "plan")
    if as_json:
        show_json(document)
        return
    answer = PlanAnswer.model_validate(document)
    (print_plan if whole else print_short)(answer.plan, answer.digest, answer.rules)
    say(line(text("next: ", "dim"), _following(run)))
    if not whole:
        say(line(text("all:  ", "dim"), f"upgradepath plan show {run.id}  (files, SQL, notes, reasons)"))


def _following(run: RunView) -> str:
    """The command that is next; of a plan, after it was read."""
    if run.status != "planned":
        return f"upgradepath run watch {run.id}"
    cures = run.blocked_by.cures if run.blocked_by else ()
    other = (cure for cure in cures if " plan show " not in cure)
    return next(other, f"upgradepath run start {run.id}")


def read_systems(systems: list[str]) -> dict[str, str | None]:
    """Versions by System of `SYSTEM[@VERSION]`; none for the newest. Raises `BadParameter`."""
    wanted: dict[str, str | None] = {}
    for entry in systems:
        name, at, version = entry.partition("@")
        if not name or (at and not version):
            raise typer.BadParameter(f"{entry!r} is neither SYSTEM nor SYSTEM@VERSION")
        if name in wanted:
            raise typer.BadParameter(f"{name} is named twice")
        wanted[name] = version or None
    return dict(wanted)
