"""Production's branch moves while an upgrade is on its way: what was approved is not there any more."""

from __future__ import annotations

from shared.contracts.runs import RunView
from tests.journeys.conftest import Portals
from tests.support.people import record_of, refusal_of
from tests.support.portal import NEW_PINS, Portal, Production
from tests.support.system import Embedded, FiveProcesses

NOTE = "NOTES.md"


async def test_a_push_before_the_approval_stops_the_deploy(embedded: Embedded, portals: Portals) -> None:
    portal = await portals.open(embedded, "lumen")
    planned = await portal.mira.plan("auth-system")
    await portal.mira.start(planned)
    proven = await portal.mira.proven(planned.id)
    pushed = portal.push(NOTE, "Opening hours change in May.\n", "Note the opening hours")
    before = await portal.production()
    stopped = await portal.mira.approve(proven)
    await _proven_again(portal, proven, stopped, pushed, before)


async def test_a_push_between_approval_and_deploy_stops_it(five: FiveProcesses, portals: Portals) -> None:
    portal = await portals.open(five, "lumen")
    planned = await portal.mira.plan("auth-system")
    await portal.mira.start(planned)
    proven = await portal.mira.proven(planned.id)
    async with five.frozen("executor"):
        await portal.mira.tell(proven.id, "approve", candidate=proven.candidate)
        await portal.mira.seen(proven.id, lambda run: (run.stage, run.attempt) == ("deploy", 1))
        pushed = portal.push(NOTE, "Opening hours change in May.\n", "Note the opening hours")
        before = await portal.production()
    stopped = await portal.mira.settled(proven.id)
    await _proven_again(portal, proven, stopped, pushed, before)


async def _proven_again(
    portal: Portal, proven: RunView, stopped: RunView, pushed: str, before: Production
) -> None:
    """Nothing was written; the merge with what came is proven, approved anew, and deployed."""
    mira = portal.mira
    assert (stopped.status, stopped.stage) == ("waiting", "deploy")
    (finding,) = record_of(stopped, "deploy").findings
    assert (finding.kind, finding.subject) == ("drift", "main")
    assert pushed[:12] in finding.detail
    assert "Note the opening hours" in finding.detail
    assert await portal.production() == before

    await mira.tell(stopped.id, "continue")
    again = await mira.proven(stopped.id)
    assert again.candidate != proven.candidate
    assert len(again.sign_offs) == 2
    refusal = await refusal_of(mira.tell(again.id, "approve", candidate=proven.candidate))
    assert refusal.field == "candidate"
    assert portal.head() == pushed

    done = await mira.approve(again)
    assert done.status == "succeeded"
    assert portal.git("rev-parse", "main^1") == pushed
    assert portal.file(NOTE) == "Opening hours change in May."
    assert await portal.live_commit() == portal.head() == done.deployed_commit
    assert await mira.pins() == NEW_PINS
    await portal.assert_no_staging(done)
