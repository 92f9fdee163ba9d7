"""Projects over HTTP: registered, changed, and read."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import JsonValue

from services.registry.answers import Confirmation, ProjectListed, ProjectState, Registration
from services.registry.store import RegistryTransaction
from shared.contracts.projects import ProjectRegistered, RegisterProject
from shared.contracts.registrations import ConfirmRegistration, RegistrationProposed
from shared.contracts.values import ProjectId
from shared.deciding import policy_digest
from shared.errors import Reject, not_found
from shared.http.door import IdempotencyKey, perform
from shared.http.pages import AsksPage
from shared.http.tokens import WhoAsks, may_see, visible_to
from shared.messaging.inbox import Inbox
from shared.storage.database import Database

_PROPOSED: dict[int | str, dict[str, Any]] = {
    202: {"model": RegistrationProposed, "description": "the change waits for approvers' words"}
}


def add_projects(
    routes: APIRouter, inbox: Inbox[RegistryTransaction], database: Database[RegistryTransaction]
) -> None:
    @routes.post("/projects", status_code=201, response_model=ProjectRegistered, responses=_PROPOSED)
    async def register(
        body: Registration, who: WhoAsks, idempotency_key: IdempotencyKey = None
    ) -> JSONResponse:
        """Register a Project, or change its registration; pins change by a Run only."""
        command = RegisterProject(actor=who, project=body.project, pins=body.pins, propose=body.propose)
        return _answered(await perform(inbox, command, idempotency_key))

    @routes.post(
        "/projects/{project}/confirm", status_code=201, response_model=ProjectRegistered, responses=_PROPOSED
    )
    async def confirm(
        project: ProjectId, body: Confirmation, who: WhoAsks, idempotency_key: IdempotencyKey = None
    ) -> JSONResponse:
        """An approver's word for a proposed change; the last that is needed makes it."""
        may_see(who, project, unregistered(project))
        command = ConfirmRegistration(actor=who, project=project, change=body.change)
        return _answered(await perform(inbox, command, idempotency_key))

    @routes.get("/projects")
    async def projects(who: WhoAsks, page: AsksPage) -> list[ProjectListed]:
        """The Projects that the caller may see, by id."""
        [after] = page.after(str) or ("",)
        async with database.transaction() as tx:
            found, more = await tx.projects_page(visible_to(who), after, page.most)
        return [
            ProjectListed(project=registered.project, version_map=event.version_map)
            for registered, event in page.cut(found, lambda row: (row[0].project.id,), more=more)
        ]

    @routes.get("/projects/{project}")
    async def project_state(project: ProjectId, who: WhoAsks) -> ProjectState:
        """One Project and what it pins."""
        may_see(who, project, unregistered(project))
        async with database.transaction() as tx:
            found = await tx.projects([project])
            waiting = await tx.proposal(project)
        if not found:
            raise unregistered(project)
        registered, event = found[0]
        return ProjectState(
            project=registered.project,
            version_map=event.version_map,
            revision=registered.revision,
            changed_by=registered.changed_by,
            policy_digest=policy_digest(registered.project),
            proposal=waiting if waiting is not None and waiting.base == registered.revision else None,
        )


def unregistered(project: str) -> Reject:
    return not_found(
        f"{project} is not registered", field="project", value=project, cure="register the Project first"
    )


def _answered(answer: JsonValue) -> JSONResponse:
    """201 for what is registered, 202 for a change that waits."""
    waits = isinstance(answer, dict) and "proposal" in answer
    return JSONResponse(answer, 202 if waits else 201)
