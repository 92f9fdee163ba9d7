"""Forged commands and results, put on the topics before the rightful ones and with their ids.

None has an effect, none is remembered, none is answered, and each costs one record: the rightful message that
comes after it, also in the same batch, is handled as if the forged one had never been there.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from services.executor.handlers import HANDLERS as EXECUTOR_HANDLERS
from services.planner.store import PlannerTransaction
from services.validator.handlers import HANDLERS as VALIDATOR_HANDLERS
from shared.clock import utc_now
from shared.contracts.freezes import Freeze, HoldDeploys
from shared.contracts.runs import RequestPlan
from shared.contracts.stages import (
    Begun,
    CancelExecutorStage,
    Errored,
    Failed,
    Outcome,
    RunExecutorStage,
    RunValidatorStage,
    StageBegun,
)
from shared.contracts.topics import dead_letters
from shared.contracts.values import Actor, Message
from shared.contracts.version_maps import HoldVersionMap, RecordVersionMap, ReleaseVersionMap
from shared.jobs.handlers import WorkerInbox
from shared.jobs.store import WorkerTransaction
from shared.messaging.consumer import Consumer
from shared.settings import KafkaSettings
from shared.storage.database import Database
from tests.conftest import ServiceDatabase
from tests.jobs.job_world import Full, cancel, record
from tests.registry.registry_world import PINS, Registry, running
from tests.security.forging import Sent, forgeries, rightful
from tests.support.golden_messages import examples
from tests.support.planner_examples import MIRA, NOON, PROJECT, finished
from tests.support.planner_service import PlannerService
from tests.support.proofs import PROOFS, signed

NewDatabase = Callable[[], Awaitable[str]]
SAM = Actor(id="sam@platform.example", role="sre")
STAGES = {
    name: message
    for name, message in examples().items()
    if isinstance(message, RunExecutorStage | RunValidatorStage)
}


async def _rows(database: Database[Any], query: str) -> list[Any]:
    async with database.engine.connect() as connection:
        return list((await connection.execute(text(query))).all())


async def _taken(consumer: Consumer[Any], sent: list[Sent], offsets: itertools.count[int]) -> None:
    await consumer.take([replace(one, offset=next(offsets)) for one in sent])


async def _nothing_but_dead_letters(database: Database[Any], topic: str, count: int) -> None:
    letters = await _rows(database, "select topic, headers::text from outbox order by id")
    assert [name for name, _ in letters] == [topic] * count
    handled = await _rows(database, "select source from inbox where source like '/%'")
    assert handled == [], "nothing of a forged message is remembered"


# --- the planner: results ------------------------------------------------------------------------


@pytest.fixture
async def planner(service_database: ServiceDatabase) -> AsyncIterator[PlannerService]:
    url = await service_database("planner")
    database: Database[PlannerTransaction] = Database("planner", url, PlannerTransaction)
    service = PlannerService(database)
    await service.knows()
    yield service
    await database.close()


async def _stage_of(planner: PlannerService) -> tuple[str, RunExecutorStage]:
    run = await planner.ask(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None}))
    command = await planner.open_command(run.id)
    assert isinstance(command, RunExecutorStage)
    return run.id, command


@pytest.mark.parametrize("kind", ["succeeded", "failed", "errored", "begun"])
async def test_a_forged_result_changes_no_run(planner: PlannerService, kind: str) -> None:
    run_id, command = await _stage_of(planner)
    said = "so it is said"
    outcomes: dict[str, Outcome] = {"failed": Failed(reason=said), "errored": Errored(reason=said)}
    outcome = outcomes.get(kind)
    result: Message = finished(command, utc_now(), outcome)
    if kind == "begun":
        begun = Begun(by="worker-1", at=NOON)
        result = StageBegun(
            run_id=command.run_id,
            project_id=command.project_id,
            stage="review",
            attempt=command.attempt,
            fence=command.fence,
            generation=1,
            worker=begun.by,
            begun_at=begun.at,
        )
    other = finished(command.model_copy(update={"fence": command.fence + 1}), utc_now())
    consumer = Consumer("planner", planner.inbox, KafkaSettings(), proofs=PROOFS)
    offsets = itertools.count()
    before = await planner.view(run_id)
    forged = list(forgeries(result, "executor", other))
    assert len(forged) > 15
    for name, sent in forged:
        await _taken(consumer, [sent], offsets)
        assert await planner.view(run_id) == before, name
    letters = await _rows(planner.database, "select count(*) from outbox where topic like '%.dead.v1'")
    assert letters[0][0] == len(forged)
    assert not await _rows(planner.database, "select id from inbox where source = '/upgrades/executor'")
    await _taken(consumer, [*(sent for _, sent in forged), rightful(result, "executor")], offsets)
    after = await planner.view(run_id)
    if kind == "begun":
        assert after.stages[-1].begun is not None
    else:
        assert after.stages[-1].status == ("waiting-for-retry" if kind == "errored" else kind)


async def test_a_worker_answers_for_its_own_stages_alone(planner: PlannerService) -> None:
    """The validator's key, rightly used for a message of its own type, says nothing of a review."""
    run_id, command = await _stage_of(planner)
    consumer = Consumer("planner", planner.inbox, KafkaSettings(), proofs=PROOFS)
    before = await planner.view(run_id)
    offsets = itertools.count()
    for principal in ("validator", "executor.acme", "validator.acme", "executor.globex"):
        await _taken(consumer, [rightful(finished(command, utc_now()), principal)], offsets)
        assert await planner.view(run_id) == before, principal
    reasons = await _rows(planner.database, "select headers::text from outbox where topic like '%.dead.v1'")
    assert len(reasons) == 4


