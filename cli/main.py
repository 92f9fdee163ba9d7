"""The command `upgradepath`: its groups, its exit codes, and no traceback for what may be expected."""

from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from cli import contracts, doctor, inbox, operate, plan, project, release, run, topics, version_map
from cli.output import fail, refuse
from cli.world import NoAnswer
from shared.contracts.envelope import explain
from shared.errors import Reject

EXIT_CODES = """Exit codes:

0  ok.

1  the answer is no: refused, or the watched Run failed, waits or was rolled back, unless that was asked for.

2  the command was typed wrong.

3  no answer: not reachable, not authenticated, or broken.

4  not found.
"""


class _Commands(TyperGroup):
    """Ends every expected error with its words and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Reject as error:
            refuse(error.refusals)
            raise typer.Exit(4 if error.refusals[0].kind == "not-found" else 1) from error
        except NoAnswer as error:
            fail(error.reason, error.cure)
            raise typer.Exit(3) from error
        except ValidationError as error:
            fail(
                f"the services answered in a shape that this command does not know: {explain(error)}",
                "use the command of the same version as the services",
            )
            raise typer.Exit(3) from error


app = typer.Typer(
    name="upgradepath",
    cls=_Commands,
    help="How partner Projects adopt new versions of the Business Systems that they pin.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, group in (
    ("release", release.app),
    ("project", project.app),
    ("plan", plan.app),
    ("run", run.app),
    ("version-map", version_map.app),
    ("topics", topics.app),
    ("contracts", contracts.app),
):
    app.add_typer(group, name=name, no_args_is_help=True)
app.command("inbox")(inbox.inbox)
app.command("outdated")(inbox.outdated)
app.command("service")(operate.service)
app.command("dev")(operate.dev)
app.command("demo")(operate.demo)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """The entry point."""
    app()
