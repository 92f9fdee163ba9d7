"""Law: an event of a topic that is kept forever changes nothing when it comes again, inbox row or not."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import text

from services.planner.handlers import HANDLERS
from services.planner.store import PlannerTransaction
from shared.contracts.refusals import CommandRefused
from shared.contracts.releases import ReleaseWithdrawn
from shared.contracts.topics import FOREVER
from shared.contracts.values import Message
from shared.contracts.version_maps import VersionMapReleased
from shared.storage.database import Database
from tests.support.planner_service import PlannerService

KEPT = ("projects", "runs", "releases", "release_book", "fleet")


class Recording(PlannerService):
    """A planner that keeps what it has heard of topics that are kept forever."""

    def __init__(self, database: Database[PlannerTransaction]) -> None:
        super().__init__(database)
        self.heard: list[Message] = []

    async def hear(self, message: Message, message_id: str | None = None) -> None:
        if of_a_topic_that_is_kept(type(message)):
            self.heard.append(message)
        await super().hear(message, message_id)


def of_a_topic_that_is_kept(message: type[Message]) -> bool:
    return message is CommandRefused or message.topic.retention_ms == FOREVER


async def tables(database: Database[PlannerTransaction]) -> dict[str, list[str]]:
    async with database.transaction() as tx:
        return {
            table: sorted(map(str, (await tx.session.execute(text(f"select to_jsonb(t) from {table} t")))))
            for table in KEPT
        }


async def upgraded(planner: Recording) -> None:
    """A Run that came to its end, and a second one that waits for the registry."""
    run: Any = await planner.planned()
    while run.ended_at is None:
        run = await planner.step(run.id)


@pytest.mark.parametrize("seed", range(6))
async def test_what_comes_again_years_later_is_old_news(
    database: Database[PlannerTransaction], seed: int
) -> None:
    planner = Recording(database)
    await planner.knows()
    await upgraded(planner)
    told = planner.heard
    never_sent_here = {VersionMapReleased, CommandRefused, ReleaseWithdrawn}
    assert {type(message) for message in told} == {
        kind for kind in HANDLERS if of_a_topic_that_is_kept(kind)
    } - never_sent_here
    before, sent = await tables(database), len(await planner.sent())
    # In its order, as a group that has lost its place reads it; and in any other.
    again = list(told) if seed == 0 else random.Random(seed).sample(told, len(told))
    for message in again:
        # Under another id, so that no row of the inbox is found.
        await PlannerService.hear(planner, message, f"again/{seed}/{again.index(message)}")
    assert await tables(database) == before
    assert len(await planner.sent()) == sent
