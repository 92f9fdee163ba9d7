"""The happy road: published, told, planned, proven in staging, approved, deployed, recorded."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from shared.contracts.envelope import release_trace
from shared.contracts.releases import ReleasePublished
from shared.contracts.runs import PlanReady, RunChanged, RunView
from shared.contracts.stages import RunExecutorStage, RunValidatorStage, StageFinished
from shared.contracts.topics import RELEASE_EVENTS, RUN_EVENTS, TOPICS, VERSION_MAP_EVENTS
from shared.contracts.version_maps import VersionMapHeld, VersionMapRecorded
from tests.journeys.conftest import Portals
from tests.support.people import Refused
from tests.support.portal import NEW_PINS, OLD_PINS, Portal, connected
from tests.support.system import System
from tests.support.topics import all_text, messages

CANARY = "canary-4711"
"""A part of a customer's address that must be seen nowhere but in production."""


async def test_from_the_release_to_the_version_map(system: System, portals: Portals) -> None:
    portal = await portals.open(system, "harbour")
    mira = portal.mira
    await portal.ask(
        "insert into users (email, name, password_hash) values"
        f" ('{CANARY}@harbour.example', '{CANARY}', '{CANARY}') returning id"
    )
    users = await portal.ask("select count(*) from users")
    before = await portal.production()

    await _told_five_facts(portal)
    planned = await mira.plan("auth-system")
    await _plan_answers(portal, planned)
    await _nothing_happens_by_itself(portal, planned)
    assert await portal.production() == before
    assert await portal.staging_databases() == []
    assert portal.branches() == ["main"]

    await mira.start(planned)
    proven = await mira.proven(planned.id)
    await _staging_has_no_personal_data(portal, proven, users)
    await _only_this_candidate(portal, proven)
    assert await portal.production() == before

    done = await mira.approve(proven)
    assert done.status == "succeeded"
    await _deployed(portal, done, before.head, users)
    await _recorded(portal, done)
    await portal.assert_no_staging(done)
    await _one_trace(portal, done)
    await _nothing_leaked(portal, done)


async def _told_five_facts(portal: Portal) -> None:
    told = await portal.mira.told("auth-system", "1.3.0")
    assert (told.version, told.pinned, told.change) == ("1.3.0", "1.2.4", "minor")
    assert told.what_changed == (
        "1.3.0: Users have a status; every sign-in is recorded and shown to its user",
    )
    assert told.migration_required is True
    assert await portal.mira.get("/planner/runs", project=portal.project) == []


async def _plan_answers(portal: Portal, planned: RunView) -> None:
    plan = await portal.mira.read_plan(planned.id)
    review = plan.review
    assert review.breaking.answer == "no"
    assert review.workflow_rules.answer == "yes"
    assert len(review.workflow_rules.because) == 3
    assert review.more_tests_or_approvals.answer == "yes"
    assert review.required.answer == "optional"
    assert plan.reversibility == "reversible"
    assert plan.content_digest() == planned.plan
    assert [each.contracting for each in plan.migrations] == [False, False, True]
    diff = await portal.mira.text(f"/planner/runs/{planned.id}/diff")
    assert "+++ b/systems/auth-system/events.py" in diff


async def _nothing_happens_by_itself(portal: Portal, planned: RunView) -> None:
    """Events flow for this Project, and the plan that nobody opted in to stays a plan."""
    await portal.register()
    another = await portal.mira.plan("auth-system")
    assert await portal.mira.show(planned.id) == planned
    assert planned.branch is None
    await portal.mira.tell(another.id, "cancel", reason="one plan is enough")


async def _staging_has_no_personal_data(portal: Portal, proven: RunView, users: int) -> None:
    async with connected(portal.staging_url(proven)) as connection:
        assert await connection.fetchval("select count(*) from users") == users
        assert await connection.fetchval("select count(*) from users where status is null") == 0
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        assert len(tables) > 6
        for (table,) in tables:
            for real in (CANARY, "demo@acme.example", "Dana Demo"):
                query = f'select count(*) from "{table}" t where t::text like $1'
                assert await connection.fetchval(query, f"%{real}%") == 0, f"{real} is in {table}"


async def _only_this_candidate(portal: Portal, proven: RunView) -> None:
    with pytest.raises(Refused) as refused:
        await portal.mira.tell(proven.id, "approve", candidate="0" * 64)
    assert refused.value.status == 409
    assert refused.value.refusals[0].field == "candidate"
    assert (await portal.mira.show(proven.id)).candidate == proven.candidate


