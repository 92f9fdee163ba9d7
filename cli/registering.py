"""Register a Project, and wait until those who act on it have heard."""

import sys
import time
from typing import Annotated, Any

import typer

from cli.answers import ProjectAnswer
from cli.client import Server
from cli.output import note
from cli.progress import doing, silent
from cli.world import NoAnswer
from shared.contracts.policies import Policy
from shared.contracts.projects import Project
from shared.contracts.version_maps import Pins
from shared.errors import Reject

_KNOWN_WITHIN_S = 10.0
SinglePerson = Annotated[
    bool,
    typer.Option(
        "--single-person", help="One person may ask for an upgrade and approve it; every page shows it."
    ),
]
_PAUSE_S = 0.1


def register_project(server: Server, project: Project, pins: Pins, *, propose: bool = False) -> Any:
    """The registry's answer: the registration, or a change that waits for approvers.

    Raises `Reject` with everything that is wrong.
    """
    server.decide_for(project.id)
    body: dict[str, object] = {"project": project.model_dump(mode="json"), "pins": dict(pins)}
    document = server.command("registry", "projects", body=body | ({"propose": True} if propose else {}))
    with doing("waiting until notifier and planner have read of it"):
        heard = _known(server, project.id)
    if not heard:
        note("notifier and planner have not read of it yet: they will, unless they are away")
    return document


def policy_for(
    server: Server,
    project: str,
    approvers: list[str],
    *,
    single_person: bool,
    approvals: int | None = None,
    quiet: bool = False,
) -> Policy:
    """The policy that is asked for; where nothing is said, the one that a registered Project has.

    With a single approver a person is asked on a terminal whether one person shall decide alone, unless
    `quiet`.
    """
    policy = _present(server, project) or Policy()
    if approvals is not None:
        policy = policy.model_copy(update={"approvals": approvals})
    if single_person:
        return policy.model_copy(update={"single_person": True})
    if len({*approvers}) > 1 or policy.single_person:
        return policy
    [only] = {*approvers}
    alone = f"{only} is the only approver, and cannot approve what {only} asks for"
    if sys.stdin.isatty() and not quiet:
        with silent():
            asked = f"{alone}. Shall one person decide alone for {project}?"
            if typer.confirm(asked, default=False, err=True):
                return policy.model_copy(update={"single_person": True})
    else:
        note(f"{alone}: name another --approver, or say --single-person")
    return policy


def _present(server: Server, project: str) -> Policy | None:
    server.decide_for(project)
    try:
        found = ProjectAnswer.model_validate(server.read("registry", "projects", project))
    except Reject as error:
        if error.refusals[0].kind != "not-found":
            raise
        return None
    return found.project.policy


def _known(server: Server, project: str) -> bool:
    """Whether notifier and planner have read of the Project; awaited, so that the next command finds it."""
    end = time.monotonic() + _KNOWN_WITHIN_S
    missing = [("notifier", "inbox", project), ("planner", "projects", project)]
    while missing:
        try:
            server.read(*missing[0])
            del missing[0]
        except (Reject, NoAnswer) as error:
            late = isinstance(error, Reject) and error.refusals[0].kind == "not-found"
            if not late or time.monotonic() > end:
                return False
            time.sleep(_PAUSE_S)
    return True
