"""The planner on a real database: one commit per message, and everything that it sends."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from services.planner.store import PLANNER_TABLES, PlannerTransaction
from services.planner.timers import Timers
from shared.clock import utc_now
from shared.contracts.projects import ProjectRegistered
from shared.contracts.refusals import CommandRefused, Refusal
from shared.contracts.releases import ReleaseWithdrawn
from shared.contracts.runs import ApproveCandidate, CancelRun, RequestPlan, RunChanged, RunView, StartRun
from shared.contracts.stages import CancelExecutorStage, Errored, RunExecutorStage
from shared.contracts.values import Actor
from shared.contracts.version_maps import HoldVersionMap, VersionMapRecorded
from shared.errors import Reject
from shared.ids import derived_id
from shared.messaging.reminder import Reminder
from shared.storage.database import Database
from shared.storage.migrations import migrate_async
from shared.storage.tables import MESSAGE_TABLES
from tests.conftest import PostgresServer
from tests.support.planner_examples import MIRA, PINS, PROJECT, digest, finished, project, release
from tests.support.planner_service import PlannerService

JOURNEY = (
    "RunExecutorStage",  # review
    "PlanReady",
    "RunExecutorStage",  # prepare
    "RunExecutorStage",  # apply
    "RunExecutorStage",  # migrate
    "RunValidatorStage",  # validate
    "RunValidatorStage",  # check-workflows
    "HoldVersionMap",
    "RunExecutorStage",  # deploy
    "RecordVersionMap",
    "RunExecutorStage",  # record
)
TOPICS = {
    "RunExecutorStage": "upgrades.executor.commands.v1",
    "RunValidatorStage": "upgrades.validator.commands.v1",
    "HoldVersionMap": "upgrades.version-map.commands.v1",
    "RecordVersionMap": "upgrades.version-map.commands.v1",
    "PlanReady": "upgrades.run.events.v1",
    "RunChanged": "upgrades.run.events.v1",
}
ALL_THE_WAY = 13


async def resent(planner: PlannerService) -> dict[str, bytes]:
    """What a planner that starts beside the embedded broker sends again, by message id."""
    before = len(await planner.sent())
    await Reminder(planner.database, PlannerTransaction.open_messages).start()
    return {sent.envelope.id: sent.body for sent in await planner.sent(after=before)}


async def test_from_the_request_to_the_recorded_map(planner: PlannerService) -> None:
    run = await planner.ask(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None}))
    assert (run.status, run.stage, run.systems) == ("planning", "review", {"auth-system": "1.3.0"})
    for _ in range(ALL_THE_WAY):
        run = await planner.step(run.id)
    assert (run.status, run.stage, run.blocked_by) == ("succeeded", "record", None)
    sent = await planner.sent()
    names = [one.envelope.type.split(".")[1] for one in sent]
    assert tuple(name for name in names if name != "RunChanged") == JOURNEY
    assert names.count("RunChanged") == ALL_THE_WAY + 1
    for name, one in zip(names, sent, strict=True):
        assert one.topic == TOPICS[name]
        assert (one.key, one.envelope.subject) == (PROJECT.encode(), PROJECT)
        assert one.envelope.correlation_id == run.id
        assert one.envelope.causation_id is not None
    revisions = [one.message.revision for one in sent if isinstance(one.message, RunChanged)]
    assert revisions == list(range(1, ALL_THE_WAY + 2))
    async with planner.database.transaction() as tx:
        _, version_map = await tx.registration(PROJECT)
    assert version_map.pins == {**PINS, "auth-system": "1.3.0"}


async def test_what_is_sent_again_has_the_same_bytes(planner: PlannerService) -> None:
    """After every step of a journey: the id was sent before, and with just these bytes."""
    run = await planner.ask(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None}))
    for step in range(ALL_THE_WAY):
        first = {sent.envelope.id: sent.body for sent in reversed(await planner.sent())}
        again = await resent(planner)
        expected = 1 if await planner.open_command(run.id) is None else 2
        assert len(again) == expected, f"after {step} steps"
        assert {message_id: first.get(message_id) for message_id in again} == again
        await planner.step(run.id)
    assert await resent(planner) == {}, "a Run that has ended is of no more interest"


async def test_a_result_that_comes_again_sends_nothing(planner: PlannerService) -> None:
    run = await planner.started()
    old = await planner.open_command(run.id)
    assert isinstance(old, RunExecutorStage)
    await planner.answered(run.id, Errored(reason="no route to host"))
    before = await planner.sent()
    await planner.hear(finished(old, utc_now()), "another-id")
    assert await planner.sent() == before


async def test_a_second_start_is_refused_with_the_first_ones_id(planner: PlannerService) -> None:
    first = await planner.started()
    second = await planner.planned()
    with pytest.raises(Reject) as rejected:
        await planner.ask(start(second))
    (refusal,) = rejected.value.refusals
    assert (refusal.kind, refusal.field) == ("conflict", "project")
    assert first.id in refusal.reason
    assert (await planner.view(second.id)).status == "planned"


async def test_of_two_starts_at_once_one_wins(planner: PlannerService) -> None:
    runs = [await planner.planned(), await planner.planned()]
    verdicts = await asyncio.gather(*(planner.ask(start(run)) for run in runs), return_exceptions=True)
    (winner,) = [verdict for verdict in verdicts if isinstance(verdict, RunView)]
    (refused,) = [verdict for verdict in verdicts if isinstance(verdict, Reject)]
    assert winner.id in str(refused)
    fences = [one.message.fence for one in await planner.sent() if isinstance(one.message, RunExecutorStage)]
    assert fences == [1, 2, 3]


async def test_a_plan_that_pins_have_outrun_is_not_started(planner: PlannerService) -> None:
    run = await planner.planned()
    changed = planner.map.model_copy(update={"revision": 2, "pins": {**PINS, "quote-engine": "2.0.1"}})
    await planner.hear(VersionMapRecorded(version_map=changed))
    with pytest.raises(Reject, match="the version map has changed since the plan was made"):
        await planner.ask(start(run))


async def test_a_withdrawn_release_is_neither_started_nor_approved(planner: PlannerService) -> None:
    waiting = await planner.planned()
    run = await planner.started()
    while run.candidate is None:
        run = await planner.step(run.id)
    withdrawn = release("auth-system", "1.3.0", withdrawn="it signs everybody in")
    await planner.hear(ReleaseWithdrawn(release=withdrawn, revision=99))
    approve = ApproveCandidate(actor=MIRA, project=PROJECT, run_id=run.id, candidate=run.candidate)
    for command in (start(waiting), approve):
        with pytest.raises(Reject) as rejected:
            await planner.ask(command)
        assert rejected.value.refusals[0].kind == "conflict"
    with pytest.raises(Reject, match="it signs everybody in"):
        await planner.ask(approve)


async def test_old_news_of_releases_projects_and_maps_is_dropped(planner: PlannerService) -> None:
    old = release("auth-system", "1.3.0", withdrawn="an old story")
    await planner.hear(ReleaseWithdrawn(release=old, revision=1), "another-id-1")
    renamed = project().model_copy(update={"repository": "/elsewhere"})
    await planner.hear(ProjectRegistered(project=renamed, revision=1), "another-id-2")
    emptied = planner.map.model_copy(update={"pins": {"auth-system": "9.9.9"}})
    await planner.hear(VersionMapRecorded(version_map=emptied), "another-id-3")
    async with planner.database.transaction() as tx:
        known, version_map = await tx.registration(PROJECT)
        assert (await tx.releases())["auth-system", "1.3.0"].withdrawn is None
    assert (known, version_map.pins) == (project(), PINS)


async def test_who_may_not_decide_for_a_project_is_refused(planner: PlannerService) -> None:
    stranger = Actor(id="eve@other.example", role="maintainer", projects=("other",))
    library = Actor(id="lena@library.example", role="library")
    for actor in (stranger, library):
        with pytest.raises(Reject) as rejected:
            await planner.ask(RequestPlan(actor=actor, project=PROJECT, systems={"auth-system": None}))
        assert rejected.value.refusals[0].kind == "forbidden"


async def test_unknown_projects_and_runs_are_not_found(planner: PlannerService) -> None:
    elsewhere = Actor(id="eve@other.example", role="maintainer", projects=("other",))
    mistaken = CancelRun(actor=MIRA, project=PROJECT, run_id="run-000000000000", reason="a slip")
    for command in (RequestPlan(actor=elsewhere, project="other", systems={"auth-system": None}), mistaken):
        with pytest.raises(Reject) as rejected:
            await planner.ask(command)
        assert rejected.value.refusals[0].kind == "not-found"


async def test_a_run_of_another_project_is_not_found_under_ones_own(planner: PlannerService) -> None:
    run = await planner.planned()
    stranger = Actor(id="eve@other.example", role="maintainer", projects=("other",))
    with pytest.raises(Reject) as rejected:
        await planner.ask(CancelRun(actor=stranger, project="other", run_id=run.id, reason="spite"))
    assert rejected.value.refusals[0].kind == "not-found"


# --- timers --------------------------------------------------------------------------------------


class AnHourLater(PlannerTransaction):
    """The same tables under a clock that is ahead."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.now += timedelta(hours=1, minutes=2)


