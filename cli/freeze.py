"""`upgradepath freeze …`: stop every deploy from starting, everywhere, at once; and let them start again."""

from typing import Annotated, Any

import typer

from cli.asking import AsJson, asks
from cli.client import Server
from cli.output import line, say, show_json, text, when
from shared.contracts.freezes import Freeze
from shared.contracts.values import Contract

app = typer.Typer(help="Stop every deploy from starting, everywhere, at once; those that run go on.")

Why = Annotated[str, typer.Option("--reason", help="Why; whoever waits for it reads this.")]


class FleetAnswer(Contract):
    """Whether deploys are frozen."""

    freeze: Freeze | None
    revision: int


@app.command("on")
@asks("sre")
def freeze_on(server: Server, reason: Why, as_json: AsJson = False) -> None:
    """Let no deploy start from now on, of whatever Project. Frozen already, the first reason stands."""
    _print(server.command("planner", "freeze", body={"reason": reason}), as_json)


@app.command("off")
@asks("sre")
def freeze_off(server: Server, reason: Why, as_json: AsJson = False) -> None:
    """Let deploys start again: the Runs that wait for it go on by themselves."""
    _print(server.command("planner", "thaw", body={"reason": reason}), as_json)


@app.command("status")
@asks("sre")
def freeze_status(server: Server, as_json: AsJson = False) -> None:
    """Whether deploys are frozen, by whom, why and since when; exit 1 while they are."""
    answer = read_freeze(server)
    if as_json:
        show_json(answer.model_dump(mode="json"))
    else:
        _say(answer)
    if answer.freeze is not None:
        raise typer.Exit(1)


def read_freeze(server: Server) -> FleetAnswer:
    """What stands now. Raises as `Server.read`."""
    return FleetAnswer.model_validate(server.read("planner", "freeze"))


def _print(document: Any, as_json: bool) -> None:
    if as_json:
        show_json(document)
        return
    _say(FleetAnswer.model_validate(document))


def _say(answer: FleetAnswer) -> None:
    frozen = answer.freeze
    if frozen is None:
        say(line(text("not frozen", "green"), ": deploys may start"))
        return
    say(line(text("frozen", "bold red"), f" by {frozen.by} since {when(frozen.since)} UTC: {frozen.reason}"))
