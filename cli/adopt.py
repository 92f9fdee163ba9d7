"""`upgradepath project adopt`: an existing Prisma project becomes a Project, as it is."""

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.adoption_page import show_adoption
from cli.asking import AsJson
from cli.client import Server
from cli.output import say, show_json
from cli.prerequisites import missing_for
from cli.progress import doing, silent
from cli.registering import SinglePerson, policy_for, register_project
from shared.contracts.projects import Project, ProjectDefinition
from shared.contracts.releases import Release
from shared.errors import Failure, Retry, invalid
from shared.packages.package import Package, read_package
from shared.project_file import PROJECT_FILE, read_project_file

if TYPE_CHECKING:
    from cli.adoption.masks import Proposal
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
_Id = Annotated[
    str | None, typer.Option("--id", help="The Project's id; the repository's name if not given.")
]
_Pin = Annotated[
    list[str] | None,
    typer.Option("--pin", metavar="SYSTEM=VERSION", help="Confirm a base that has drifted; repeatable."),
]
_Applied = Annotated[
    list[str] | None,
    typer.Option(
        "--applied", metavar="SYSTEM/MIGRATION", help="Production has it though no folder shows it."
    ),
]
_Prisma = Annotated[
    str | None,
    typer.Option("--prisma", metavar="PATH", help="Where Prisma's files are, if that cannot be found."),
]
_Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="SYSTEM", help="It is not installed, whatever looks like it."),
]
_Yes = Annotated[
    bool, typer.Option("--yes", help="The proposed mask rules are right; without it, you are asked.")
]
_NAMED = re.compile(r"([a-z][a-z0-9-]*)=(\S+)")


def adopt(
    server: Server,
    repository: Annotated[str, typer.Argument(help="What `git clone` takes: a URL or a path.")],
    approver: Annotated[list[str], typer.Option("--approver", help="Who may approve; repeatable.")],
    database: _Database = None,
    branch: Annotated[str, typer.Option("--branch", help="What production runs from.")] = "main",
    project: _Id = None,
    pin: _Pin = None,
    applied: _Applied = None,
    prisma: _Prisma = None,
    without: _Without = None,
    yes: _Yes = False,
    single_person: SinglePerson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take over an existing Prisma project with its database, history and files as it is.

    Finds which releases of the Library's Systems it has, shows every file that drifted, and puts a proposal
    on the branch adopt-upgradepath. Registers the Project once nothing is left to say; repeat it until then.
    """
    from cli.adoption.survey import Asked

    asked = Asked(
        _remote(repository), branch, _pins(pin or ()), applied or (), database, prisma, without or ()
    )
    releases = [Release.model_validate(each) for each in server.read_all("registry", "releases")]

    def package(release: Release) -> Package:
        at = ("registry", "releases", release.system, release.version, "package")
        return read_package(server.read_bytes(*at))

    try:
        confirm = partial(_confirmed, yes=yes, quiet=dry_run or as_json)
        found, definition = asyncio.run(
            _adopt(asked, releases, package, project or _named(repository), confirm, dry_run)
        )
    except (Failure, Retry) as error:
        cure = "check the repository's and the database's URL, and your access"
        raise invalid(str(error), field="repository", value=repository, cure=cure) from error
    quiet = dry_run or as_json
    policy = policy_for(server, definition.id, approver, single_person=single_person, quiet=quiet)
    given = {"id": definition.id, "repository": asked.repository, "definition": definition}
    project_asked = Project.model_validate({**given, "approvers": approver, "policy": policy})
    found = found.model_copy(update={"missing": missing_for(server, project_asked)})
    if found.proposal is not None and not found.missing_commands and not found.missing:
        registered = register_project(server, project_asked, found.pins)
        found = found.model_copy(update={"registered": registered})
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        show_adoption(found, branch)
    if found.registered is None and not (dry_run and not found.refusals):
        raise typer.Exit(1)


async def _adopt(
    asked: "Asked",
    releases: Sequence[Release],
    package: Callable[[Release], Package],
    project: str,
    confirm: Callable[[Sequence["Proposal"]], bool],
    dry_run: bool,
) -> "tuple[Adoption, ProjectDefinition]":
    """What was found, with the proposal pushed if it may be; and what the Project declares."""
    from cli.adoption import proposal
    from cli.adoption.outcome import adoption_of
    from cli.adoption.survey import look
    from shared.clients.git import Git
    from shared.clients.git_access import PersonsAccess

    with tempfile.TemporaryDirectory(prefix="upgradepath-adopt-") as folder:
        with doing(f"reading {asked.repository}"):
            git = await Git.open(asked.repository, Path(folder) / "clone", PersonsAccess())
        with doing("comparing the repository with the Library's releases and with production's database"):
            survey = await look(git, asked, releases, package)
        with doing("looking for columns without a mask rule"):
            masking = await proposal.masking(survey, asked.database, confirm)
        changes = proposal.changes(survey, project, asked.branch, masking.text)
        declared = changes.get(PROJECT_FILE) or survey.files[PROJECT_FILE].decode()
        definition = read_project_file(declared)
        commit = None
        if not dry_run and not survey.refusals:
            with doing("pushing the proposal"):
                commit = await proposal.push(git, survey, changes, int(time.time()))
    return adoption_of(survey, definition, changes, masking, commit), definition


def _confirmed(proposals: Sequence["Proposal"], *, yes: bool, quiet: bool) -> bool:
    """Whether a person says that these rules are right; asked on a terminal alone."""
    if yes or quiet or not proposals or not sys.stdin.isatty():
        return yes
    for each in proposals:
        say(f"mask      {each.model}.{each.field}: {each.rule} ({each.why})")
    with silent():
        return typer.confirm(f"Are these {len(proposals)} mask rules right?", default=False, err=True)


def _pins(given: Sequence[str]) -> dict[str, str]:
    pins: dict[str, str] = {}
    for each in given:
        named = _NAMED.fullmatch(each)
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
