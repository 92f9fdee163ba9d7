"""A freeze, through five processes: no deploy starts while it lasts, not even one that lay ready before."""

from __future__ import annotations

import json
from typing import Any

from tests.journeys.conftest import Portals
from tests.support.people import record_of
from tests.support.portal import NEW_PINS, OLD_PINS
from tests.support.system import FiveProcesses


async def freeze(five: FiveProcesses, *words: str) -> tuple[int, Any]:
    code, said = await five.command("freeze", *words, "--json")
    return code, json.loads(said)["freeze"]


async def test_deploys_wait_for_the_thaw_and_say_so(five: FiveProcesses, portals: Portals) -> None:
    portal = await portals.open(five, "glacier")
    mira = portal.mira
    planned = await mira.plan("auth-system")
    await mira.start(planned)
    proven = await mira.proven(planned.id)
    before = await portal.production()
    assert await freeze(five, "status") == (0, None)
    try:
        # The deploy was approved before the freeze, and no executor has seen either of the two.
        async with five.away("executor"):
            await mira.tell(planned.id, "approve", candidate=proven.candidate)
            await mira.seen(planned.id, lambda run: run.stage == "deploy" and run.attempt == 1)
            code, frozen = await freeze(five, "on", "--reason", "the database moves tonight")
            assert (code, frozen["reason"]) == (0, "the database moves tonight")
        waits = await mira.seen(
            planned.id, lambda run: run.blocked_by is not None and run.status == "waiting"
        )
        assert waits.blocked_by is not None
        assert waits.blocked_by.what.endswith("the database moves tonight")
        assert "deploys are frozen" in record_of(waits, "deploy").detail
        assert await portal.production() == before
        assert await mira.pins() == OLD_PINS
        code, frozen = await freeze(five, "status")
        assert (code, frozen["by"]) == (1, "sre@upgradepath.example")
    finally:
        await freeze(five, "off", "--reason", "it has moved")
    assert await freeze(five, "status") == (0, None)
    done = await mira.seen(planned.id, lambda run: run.ended_at is not None)
    assert done.status == "succeeded", done
    assert await mira.pins() == NEW_PINS
