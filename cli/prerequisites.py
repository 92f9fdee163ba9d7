"""What a new Project's Runs will need, asked before it is registered."""

from cli.client import Server
from cli.output import note
from cli.progress import doing
from cli.world import world_folder
from shared.contracts.projects import Project
from shared.contracts.stages import Finding
from shared.errors import Reject


def missing_for(server: Server, project: Project) -> tuple[Finding, ...]:
    """Everything that is missing, each with its cure. Raises `NoAnswer`."""
    server.decide_for(project.id)
    return (*_approvers(server, project), *_asked(server, project))


def _asked(server: Server, project: Project) -> list[Finding]:
    if project.definition.pool is not None:
        note(
            f"secrets, roles and the repository are for the workers of pool {project.definition.pool} to see"
        )
        return []
    try:
        with doing("asking the executor for secrets, roles, the repository and production's history"):
            answer = server.command("executor", "prerequisites", body=project.model_dump(mode="json"))
    except Reject as error:
        if error.refusals[0].kind != "not-found":
            raise
        note("this server cannot say before a Run whether secrets, roles and the repository suffice")
        return []
    return [Finding.model_validate(each) for each in answer["findings"]]


def _approvers(server: Server, project: Project) -> list[Finding]:
    """In a local world it is known who has a token; elsewhere the identity provider knows."""
    folder = world_folder()
    if not server.place.of_world or folder is None or not (folder / "settings.json").is_file():
        return []
    from local.world import World

    people = {actor.id for actor in World.open(folder).actors.values() if actor.may_act_for(project.id)}
    if people & {*project.approvers}:
        return []
    named = " or ".join(f"--approver {person}" for person in sorted(people))
    return [
        Finding(
            kind="project-file",
            subject="--approver",
            detail=f"nobody has a token as {', '.join(project.approvers)} in this world",
            cure=f"name somebody of this world: {named}",
        )
    ]
