"""Register a Project, and wait until those who act on it have heard."""

import time
from typing import Any

from cli.client import Server
from cli.output import note
from cli.progress import doing
from cli.world import NoAnswer
from shared.contracts.projects import ProjectDefinition
from shared.contracts.version_maps import Pins
from shared.errors import Reject

_KNOWN_WITHIN_S = 10.0
_PAUSE_S = 0.1


def register_project(
    server: Server, definition: ProjectDefinition, repository: str, approvers: list[str], pins: Pins
) -> Any:
    """The registry's answer. Raises `Reject` with everything that is wrong."""
    server.decide_for(definition.id)
    document = server.command(
        "registry",
        "projects",
        body={
            "project": {
                "id": definition.id,
                "repository": repository,
                "definition": definition.model_dump(mode="json"),
                "approvers": approvers,
            },
            "pins": dict(pins),
        },
    )
    with doing("waiting until notifier and planner have read of it"):
        heard = _known(server, definition.id)
    if not heard:
        note("notifier and planner have not read of it yet: they will, unless they are away")
    return document


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
