"""Law: an event of a topic that is kept forever changes nothing when it comes again, inbox row or not."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import text

from shared.contracts.topics import FOREVER
from shared.contracts.values import Message
from tests.notifier.notifier_world import HANDLERS, Notifier, published, recorded, registered, withdrawn

KEPT = ("known_releases", "inboxes", "pins", "notifications")


def history() -> list[Message]:
    return [
        published("1.2.4"),
        registered("acme-portal", 1),
        recorded(1, auth="1.2.4"),
        published("1.3.0"),
        registered("acme-portal", 2),
        published("1.3.1"),
        withdrawn("1.3.1"),
        recorded(2, auth="1.3.0"),
        published("1.4.0"),
    ]


async def tables(notifier: Notifier) -> dict[str, list[Any]]:
    async with notifier.database.transaction() as tx:
        return {
            table: sorted(map(str, (await tx.session.execute(text(f"select to_jsonb(t) from {table} t")))))
            for table in KEPT
        }


@pytest.mark.parametrize("seed", range(6))
async def test_what_comes_again_years_later_is_old_news(notifier: Notifier, seed: int) -> None:
    told = history()
    assert {type(message) for message in told} == set(HANDLERS)
    assert all(message.topic.retention_ms == FOREVER for message in told)
    await notifier.hear(*told)
    before = await tables(notifier)
    assert await notifier.sent()
    async with notifier.database.transaction() as tx:
        await tx.session.execute(text("delete from inbox"))
    # In its order, as a group that has lost its place reads it; and in any other.
    again = told if seed == 0 else random.Random(seed).sample(told, len(told))
    await notifier.hear(*again)
    assert await tables(notifier) == before
    assert await notifier.sent() == []
