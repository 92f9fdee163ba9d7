"""`upgradepath project …`: register a Project from its folder, and read what is registered."""

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from cli.adopt import adopt
from cli.answers import ProjectAnswer
from cli.asking import AsJson, ProjectArgument, asks
from cli.client import Server
from cli.output import line, note, say, show_json, table, text, when
from cli.policy import Propose, confirm
from cli.policy import policy as show_policy
from cli.policy_page import print_policy, print_proposal, print_proposed, spoken
from cli.registering import SinglePerson, policy_for, register_project
from cli.whole import lacking_in_folder
from shared.contracts.projects import Project, ProjectRegistered
from shared.contracts.version_maps import VersionMap
from shared.deciding import rules_of
from shared.errors import Reject, invalid
from shared.project_file import read_project_file, read_version_map

app = typer.Typer(help="Register Projects, and read what is registered.")

PROJECT_FILE = "upgradepath.toml"
MAP_FILE = "version-map.yaml"


@app.command("register")
@asks()
def register(
    server: Server,
    repository: Annotated[str, typer.Option("--repository", help="What `git clone` takes: a URL or a path.")],
    approver: Annotated[
        list[str],
        typer.Option("--approver", help="Who may approve, for instance mira@acme.example; repeatable."),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="The Project's checkout.")
    ] = Path(),
    single_person: SinglePerson = False,
    approvals: Annotated[
        int | None, typer.Option("--approvals", min=1, help="So many different approvers for a deploy.")
    ] = None,
    propose: Propose = False,
    as_json: AsJson = False,
) -> None:
    """Register the Project of this folder, or change its registration; its pins change by a Run only.

    A change that carries weight needs the word of as many present approvers as the policy says.
    """
    definition = read_project_file(_read(folder, PROJECT_FILE))
    pins = read_version_map(_read(folder, MAP_FILE))
    branch = definition.environments.production.branch
    if refusals := asyncio.run(lacking_in_folder(folder, branch)):
        raise Reject(*refusals)
    project = Project(
        id=definition.id,
        repository=repository,
        definition=definition,
        approvers=tuple(approver),
        policy=policy_for(
            server,
            definition.id,
            approver,
            single_person=single_person,
            approvals=approvals,
            quiet=as_json,
        ),
    )
    document = register_project(server, project, pins, propose=propose)
    if as_json:
        show_json(document)
        return
    if print_proposed(document):
        return
    registered = ProjectRegistered.model_validate(document)
    say(line(text("registered ", "bold green"), f"{registered.project.id} (revision {registered.revision})"))
    _print_project(registered.project)


app.command("adopt")(asks()(adopt))
app.command("policy")(show_policy)
app.command("confirm")(confirm)


@app.command("list")
@asks()
def list_projects(server: Server, as_json: AsJson = False) -> None:
    """The Projects that you may see, with what they pin."""
    document = server.read_all("registry", "projects")
    if as_json:
        show_json(document)
        return
    rows = [ProjectAnswer.model_validate(row) for row in document]
    table(
        ("project", "name", "pins", "held by", "policy"),
        [
            (
                text(row.project.id, "bold"),
                row.project.definition.name,
                _pins(row.version_map),
                (row.version_map.held_by or "") if row.version_map else "",
                "SINGLE-PERSON" if row.project.policy.single_person else "two persons",
            )
            for row in rows
        ],
        empty="no Project is registered that you may see",
    )


@app.command("show")
@asks()
def show(server: Server, project: ProjectArgument, as_json: AsJson = False) -> None:
    """One Project: where it is, who approves, what is checked, what it pins."""
    document = server.read("registry", "projects", project)
    if as_json:
        show_json(document)
        return
    answer = ProjectAnswer.model_validate(document)
    say(line(text(answer.project.id, "bold"), f"  {answer.project.definition.name}"))
    _print_project(answer.project)
    say(*(f"  changed by  {spoken(word)}" for word in answer.changed_by))
    if answer.proposal is not None:
        print_proposal(answer.proposal)
    if answer.version_map:
        print_version_map(answer.version_map)


def print_version_map(version_map: VersionMap, updated: Collection[str] = ()) -> None:
    """The pins, one a line, with the `updated` Systems marked; beside them who recorded and holds them."""
    by = f" by {version_map.run_id}" if version_map.run_id else ""
    recorded = f"revision {version_map.revision}, {when(version_map.recorded_at)}{by}"
    note(f"version map of {version_map.project}, {recorded}")
    for system, version in version_map.pins.items():
        say(line(f"{system}: {version}", text(" (updated)", "green") if system in updated else ""))
    if version_map.held_by:
        note(f"held by {version_map.held_by}")


def _print_project(project: Project) -> None:
    definition = project.definition
    production = definition.environments.production
    say(
        f"  repository  {project.repository}, branch {production.branch}",
        f"  approvers   {', '.join(project.approvers)}",
    )
    print_policy(rules_of(project))
    say(
        f"  on failure  {definition.on_failure}",
        f"  staging     {definition.staging.data}",
        f"  validate         {', '.join(definition.checks.validate_)}",
        f"  check-workflows  {', '.join(definition.checks.check_workflows)}",
    )


def _pins(version_map: VersionMap | None) -> str:
    pins = version_map.pins if version_map else {}
    return ", ".join(f"{system} {version}" for system, version in pins.items())


def _read(folder: Path, name: str) -> str:
    path = folder / name
    try:
        return path.read_text("utf-8")
    except FileNotFoundError as error:
        raise invalid(
            f"{path} is not there",
            field="folder",
            value=folder,
            cure=f"give the folder of a Project's checkout: the one with {PROJECT_FILE} and {MAP_FILE}",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(
            f"{path} cannot be read: {error}",
            field="folder",
            value=folder,
            cure="make it a readable UTF-8 file",
        ) from error
