"""`upgradepath hosting`: a place in the local world for an app that has no hosting of its own."""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import line, note, say, text
from cli.progress import doing
from cli.world import NoAnswer, world_folder
from shared.errors import conflict, invalid
from shared.project_file import PROJECT_FILE, read_project_file

if TYPE_CHECKING:
    from local.world import World
    from shared.clients.secret_sources import Scope

_SCOPES: "tuple[Scope, Scope]" = ("production", "staging")
_URL = "HOSTING_URL"
_START = "Procfile"
_Databases = Annotated[
    bool,
    typer.Option("--databases", help="Make production's and staging's in the world's PostgreSQL as well."),
]


def hosting(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="The Project's checkout.")
    ] = Path(),
    databases: _Databases = False,
) -> None:
    """Host a Project's app in the local world: an account, its secrets, and the commands in the checkout.

    The checkout has an upgradepath.toml, as the branch adopt-upgradepath has. A Procfile says how the app is
    started: `web: COMMAND`, which serves HTTP on 127.0.0.1:$PORT. Safe to repeat; keeps what is there.
    """
    from local.hosting import commands_for_checkout, has_account, open_account

    world = _world()
    declared = folder / PROJECT_FILE
    if not declared.is_file():
        cure = "check out the branch on which it is, as adopt-upgradepath: git checkout adopt-upgradepath"
        raise invalid(f"{declared} is not there", field="folder", value=folder, cure=cure)
    try:
        written = declared.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(
            f"{declared} is not UTF-8", field="folder", value=folder, cure="save it as UTF-8"
        ) from error
    definition = read_project_file(written)
    project = definition.id
    if not has_account(world, project):
        raise conflict(
            f"the world keeps something else in its folder {project}", field="id", cure="give it another id"
        )
    secret = f"{project}-hosting"
    changed = with_variable(written, _URL, f"secret:{secret}")
    read_project_file(changed)
    account = open_account(world, project)
    for scope in _SCOPES:
        world.keep_secret(project, scope, secret, account)
    say(
        line(text("secret    ", "green"), f"{secret} of both environments: an account at the world's hosting")
    )
    if databases:
        _make_databases(world, project)
    if changed != written:
        declared.write_bytes(changed.encode())
        say(line(text("writes    ", "green"), f"{PROJECT_FILE}: {_URL} of both environments"))
    for path, program in commands_for_checkout().items():
        if not (folder / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(program, "utf-8")
            (folder / path).chmod(0o755)
            say(line(text("writes    ", "green"), path))
    if not (folder / _START).is_file():
        wanted = f"{_START} is not there: write a line such as web: python app.py"
        say(line(text("to do     ", "yellow"), wanted))
        note("the command serves HTTP on 127.0.0.1 and the port that the variable PORT has")
    note("next: commit and push these files, then type project adopt again")


def with_variable(declared: str, name: str, value: str) -> str:
    """The Project file with this variable of both environments. Raises `Reject` where others are there."""
    for scope in _SCOPES:
        if name in getattr(read_project_file(declared).environments, scope).variables:
            continue
        said = f'{name} = "{value}"'
        head = re.search(rf"^\[environments\.{scope}\][^\r\n]*(\r?\n)", declared, re.M)
        if head is None or getattr(read_project_file(declared).environments, scope).variables:
            raise invalid(
                f"the environment {scope} has no variable {name}",
                field=f"environments.{scope}.variables",
                cure=f"add {said} to these variables, and type this again",
            )
        declared = f"{declared[: head.end()]}variables = {{ {said} }}{head[1]}{declared[head.end() :]}"
    return declared


def _world() -> "World":
    from local.world import World

    folder = world_folder()
    if folder is None or not (folder / "settings.json").is_file():
        raise NoAnswer(
            "no local world runs beside or above this folder",
            "start it: upgradepath dev; elsewhere set UPGRADEPATH_WORLD to its folder",
        )
    return World.open(folder)


def _make_databases(world: "World", project: str) -> None:
    from cli.world import announced_world

    announced = announced_world()
    if announced is None or announced.postgres is None:
        raise NoAnswer("the local world does not say where its PostgreSQL is", "start it: upgradepath dev")
    for scope in _SCOPES:
        name = f"{project}-{scope}-database"
        kept = world.folder / "secrets" / project / scope / name
        if kept.is_file():
            say(line(text("keeps     ", "dim"), f"{name}: {kept} is there already"))
            continue
        with doing(f"making {scope}'s database"):
            url = asyncio.run(_database(announced.postgres, f"{project}_{scope}", staging=scope == "staging"))
        world.keep_secret(project, scope, name, url)
        say(line(text("secret    ", "green"), f"{name}: the URL of an empty database, kept in {kept}"))


async def _database(server: str, name: str, *, staging: bool) -> str:
    from contextlib import suppress

    from asyncpg import DuplicateDatabaseError

    from local.roles import plain_role
    from services.executor.clients.postgres import create_database
    from shared.clients.database_urls import with_database

    # One whose URL was lost keeps its rows, and its role gets another password.
    with suppress(DuplicateDatabaseError):
        await create_database(server, name)
    return await plain_role(with_database(server, name), makes_databases=staging)
