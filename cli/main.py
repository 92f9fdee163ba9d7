"""The command `upgradepath`: its groups, its exit codes, and no traceback for what may be expected."""

from collections.abc import Callable
from importlib.metadata import version
from itertools import takewhile
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from cli import (
    audit,
    backup,
    contracts,
    doctor,
    freeze,
    hosting,
    inbox,
    key,
    operate,
    plan,
    project,
    release,
    replay,
    run,
    schema,
    token,
    topics,
    verify,
    version_map,
)
from cli.ending import ends_at_once
from cli.output import fail, note, refuse, say
from cli.progress import watched
from cli.world import NoAnswer
from shared.clients.libpq import UnusableUrl
from shared.contracts.envelope import explain
from shared.errors import Reject
from shared.plaintext import Plaintext

EXIT_CODES = """Exit codes:

0  ok.

1  the answer is no: refused, or the watched Run failed, waits or was rolled back, unless that was asked for.

2  the command was typed wrong.

3  no answer: not reachable, not authenticated, or broken.

4  not found.
"""


PANELS: dict[str, dict[str, typer.Typer | Callable[..., None]]] = {
    "The Systems Library": {"release": release.app},
    "A Project's maintainer": {
        "project": project.app,
        "inbox": inbox.inbox,
        "outdated": inbox.outdated,
        "plan": plan.app,
        "run": run.app,
        "schema": schema.app,
        "version-map": version_map.app,
        "verify": verify.verify,
    },
    "An SRE": {
        "doctor": doctor.doctor,
        "service": operate.service,
        "topics": topics.app,
        "freeze": freeze.app,
        "replay": replay.app,
        "audit": audit.app,
        "contracts": contracts.app,
        "key": key.app,
        "backup": backup.app,
        "token": token.app,
    },
    "On this machine": {"demo": operate.demo, "dev": operate.dev, "hosting": hosting.hosting},
}
"""For whom the commands are, in the order in which they are shown."""


_WORDS = "upgradepath.words"


class _Commands(TyperGroup):
    """Ends every expected error with its words and its exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """As the panels have them; else every group would come after every single command."""
        return [name for commands in PANELS.values() for name in commands]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keeps the command's words, without what they are about."""
        ctx.meta[_WORDS] = [*takewhile(lambda word: not word.startswith("-"), args[:2])]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        named = " ".join(["upgradepath", *ctx.meta.get(_WORDS, ())])
        try:
            with watched(named, note):
                return super().invoke(ctx)
        except Reject as error:
            refuse(error.refusals)
            raise typer.Exit(4 if error.refusals[0].kind == "not-found" else 1) from error
        except NoAnswer as error:
            fail(error.reason, error.cure)
            raise typer.Exit(3) from error
        except (Plaintext, UnusableUrl) as error:
            fail(str(error), "nothing was done")
            raise typer.Exit(2) from error
        except ValidationError as error:
            fail(
                f"the services answered in a shape that this command does not know: {explain(error)}",
                "use the command of the same version as the services",
            )
            raise typer.Exit(3) from error


app = typer.Typer(
    name="upgradepath",
    cls=_Commands,
    help="""How partner Projects adopt new versions of the Business Systems that they pin.

    New here? `upgradepath demo` tells the whole story; `upgradepath dev` starts a world to try it in.
    """,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"upgradepath {version('upgradepath')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Options of the command itself."""


for panel, commands in PANELS.items():
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, no_args_is_help=True, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(command)


def main() -> None:
    """The entry point."""
    with ends_at_once():
        app()
