"""The notifier's HTTP door: inboxes, and who is behind."""

import asyncio
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from services.notifier import domain
from services.notifier.store import NotifierTransaction
from shared.contracts.notifications import ChangeType, Notification
from shared.contracts.values import ProjectId, SystemName, Version
from shared.errors import Reject, not_found
from shared.http.pages import AsksPage
from shared.http.tokens import WhoAsks, may_see, visible_to
from shared.storage.database import Database

State = Literal["open", "superseded", "adopted", "withdrawn"]


class Outdated(BaseModel):
    """A pin for which something newer is offered."""

    project: ProjectId
    system: SystemName
    pinned: Version
    newest: Version
    change: ChangeType
    migration_required: bool
    required: bool
    behind: int
    """How many versions lie between the pinned and the newest one, the newest among them."""
    signed: bool
    """The newest one has the Library's signature."""


def router(database: Database[NotifierTransaction]) -> APIRouter:
    """What Projects were told, and what they lack."""
    routes = APIRouter()

    @routes.get("/inbox/{project}")
    async def inbox(
        project: ProjectId, who: WhoAsks, page: AsksPage, state: State | None = None
    ) -> list[Notification]:
        """The Project's notifications, the newest first."""
        may_see(who, project, _unregistered(project))
        [before] = page.after(int) or (None,)
        async with database.transaction() as tx:
            found, more = await tx.notifications_page(project, state, before, page.most)
            if not found and not await tx.has_inbox(project):
                raise _unregistered(project)
        return [notification for notification, _ in page.cut(found, lambda row: (row[1],), more=more)]

    @routes.get("/outdated")
    async def outdated(who: WhoAsks, page: AsksPage, project: ProjectId | None = None) -> list[Outdated]:
        """The pins, of Projects that the caller may see, for which something newer is offered."""
        if project is not None:
            may_see(who, project, _unregistered(project))
        after = page.after(str, str) or ("", "")
        async with database.transaction() as tx:
            pinned = await tx.pinned_versions()
            releases = await tx.releases({system for system, _ in pinned})
            behind = await asyncio.to_thread(domain.behind, pinned, releases)
            rows = await tx.pins_page(behind, visible_to(who, project), after, page.most)
        shown = page.cut(rows, lambda row: row[:2])
        return [_outdated(name, system, at, behind[system, at]) for name, system, at in shown]

    return routes


def _unregistered(project: str) -> Reject:
    return not_found(
        f"{project} is not registered", field="project", value=project, cure="register the Project first"
    )


def _outdated(project: str, system: str, pinned: str, offered: domain.Offer) -> Outdated:
    return Outdated(
        project=project,
        system=system,
        pinned=pinned,
        newest=offered.version,
        change=offered.change,
        migration_required=offered.migration_required,
        required=offered.required,
        behind=offered.behind,
        signed=offered.signed,
    )