async def test_a_result_of_ones_own_does_not_use_up_the_id_of_anothers(planner: PlannerService) -> None:
    """A pool that may answer for its own Projects takes the id that the executor's next answer will have."""
    run_id, command = await _stage_of(planner)
    right = rightful(finished(command, utc_now()), "executor")
    stolen = [pair for pair in right.headers if pair[0] == "ce_id"]
    own = rightful(finished(command, utc_now(), Failed(reason="mine")), "executor.globex")
    plain = tuple(pair for pair in own.headers if pair[0] not in {"ce_id", "ce_proof"})
    headers = signed("executor.globex", finished(command, utc_now()).topic, own.value, (*plain, *stolen))
    consumer = Consumer("planner", planner.inbox, KafkaSettings(), proofs=PROOFS)
    await _taken(consumer, [replace(own, headers=headers), right], itertools.count())
    assert (await planner.view(run_id)).status == "planned"


# --- the workers: commands -----------------------------------------------------------------------


@pytest.fixture
async def jobs(service_database: ServiceDatabase) -> AsyncIterator[Database[WorkerTransaction]]:
    url = await service_database("executor")
    database: Database[WorkerTransaction] = Database("executor", url, WorkerTransaction)
    yield database
    await database.close()


@pytest.mark.parametrize("name", STAGES)
async def test_a_forged_command_of_any_stage_makes_no_job(
    jobs: Database[WorkerTransaction], name: str
) -> None:
    command = STAGES[name]
    service = "executor" if isinstance(command, RunExecutorStage) else "validator"
    handlers = EXECUTOR_HANDLERS if service == "executor" else VALIDATOR_HANDLERS
    other = command.with_(fence=command.fence + 1)
    consumer = Consumer(service, WorkerInbox(jobs, handlers, Full([])), KafkaSettings(), proofs=PROOFS)
    offsets = itertools.count()
    forged = [sent for _, sent in forgeries(command, "planner", other)]
    await _taken(consumer, forged, offsets)
    assert await _rows(jobs, "select run_id from jobs") == []
    await _nothing_but_dead_letters(jobs, dead_letters("executor").name, len(forged))
    await _taken(consumer, [*forged, rightful(command, "planner")], offsets)
    assert await _rows(jobs, "select run_id, fence, state from jobs") == [
        (command.run_id, command.fence, "queued")
    ]


async def test_a_forged_cancel_stops_nobody(jobs: Database[WorkerTransaction]) -> None:
    command = record()
    consumer = Consumer(
        "executor", WorkerInbox(jobs, EXECUTOR_HANDLERS, Full([])), KafkaSettings(), proofs=PROOFS
    )
    offsets = itertools.count()
    await _taken(consumer, [rightful(command, "planner")], offsets)
    stop = cancel(command)
    other = CancelExecutorStage.model_validate({**stop.model_dump(), "fence": 9})
    for name, sent in forgeries(stop, "planner", other):
        await _taken(consumer, [sent], offsets)
        assert await _rows(jobs, "select state from jobs") == [("queued",)], name
    await _taken(consumer, [rightful(stop, "planner")], offsets)
    assert await _rows(jobs, "select state from jobs") == [("cancelled",)]


async def test_a_forged_word_neither_freezes_deploys_nor_lets_them_start(
    jobs: Database[WorkerTransaction],
) -> None:
    consumer = Consumer(
        "executor", WorkerInbox(jobs, EXECUTOR_HANDLERS, Full([])), KafkaSettings(), proofs=PROOFS
    )
    offsets = itertools.count()
    frozen = Freeze(by=SAM.id, reason="the database moves tonight", since=NOON)
    await _taken(consumer, [rightful(HoldDeploys(freeze=frozen, revision=1), "planner")], offsets)
    thaw = HoldDeploys(freeze=None, revision=1_000_000)
    for name, sent in forgeries(thaw, "planner", HoldDeploys(freeze=None, revision=2)):
        await _taken(consumer, [sent], offsets)
        assert await _rows(jobs, 'select revision from "freeze"') == [(1,)], name


# --- the registry: version maps ------------------------------------------------------------------


@pytest.fixture
async def registry(service_database: ServiceDatabase) -> AsyncIterator[Registry]:
    url = await service_database("registry")
    async with running(url) as made:
        await made.publish()
        yield made


@pytest.mark.parametrize("kind", [HoldVersionMap, RecordVersionMap, ReleaseVersionMap])
async def test_a_forged_version_map_command_changes_no_map_and_is_not_answered(
    registry: Registry, kind: type[Message]
) -> None:
    """An answer would be proven by the registry, and the planner waits for one with just that id."""
    await registry.register()
    await registry.sent()
    on = {"actor": SAM, "project": PROJECT, "run_id": "run-1b9d6bcd4f21", "fence": 7}
    command = kind.model_validate({**on, "expected_pins": PINS, "pins": PINS})
    other = kind.model_validate({**on, "fence": 8, "expected_pins": PINS, "pins": PINS})
    maps = "select event_type, fence, event::text from version_maps"
    before = await _rows(registry.database, maps)
    async with registry.database.engine.begin() as connection:
        await connection.execute(text("delete from inbox"))
    consumer = Consumer("registry", registry.inbox, KafkaSettings(), proofs=PROOFS)
    offsets = itertools.count()
    forged = [sent for _, sent in forgeries(command, "planner", other)]
    await _taken(consumer, forged, offsets)
    assert await _rows(registry.database, maps) == before
    await _nothing_but_dead_letters(registry.database, dead_letters("registry").name, len(forged))
    hold = HoldVersionMap.model_validate({**on, "expected_pins": PINS})
    await _taken(consumer, [*forged, rightful(hold, "planner")], offsets)
    assert (await _rows(registry.database, maps))[0][0] == "VersionMapHeld"