async def test_a_silent_stage_is_stopped_and_tried_again(planner: PlannerService) -> None:
    run = await planner.planned()
    await Timers(planner.database).fire_due()
    assert await planner.view(run.id) == run, "nothing is due"
    run = await planner.ask(start(run))
    before = len(await planner.sent())
    later: Database[PlannerTransaction] = Database("planner", planner.database.url, AnHourLater)
    try:
        await Timers(later).fire_due()
    finally:
        await later.close()
    cancel, changed = (sent.message for sent in await planner.sent(after=before))
    assert isinstance(cancel, CancelExecutorStage)
    assert (cancel.stage, cancel.fence) == ("prepare", run.fence)
    assert isinstance(changed, RunChanged)
    assert changed.run.stages[-1].status == "waiting-for-retry"
    assert "no answer within" in changed.run.stages[-1].detail


async def test_a_timer_that_fails_stops_no_other(planner: PlannerService) -> None:
    broken, sound = [
        await planner.ask(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None}))
        for _ in range(2)
    ]
    async with planner.database.transaction() as tx:
        nothing_but_a_timer = '{"work": {"wake_at": "2000-01-01T00:00:00Z"}}'
        await tx.session.execute(
            text("update runs set told = :told where id = :id"),
            {"told": nothing_but_a_timer, "id": broken.id},
        )
    later: Database[PlannerTransaction] = Database("planner", planner.database.url, AnHourLater)
    try:
        await Timers(later).fire_due()
    finally:
        await later.close()
    assert (await planner.view(sound.id)).stages[-1].status == "waiting-for-retry"


# --- the schema ----------------------------------------------------------------------------------


async def test_the_migrated_schema_is_the_one_that_the_code_expects(
    database: Database[PlannerTransaction], postgres: PostgresServer
) -> None:
    await migrate_async("planner", database.url)

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, [MESSAGE_TABLES, PLANNER_TABLES]))  # type: ignore[arg-type]

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


def start(run: RunView) -> StartRun:
    return StartRun(actor=MIRA, project=PROJECT, run_id=run.id, plan=run.plan or digest("none"))


async def test_a_refusal_of_anything_but_a_map_command_is_no_answer(planner: PlannerService) -> None:
    """Its id may be that of a stage command, whose Run waits for a worker and not for the registry."""
    run = await planner.started()
    for kind in (RunExecutorStage, HoldVersionMap):
        waits_for = await planner.open_command(run.id)
        assert isinstance(waits_for, RunExecutorStage)
        name = kind.type_name()
        refusal = CommandRefused(
            command=name,
            command_id=derived_id(name, f"{run.id}/{run.fence}"),
            subject=PROJECT,
            refusals=(Refusal(kind="conflict", reason="no", cure="none"),),
        )
        await planner.hear(refusal)
        assert await planner.view(run.id) == run
