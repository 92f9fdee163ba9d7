"""A service's database is lost in the middle of a Run: it is rebuilt from its events, and the Run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.conftest import PostgresServer
from tests.journeys.conftest import Portals
from tests.support.portal import NEW_PINS, Portal, publish_examples
from tests.support.system import Embedded, FiveProcesses

REBUILT = ("registry", "notifier", "planner")


def assert_same(service: str, code: int, said: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(said)
    assert (code, report["same"]) == (0, True), said
    assert all(part["same"] for part in report["parts"]), said
    assert report["events"] > 0, service
    return report


async def under_way(portal: Portal, stage: str) -> str:
    """A started Run of which a worker is at this stage."""
    planned = await portal.mira.plan("auth-system")
    await portal.mira.tell(planned.id, "start", plan=planned.plan)
    await portal.mira.seen(planned.id, lambda run: run.stage == stage)
    return planned.id


async def test_each_database_is_replaced_by_a_rebuilt_one_in_the_middle_of_runs(
    five: FiveProcesses, portals: Portals, postgres: PostgresServer
) -> None:
    proving, waiting = await portals.open(five, "florist"), await portals.open(five, "grocer")
    held_back = await waiting.mira.plan("auth-system")
    await waiting.mira.tell(held_back.id, "start", plan=held_back.plan)
    candidate = (await waiting.mira.proven(held_back.id)).candidate
    at_work = await under_way(proving, "migrate")
    head = proving.head()

    for service in REBUILT:
        await five.stop_service(service)
        target = postgres.url(f"rebuilt_{service}")
        assert_same(service, *await five.command("replay", "rebuild", service, "--into", target, "--json"))
        code, said = await five.command("replay", "rebuild", service, "--into", target, "--json")
        assert (code, "not empty" in said) == (1, True), "what is there is never written over"
        await five.start_on(service, target)

    assert proving.head() == head
    await waiting.mira.tell(held_back.id, "approve", candidate=candidate)
    assert (await waiting.mira.settled(held_back.id)).status == "succeeded"
    proven = await proving.mira.proven(at_work)
    await proving.mira.tell(at_work, "approve", candidate=proven.candidate)
    assert (await proving.mira.settled(at_work)).status == "succeeded"
    for portal in (proving, waiting):
        assert await portal.mira.pins() == NEW_PINS
        assert portal.git("rev-list", "--first-parent", "--count", "main") == "2"
        await portal.mira.told("auth-system", "1.3.0", "adopted")


async def test_beside_the_embedded_broker_what_is_rebuilt_is_what_stands() -> None:
    with TemporaryDirectory(prefix="upgradepath-rebuilt-") as folder:
        # A system of its own: this broker's topics must hold everything from the beginning.
        system, portals = Embedded(Path(folder)), Portals()
        await system.start()
        try:
            await publish_examples(system)
            portal = await portals.open(system, "hatter")
            planned = await portal.mira.plan("auth-system")
            await portal.mira.tell(planned.id, "start", plan=planned.plan)
            proven = await portal.mira.proven(planned.id)
            for service in REBUILT:
                assert_same(service, *await system.command("replay", "rebuild", service, "--json"))
            await portal.mira.tell(planned.id, "approve", candidate=proven.candidate)
            assert (await portal.mira.settled(planned.id)).status == "succeeded"
            assert_same("planner", *await system.command("replay", "rebuild", "planner", "--json"))
            await portals.close()
        finally:
            await system.stop()
