"""`upgradepath service`, `dev` and `demo`: the processes themselves.

What they run is imported where it is run: the other commands are typed often, and start without it.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.output import fail, say
from cli.progress import doing, silent
from cli.world import FOLDER
from shared.private_files import keep_files_private
from shared.telemetry.logs import configure_logging


class ServiceName(StrEnum):
    """The five, as the command line takes them."""

    REGISTRY = "registry"
    NOTIFIER = "notifier"
    PLANNER = "planner"
    EXECUTOR = "executor"
    VALIDATOR = "validator"


DEFAULT_FOLDER = Path(FOLDER)
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log every stage, not only what is wrong.")]


def service(
    name: Annotated[ServiceName, typer.Argument(metavar="SERVICE", help="Which one of the five.")],
    port: Annotated[int, typer.Option(help="Where its HTTP door listens.")] = 8080,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    tls_certificate: Annotated[
        Path | None, typer.Option(help="The listener's certificate in PEM; else UPGRADES_HTTP_CERTFILE.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its private key in PEM; else UPGRADES_HTTP_KEYFILE.")
    ] = None,
) -> None:
    """Run one service, as the variables UPGRADES_… say, until it is told to stop."""
    given = {"UPGRADES_HTTP_CERTFILE": tls_certificate, "UPGRADES_HTTP_KEYFILE": tls_key}
    os.environ.update({name: str(path) for name, path in given.items() if path is not None})
    # This process anew, without the command line: a service lives for weeks, and that is 7 MB of it.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "cli.one_service", name, host, str(port)])


def dev(
    world: Annotated[
        Path, typer.Option(help="The folder of this world; made if it is missing.")
    ] = DEFAULT_FOLDER,
    verbose: Verbose = False,
    fsync: Annotated[
        bool,
        typer.Option(help="Whether PostgreSQL waits for the disk; without, a power cut may cost the world."),
    ] = True,
) -> None:
    """Run all five services with a broker and a PostgreSQL of their own, until Ctrl-C.

    It can be stopped and started again in the middle of a Run: the Run goes on where it was.
    """
    import uvloop

    from local.process import CannotStart

    keep_files_private()
    configure_logging(logging.INFO if verbose else logging.WARNING)
    try:
        uvloop.run(_dev(world, fsync=fsync))
    except CannotStart as error:
        fail(str(error), "upgradepath doctor says what this machine lacks")
        raise typer.Exit(3) from error


async def _dev(folder: Path, *, fsync: bool) -> None:
    from local import dev as local_dev
    from local.isolation import isolation_here
    from local.world import ACTORS
    from services.processes import until_told_to_stop

    stopping = asyncio.create_task(until_told_to_stop())
    async with AsyncExitStack() as stack:
        with doing(f"starting PostgreSQL, the broker and the services of {folder}"):
            running = await stack.enter_async_context(local_dev.running(folder, fsync=fsync))
        world = running.world
        say(
            f"upgradepath runs at {world.url} (its documents: {world.url}/docs)",
            f"  the world's folder   {world.folder}",
            f"  the broker           {running.bootstrap_servers}",
            f"  commands run         {isolation_here()}",
            f"  PostgreSQL, tokens   {world.folder / 'world.json'}",
            "Beside it, in another terminal below this folder, the command finds it by itself:",
            "  upgradepath release list",
            "  upgradepath run list --as sre",
            f"Elsewhere: export UPGRADEPATH_WORLD={world.folder}",
            "For other programs, bearer tokens:",
            *(f"  {f'upgradepath token issue --as {name}':<41}{actor.id}" for name, actor in ACTORS.items()),
        )
        say("Ctrl-C stops it; what is under way goes on at the next start.")
        with silent():
            await asyncio.wait({stopping, running.supervisor}, return_when=asyncio.FIRST_COMPLETED)
        if running.supervisor.done():
            await running.supervisor
        with doing(f"stopping the services, the broker and PostgreSQL of {folder}"):
            await stack.aclose()


def demo(
    context: typer.Context,
    world: Annotated[Path, typer.Option(help="The folder of the demo's world; wiped first.")] = (
        DEFAULT_FOLDER / "demo"
    ),
    verbose: Annotated[bool, typer.Option("--verbose", help="Show all that each command prints.")] = False,
) -> None:
    """Tell the whole story on this machine: a rule that fails, a conflict, an approval, the version map."""
    from local.demo import Demo, DemoFailed
    from local.process import CannotStart

    keep_files_private()
    commands = context.find_root().command

    def type_in(arguments: Sequence[str]) -> int:
        return int(commands.main(list(arguments), prog_name="upgradepath", standalone_mode=False) or 0)

    try:
        with silent():
            Demo(world, type_in, verbose=verbose).run()
    except (CannotStart, DemoFailed) as error:
        fail(str(error), f"read {world / 'dev.log'}; upgradepath doctor says what this machine lacks")
        raise typer.Exit(1) from error
