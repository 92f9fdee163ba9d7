"""Roads on which something says no before production is touched: nothing is undone that nobody asked for."""

from __future__ import annotations

from local import example
from shared.contracts.facts import CheckResult
from shared.contracts.refusals import CommandRefused
from shared.contracts.runs import RunView, StartRun
from shared.contracts.topics import RUN_EVENTS
from tests.journeys.conftest import Portals
from tests.support.people import Maintainer, record_of, refusal_of
from tests.support.portal import NEW_PINS, OLD_PINS, project_file
from tests.support.system import Embedded
from tests.support.topics import answer_to, send

SIGNIN = "systems/auth-system/signin.py"


def verdicts(results: tuple[CheckResult, ...]) -> dict[str, str]:
    return {result.name: result.verdict for result in results}


async def test_a_conflict_waits_for_its_fix_and_a_second_run_for_the_first(
    embedded: Embedded, portals: Portals
) -> None:
    portal = await portals.open(embedded, "clinic", "conflict")
    mira, before = portal.mira, await portal.production()
    planned = await mira.plan("auth-system")
    assert [each.path for each in (await mira.read_plan(planned.id)).files if each.conflict] == [SIGNIN]

    stuck = await mira.start(planned)
    assert (stuck.status, stuck.stage) == ("waiting", "apply")
    (finding,) = record_of(stuck, "apply").findings
    assert (finding.kind, finding.subject) == ("conflict", SIGNIN)
    assert all(marker in finding.detail for marker in ("<<<<<<<", "max(minutes, 60)", ">>>>>>>"))
    assert stuck.blocked_by is not None
    assert f"upgradepath run continue {stuck.id}" in stuck.blocked_by.cures
    assert stuck.branch is not None
    assert portal.branches() == ["main", stuck.branch]
    assert await portal.production() == before

    await _second_is_refused(mira, stuck)

    portal.example.push_variant("conflict-fix", "Open the recorded session for an hour", stuck.branch)
    await mira.tell(stuck.id, "continue")
    done = await mira.approve(await mira.proven(stuck.id))
    assert done.status == "succeeded"
    assert record_of(done, "apply").attempt == 2
    fix = (example.EXAMPLES / "variants" / "conflict-fix" / SIGNIN).read_text()
    assert portal.file(SIGNIN) == fix.rstrip("\n")
    assert await mira.pins() == NEW_PINS
    await portal.assert_no_staging(done)


async def _second_is_refused(mira: Maintainer, first: RunView) -> None:
    """One started Run at a time, over HTTP and on the topic; the refusal names the first one."""
    second = await mira.plan("auth-system")
    assert second.plan is not None
    over_http = await refusal_of(mira.tell(second.id, "start", plan=second.plan))
    assert over_http.kind == "conflict"
    assert first.id in over_http.reason
    assert first.id in over_http.cure

    command = StartRun(actor=mira.actor, project=mira.project, run_id=second.id, plan=second.plan)
    sent = await send(mira.system, command)
    answer = (await answer_to(mira.system, RUN_EVENTS, mira.project, sent)).message
    assert isinstance(answer, CommandRefused)
    assert answer.command_id == sent
    assert answer.refusals == (over_http,)
    assert (await mira.show(second.id)).status == "planned"
    assert await mira.show(first.id) == first


async def test_a_failed_check_waits_and_is_rolled_back_on_a_word(
    embedded: Embedded, portals: Portals
) -> None:
    portal = await portals.open(embedded, "school", "strict-workflow")
    mira, before = portal.mira, await portal.production()
    planned = await mira.plan("auth-system")
    await mira.start(planned)
    await mira.tell(planned.id, "sign-off", check="staging-looks-right")
    failed = await mira.settled(planned.id)
    assert (failed.status, failed.stage) == ("waiting", "check-workflows")
    assert failed.blocked_by is not None
    assert failed.blocked_by.who == "maintainer"
    first = record_of(failed, "check-workflows")
    assert verdicts(first.results)["partner-rules"] == "failed"
    assert await portal.staging_databases() != []

    await mira.tell(planned.id, "retry")
    again = await mira.settled(planned.id)
    second = record_of(again, "check-workflows")
    assert (second.attempt, verdicts(second.results)) == (2, verdicts(first.results))

    undone = await mira.roll_back(planned.id)
    assert undone.status == "rolled-back"
    assert {line.what for line in undone.proof} == {
        "files of branch main",
        "version-map.yaml",
        "config/",
        "production's schema",
        "live commit",
    }
    assert all(line.same for line in undone.proof)
    assert await portal.production() == before
    assert await mira.pins() == OLD_PINS
    await portal.assert_no_staging(undone)


async def test_a_project_may_have_it_rolled_back_by_itself(embedded: Embedded, portals: Portals) -> None:
    edits = project_file('on_failure = "wait"', 'on_failure = "roll-back"')
    portal = await portals.open(embedded, "studio", "strict-workflow", edits=edits)
    mira, before = portal.mira, await portal.production()
    planned = await mira.plan("auth-system")
    await mira.start(planned)
    await mira.tell(planned.id, "sign-off", check="staging-looks-right")
    undone = await mira.settled(planned.id)
    assert undone.status == "rolled-back"
    assert undone.reason is not None
    assert "partner-rules" in undone.reason
    assert all(line.same for line in undone.proof)
    assert await portal.production() == before
    assert (await mira.version_map())["held_by"] is None
    await portal.assert_no_staging(undone)
