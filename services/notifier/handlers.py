"""One function per event: learn it, weigh whom it concerns, tell them."""

from services.notifier import domain
from services.notifier.store import NotifierTransaction
from shared.contracts.notifications import Notification
from shared.contracts.projects import ProjectRegistered
from shared.contracts.releases import ReleasePublished, ReleaseWithdrawn
from shared.contracts.version_maps import VersionMapRecorded
from shared.messaging.inbox import Handlers


async def on_release(event: ReleasePublished | ReleaseWithdrawn, tx: NotifierTransaction) -> None:
    """Tell whoever pins a version for which something else is offered now."""
    await tx.begin_weighing()
    system = event.release.system
    before = (await tx.releases([system]))[system]
    after = domain.learn(before, event.release)
    if after == before:
        return
    await tx.save_release(event.release)
    # Few versions are pinned, by many Projects: compare the versions, then touch only whom it concerns.
    offers = {pinned: domain.offer(pinned, after) for _, pinned in await tx.pinned_versions([system])}
    versions = [pinned for pinned, offered in offers.items() if offered != domain.offer(pinned, before)]
    if not versions:
        return
    async for alike in tx.affected(system, versions):
        assert alike.standing.pinned is not None
        offered = offers[alike.standing.pinned]
        await tx.tell_alike(domain.settle(alike.standing, offered, after, tx.now), alike)


async def on_project_registered(event: ProjectRegistered, tx: NotifierTransaction) -> None:
    """A Project has an inbox from the first moment on, though nothing may be in it."""
    await tx.begin_weighing()
    await tx.open_inbox(event.project.id)


async def on_version_map(event: VersionMapRecorded, tx: NotifierTransaction) -> None:
    """Weigh the Systems whose pin has moved."""
    project, pins = event.version_map.project, event.version_map.pins
    inbox = await tx.inbox(project)
    if event.version_map.revision <= inbox.map_revision:
        return  # old news: a newer map has been seen
    systems = domain.moved(inbox.pins, pins)
    inbox.map_revision, inbox.pins = event.version_map.revision, dict(pins)
    releases = await tx.releases(systems)
    changed: list[Notification] = []
    for system in systems:
        pinned = pins.get(system)
        offered = None if pinned is None else domain.offer(pinned, releases[system])
        standing = domain.Standing(project, system, pinned, inbox.open.get(system))
        changed += domain.settle(standing, offered, releases[system], tx.now)
    await tx.tell(changed)


HANDLERS: Handlers = {
    ReleasePublished: on_release,
    ReleaseWithdrawn: on_release,
    ProjectRegistered: on_project_registered,
    VersionMapRecorded: on_version_map,
}
