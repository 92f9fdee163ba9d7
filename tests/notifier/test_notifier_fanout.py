"""What is told to many at once is what each would have been told alone, to the last byte."""

from contextlib import suppress
from typing import Any

from services.notifier.domain import Standing, offer, settle
from services.notifier.store import Fanout, NotifierTransaction
from tests.notifier.notifier_world import NOON, Notifier, arrived, published, recorded, release

# Names that stand elsewhere in a message too, and one as long as they may be.
PROJECTS = ("acme-portal", "notification", "p", "project", "revision", "z" + "y" * 61)
KNOWN = {version: release(version) for version in ("1.3.0", "1.4.0")}


class Undo(Exception):
    """Nothing of this is to stay."""


async def together(tx: NotifierTransaction) -> None:
    fanout = Fanout("auth-system", ["1.2.4"], arrived(published("1.4.0")).envelope)
    groups = [alike async for alike in tx.affected(fanout)]
    assert [alike.projects for alike in groups] == [sorted(PROJECTS)]
    [alike] = groups
    await tx.tell_alike(settle(alike.standing, offer("1.2.4", KNOWN), KNOWN, tx.now), alike)


async def one_by_one(tx: NotifierTransaction) -> None:
    for project in PROJECTS:
        opened = next(iter(await tx.notifications(project, "open")), None)
        standing = Standing(project, "auth-system", "1.2.4", opened)
        await tx.tell(settle(standing, offer("1.2.4", KNOWN), KNOWN, tx.now))


async def outcome(notifier: Notifier, tell: Any) -> list[list[Any]]:
    """Every message and row that 1.4.0 would leave."""
    found = []
    with suppress(Undo):
        async with notifier.database.transaction() as tx:
            tx.now = NOON
            await tx.begin_weighing()
            await tell(tx)
            await tx.write()
            for query in (
                "select topic, key, body, headers::text from outbox order by key, id",
                "select project, version, state, revision, notification::text from notifications"
                " order by 1, 2",
                "select project, revision from inboxes order by 1",
            ):
                found.append([tuple(row) for row in await tx.fetch(query)])
            raise Undo
    return found


async def test_what_many_are_told_is_what_each_would_be_told(notifier: Notifier) -> None:
    for project in PROJECTS:
        await notifier.hear(recorded(1, project, auth="1.2.4"))
    first = await outcome(notifier, together)
    assert first == await outcome(notifier, one_by_one)
    assert len(first[0]) == len(PROJECTS)
    # Each hears of the first release at a time of its own, by its version map.
    await notifier.hear(published("1.3.0"))
    for project in PROJECTS:
        await notifier.hear(recorded(2, project, auth="1.3.0"), recorded(3, project, auth="1.2.4"))
    await notifier.sent()
    second = await outcome(notifier, together)
    assert second == await outcome(notifier, one_by_one)
    assert len(second[0]) == 2 * len(PROJECTS)
