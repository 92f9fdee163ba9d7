"""Services that end in the middle of a Run: whoever starts again looks at the world, and goes on."""

from __future__ import annotations

from cli.watch import is_settled
from shared.contracts.runs import RunView
from tests.journeys.conftest import Portals
from tests.support.people import record_of
from tests.support.portal import NEW_PINS, Portal
from tests.support.system import Embedded, FiveProcesses


async def test_dev_is_stopped_and_killed_and_started_again(embedded: Embedded, portals: Portals) -> None:
    portal = await portals.open(embedded, "bakery")
    mira = portal.mira
    planned = await mira.plan("auth-system")
    await mira.tell(planned.id, "start", plan=planned.plan)
    await _until_stage(portal, planned, "migrate")
    await embedded.stop()
    await embedded.start()

    proven = await mira.proven(planned.id)
    assert record_of(proven, "migrate").status == "succeeded"
    await embedded.kill()
    await embedded.start()
    assert await mira.show(planned.id) == proven

    await mira.tell(planned.id, "approve", candidate=proven.candidate)
    await _until_stage(portal, planned, "deploy")
    await embedded.kill()
    await embedded.start()
    await _well_ended(portal, await mira.settled(planned.id))


async def test_each_service_is_killed_in_the_middle_of_a_run(five: FiveProcesses, portals: Portals) -> None:
    portal = await portals.open(five, "bakery")
    mira = portal.mira
    planned = await mira.plan("auth-system")
    await mira.tell(planned.id, "start", plan=planned.plan)
    await _until_stage(portal, planned, "prepare")
    await five.restart("executor")
    await _until_stage(portal, planned, "migrate")
    await five.restart("planner")
    await _until_stage(portal, planned, "validate")
    await five.restart("validator")
    proven = await mira.proven(planned.id)

    await mira.tell(planned.id, "approve", candidate=proven.candidate)
    await five.restart("registry")
    await _until_stage(portal, planned, "deploy")
    await five.restart("executor")
    await five.restart("notifier")
    await _well_ended(portal, await mira.settled(planned.id))
    await mira.told("auth-system", "1.3.0", "adopted")


async def _until_stage(portal: Portal, run: RunView, stage: str) -> None:
    """Returns while a worker is at the stage."""

    def there(view: RunView) -> bool:
        assert not is_settled(view) or view.status == "planned", view
        return view.stage == stage and any(
            (record.stage, record.status) == (stage, "running") for record in view.stages
        )

    await portal.mira.seen(run.id, there)


async def _well_ended(portal: Portal, done: RunView) -> None:
    """Everything was done, and done once."""
    assert done.status == "succeeded", done
    assert await portal.mira.pins() == NEW_PINS
    assert await portal.live_commit() == portal.head() == done.deployed_commit
    assert portal.git("rev-list", "--first-parent", "--count", "main") == "2"
    assert await portal.ask("select count(*) from _prisma_migrations where finished_at is null") == 0
    assert await portal.ask("select count(*) - count(distinct migration_name) from _prisma_migrations") == 0
    assert await portal.ask("select count(*) from users where status is null") == 0
    await portal.assert_no_staging(done)
