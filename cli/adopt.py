"""`upgradepath project adopt`: an existing Prisma project becomes a Project, as it is."""

import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.asking import AsJson
from cli.client import Server
from cli.output import line, note, refuse, say, show_json, text
from cli.registering import register_project
from shared.contracts.projects import ProjectDefinition
from shared.contracts.releases import Release
from shared.errors import Retry, invalid
from shared.packages.package import Package, read_package
from shared.project_file import PROJECT_FILE, read_project_file

if TYPE_CHECKING:
    from cli.adoption.outcome import Adoption
    from cli.adoption.survey import Asked

DATABASE_VARIABLE = "UPGRADEPATH_ADOPT_DATABASE"
_Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar=DATABASE_VARIABLE,
        show_envvar=True,
        help="Production's database, only read; the variable keeps its password out of the process list.",
    ),
]
_PIN = re.compile(r"([a-z][a-z0-9-]*)=(\S+)")
_FILES_SHOWN = 10


def adopt(
    server: Server,
    repository: Annotated[str, typer.Argument(help="What `git clone` takes: a URL or a path.")],
    approver: Annotated[list[str], typer.Option("--approver", help="Who may approve; repeatable.")],
    database: _Database = None,
    branch: Annotated[str, typer.Option("--branch", help="What production runs from.")] = "main",
    project: Annotated[
        str | None, typer.Option("--id", help="The Project's id; the repository's name if not given.")
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option("--pin", metavar="SYSTEM=VERSION", help="Confirm a base that has drifted; repeatable."),
    ] = None,
    applied: Annotated[
        list[str] | None,
        typer.Option(
            "--applied", metavar="SYSTEM/MIGRATION", help="Production has it though no folder shows it."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take over an existing Prisma project with its database, history and files as it is.

    Finds which releases of the Library's Systems it has, shows every file that drifted, and puts a proposal
    on the branch adopt-upgradepath. Registers the Project once nothing is left to say; repeat it until then.
    """
    from cli.adoption.survey import Asked

    asked = Asked(_remote(repository), branch, _pins(pin or ()), applied or (), database)
    releases = [Release.model_validate(each) for each in server.read_all("registry", "releases")]

    def package(release: Release) -> Package:
        at = ("registry", "releases", release.system, release.version, "package")
        return read_package(server.read_bytes(*at))

    try:
        found, definition = asyncio.run(
            _adopt(asked, releases, package, project or _named(repository), dry_run)
        )
    except Retry as error:
        cure = "check the repository's and the database's URL, and your access"
        raise invalid(str(error), field="repository", value=repository, cure=cure) from error
    if found.proposal is not None and not found.missing_commands:
        registered = register_project(server, definition, asked.repository, approver, found.pins)
        found = found.model_copy(update={"registered": registered})
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        _show(found, branch)
    if found.registered is None and not (dry_run and not found.refusals):
        raise typer.Exit(1)


async def _adopt(
    asked: "Asked",
    releases: Sequence[Release],
    package: Callable[[Release], Package],
    project: str,
    dry_run: bool,
) -> "tuple[Adoption, ProjectDefinition]":
    """What was found, with the proposal pushed if it may be; and what the Project declares."""
    from cli.adoption import proposal
    from cli.adoption.outcome import Adoption, BaseFound, MigrationFound
    from cli.adoption.survey import look
    from shared.clients.git import Git
    from shared.clients.git_access import PersonsAccess

    with tempfile.TemporaryDirectory(prefix="upgradepath-adopt-") as folder:
        git = await Git.open(asked.repository, Path(folder) / "clone", PersonsAccess())
        survey = await look(git, asked, releases, package)
        changes = proposal.changes(survey, project, asked.branch)
        declared = changes.get(PROJECT_FILE) or survey.files[PROJECT_FILE].decode()
        definition = read_project_file(declared)
        commit = None
        if not dry_run and not survey.refusals:
            commit = await proposal.push(git, survey, changes, int(time.time()))
    found = Adoption(
        project=definition.id,
        pins=survey.pins,
        systems={name: tuple(map(BaseFound.of, bases)) for name, bases in survey.candidates.items()},
        migrations=tuple(
            MigrationFound(migration=each.migration, how=each.how)
            for history in survey.histories.values()
            for each in history.found
        ),
        changed=tuple(sorted(changes)),
        missing_commands=tuple(proposal.unmade_commands(definition, survey.files)),
        unmasked=tuple(survey.unmasked),
        refusals=tuple(survey.refusals),
        proposal=commit,
    )
    return found, definition


def _show(found: "Adoption", branch: str) -> None:
    from cli.adoption.survey import BRANCH

    for system, bases in found.systems.items():
        pinned = found.pins.get(system)
        base = next((each for each in bases if each.version == pinned), bases[0])
        settled = text("pinned  ", "green") if pinned else text("open    ", "yellow")
        say(line(settled, base.said))
        for what, paths in (("edited by you", base.edited), ("missing", base.missing), ("yours", base.added)):
            say(*(f"          {what}: {path}" for path in paths[:_FILES_SHOWN]))
            if len(paths) > _FILES_SHOWN:
                say(f"          {what}: {len(paths) - _FILES_SHOWN} more")
    for each in found.migrations:
        where = each.migration.folder or "nowhere"
        say(f"applied   {each.migration.system}/{each.migration.name}: {where} ({each.how})")
    for path in found.changed:
        say(f"proposes  {path}")
    refuse(found.refusals)
    if found.unmasked:
        note("Before the first Run, unless staging has a seed file:")
        for finding in found.unmasked:
            say(f"to do     {finding.subject}: {finding.cure}")
    if found.proposal is None:
        return
    for path in found.missing_commands:
        say(
            line(text("to do     ", "yellow"), f"{path} is named in {PROJECT_FILE} and not in the repository")
        )
    if found.registered is None:
        note(f"not registered yet: complete the branch {BRANCH}, push it, and type the same command again")
        return
    say(line(text("registered ", "bold green"), found.project))
    note(f"next: merge {BRANCH} into {branch} and push; tell Prisma where its schema is (prisma/schema)")


def _pins(given: Sequence[str]) -> dict[str, str]:
    pins: dict[str, str] = {}
    for each in given:
        named = _PIN.fullmatch(each)
        if named is None:
            cure = "write --pin auth-system=1.2.0"
            raise invalid("this is no SYSTEM=VERSION", field="--pin", value=each, cure=cure)
        pins[named[1]] = named[2]
    return pins


def _remote(repository: str) -> str:
    """As whoever runs the services can read it too: a path from the root, or the URL."""
    return str(Path(repository).resolve()) if Path(repository).exists() else repository


def _named(repository: str) -> str:
    """The repository's name as a Project's id."""
    name = repository.rstrip("/").removesuffix(".git").rstrip("/").rpartition("/")[2]
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "project"