async def _deployed(portal: Portal, done: RunView, base: str, users: int) -> None:
    deploy = next(stage for stage in done.stages if stage.stage == "deploy")
    names = [step.name for step in deploy.steps]
    assert names == ["dump", "backup proven", "expand", "push", "activate", "health", "contract", "health"]
    head = portal.head()
    assert head == done.deployed_commit == await portal.live_commit()
    assert portal.git("rev-parse", f"{head}^1") == base
    message = portal.git("log", "-1", "--format=%B", head)
    assert message.startswith("Upgrade auth-system to 1.3.0\n")
    assert f"Approved-by: {portal.mira.actor.id}" in message
    # The partner's own edit and the new version's are both there.
    signin = portal.file("systems/auth-system/signin.py")
    assert "events" in signin
    assert "session_minutes = 45" in portal.file("config/auth-system.toml")
    assert "event_retention_days = 90" in portal.file("config/auth-system.toml")
    assert await portal.ask("select count(*) from users") == users
    assert await portal.ask("select count(*) from users where status is null") == 0
    assert await portal.ask("select count(*) from users where status = 'suspended'") > 0


async def _recorded(portal: Portal, done: RunView) -> None:
    version_map = await portal.mira.version_map()
    assert version_map["pins"] == NEW_PINS
    assert version_map["held_by"] is None
    assert version_map["run_id"] == done.id
    assert "auth-system: 1.3.0" in portal.file("version-map.yaml").splitlines()
    history = await portal.mira.get(f"/registry/version-maps/{portal.project}/history")
    assert [each["event"] for each in history] == [
        "VersionMapRecorded",
        "VersionMapHeld",
        "VersionMapRecorded",
    ]
    await portal.mira.told("auth-system", "1.3.0", "adopted")
    behind = await portal.mira.get("/notifier/outdated", project=portal.project)
    assert "auth-system" not in {each["system"] for each in behind}


async def _one_trace(portal: Portal, done: RunView) -> None:
    """From the Release to the record, whatever the services said of it bears one trace id."""
    (name, version), *_ = done.systems.items()
    published = await messages(portal.system, RELEASE_EVENTS, name)
    said = [
        each
        for topic in TOPICS
        for each in await messages(portal.system, topic, portal.project)
        if each.envelope.correlation_id == done.id and each.envelope.source.startswith("/upgrades/")
    ]
    kinds = {type(each.message) for each in said}
    assert {RunExecutorStage, RunValidatorStage, StageFinished, RunChanged, VersionMapRecorded} <= kinds
    said += [
        each
        for each in published
        if isinstance(each.message, ReleasePublished) and each.message.release.version == version
    ]
    assert {each.envelope.traceparent for each in said} == {release_trace(name, version)}


async def _nothing_leaked(portal: Portal, done: RunView) -> None:
    """The topics tell the whole story, and neither they nor any log know a customer or a password."""
    system, key = portal.system, portal.project
    events = [each.message for each in await messages(system, RUN_EVENTS, key)]
    ours = [event.run for event in events if isinstance(event, RunChanged) and event.run.id == done.id]
    assert ours[-1] == done
    assert sum(isinstance(event, PlanReady) for event in events) == 2
    maps = [each.message for each in await messages(system, VERSION_MAP_EVENTS, key)]
    assert [type(each) for each in maps] == [VersionMapRecorded, VersionMapHeld, VersionMapRecorded]
    assert isinstance(maps[0], VersionMapRecorded)
    assert maps[0].version_map.pins == OLD_PINS

    said = [system.logs(), await all_text(system)]
    said += [await portal.mira.text(f"/planner/runs/{done.id}/{each}") for each in ("plan", "diff")]
    report = await portal.mira.get(f"/validator/runs/{done.id}")
    logs = {result["log"] for job in report["jobs"] for result in job["results"] if result["log"]}
    assert logs
    said += [await portal.mira.text(f"/validator/runs/{done.id}/logs/{digest}") for digest in logs]
    said.append(str(await portal.mira.get(f"/executor/runs/{done.id}")))
    password = urlsplit(system.postgres_url).password
    assert password is not None
    for secret in (CANARY, password, system.token(portal.mira.actor)):
        assert [text[max(0, at - 200) : at] for text in said if (at := text.find(secret)) >= 0] == []
