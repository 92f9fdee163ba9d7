"""One function per event: learn it, weigh whom it concerns, tell them."""

import asyncio
from collections.abc import Callable, Sequence

from services.notifier import domain
from services.notifier.store import Fanout, NotifierTransaction
from shared.contracts.notifications import Notification
from shared.contracts.projects import ProjectRegistered
from shared.contracts.releases import ReleasePublished, ReleaseWithdrawn
from shared.contracts.version_maps import VersionMapRecorded
from shared.messaging.inbox import Handlers

_MANY = 1_000
"""Each version is compared with each Release in some 10 µs."""


def handlers(wake: Callable[[], None]) -> Handlers:
    """The notifier's handlers; `wake` is called when more are to be told than one commit tells."""

    async def on_release(event: ReleasePublished | ReleaseWithdrawn, tx: NotifierTransaction) -> None:
        """Tell whoever pins a version for which something else is offered now: the first share of them."""
        fanout = await begin_fanout(event, tx)
        if fanout is not None:
            await tell_share(fanout, tx)
            if not fanout.done:
                tx.after_commit(wake)

    return {
        ReleasePublished: on_release,
        ReleaseWithdrawn: on_release,
        ProjectRegistered: on_project_registered,
        VersionMapRecorded: on_version_map,
    }


async def begin_fanout(event: ReleasePublished | ReleaseWithdrawn, tx: NotifierTransaction) -> Fanout | None:
    """Learn what the event says, and who is to be told of it; None if nothing changes for anybody."""
    await tx.begin_weighing()
    cause, system = tx.cause, event.release.system
    assert cause is not None
    # Everybody hears of an earlier one first: what is told does not depend on how far that had come.
    while (earlier := await tx.next_fanout(system)) is not None:
        await tell_share(earlier, tx)
    tx.caused_by(cause)
    before = (await tx.releases([system]))[system]
    after = domain.learn(before, event.release)
    if after == before:
        return None
    await tx.save_release(event.release)
    # Few versions are pinned, by many Projects: compare the versions, then touch only whom it concerns.
    pinned = await tx.pinned_versions([system])
    offered_before, offered = await _offers(pinned, before), await _offers(pinned, after)
    versions = [pin[1] for pin in pinned if offered.get(pin) != offered_before.get(pin)]
    return Fanout(system, versions, cause) if versions else None


async def _offers(
    pinned: Sequence[tuple[str, str]], releases: domain.Releases
) -> dict[tuple[str, str], domain.Offer]:
    """The offers to versions of one System; found beside the loop where that is much work."""
    known = {system: releases for system, _ in pinned}
    if len(pinned) * len(releases) < _MANY:
        return domain.behind(pinned, known)
    return await asyncio.to_thread(domain.behind, pinned, known)


async def tell_share(fanout: Fanout, tx: NotifierTransaction) -> None:
    """Tell the next share, and keep how far it has come. The weighing must have begun."""
    tx.caused_by(fanout.cause)
    known = (await tx.releases([fanout.system]))[fanout.system]
    pins = [(fanout.system, version) for version in fanout.versions]
    offers = await _offers(pins, known)
    async for alike in tx.affected(fanout):
        assert alike.standing.pinned is not None
        offered = offers.get((fanout.system, alike.standing.pinned))
        await tx.tell_alike(domain.settle(alike.standing, offered, known, tx.now), alike)
    await tx.keep_fanout(fanout)


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
