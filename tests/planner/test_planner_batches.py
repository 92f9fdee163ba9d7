"""Law: what a batch does is what its messages do one by one, however they fall into batches."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.planner.handlers import HANDLERS
from services.planner.store import PlannerTransaction
from shared.contracts.envelope import Received, to_body
from shared.errors import Reject
from shared.messaging.consumer import Consumer
from shared.messaging.inbox import Inbox
from shared.settings import KafkaSettings
from shared.storage.clock import DatabaseClock
from shared.storage.database import Database, Outrun
from tests.messaging.counting import Kept
from tests.support.keys import VERIFIER
from tests.support.planner_examples import NOON, PROJECT
from tests.support.planner_service import PlannerService
from tests.support.proofs import PROOFS, proven_headers

_STATE = {
    "projects": "select id, project::text, revision, version_map::text, map_revision, fence from projects",
    "runs": "select id, status, started, ended, revision, told, origin, plan_document from runs",
    "releases": "select system, version, revision, release::text from releases",
    "inbox": "select source, id, digest, verdict::text from inbox",
    "outbox": "select topic, key, body, headers::text from outbox order by id",
}


class StillClock(DatabaseClock):
    """It is always noon."""

    async def now(self) -> datetime:
        return NOON


class Recording(PlannerService):
    """A planner that keeps what it was given."""

    def __init__(self, database: Database[PlannerTransaction]) -> None:
        super().__init__(database)
        self.heard: list[Received] = []

    def received(self, *given: Any) -> Received:
        received = super().received(*given)
        self.heard.append(received)
        return received


async def _history(database: Database[PlannerTransaction]) -> list[Kept]:
    """Three Runs of one Project, with a start that is refused and an answer that repeats."""
    planner = Recording(database)
    await planner.knows()
    first, second, _ = [await planner.planned() for _ in range(3)]
    for run in (first, second):
        for _ in range(20):
            try:
                now = await planner.step(run.id)
            except Reject:
                break  # the pins have moved since its plan was made
            if now.ended_at is not None:
                break
    planner.heard.insert(-3, planner.heard[-5])
    return [
        Kept(
            received.envelope.subject.encode(),
            to_body(received.message),
            proven_headers(received),
            offset,
            received.message.topic.name,
        )
        for offset, received in enumerate(planner.heard)
    ]


async def _replayed(
    database: Database[PlannerTransaction], records: list[Kept], ends: list[int]
) -> dict[str, list[Any]]:
    """The tables after the records were taken in batches that end at `ends`."""
    async with database.engine.begin() as connection:
        await connection.execute(text("truncate projects, runs, releases, inbox, outbox"))
        await connection.execute(text("update release_book set revision = 0"))
    database.memory = PlannerTransaction.new_memory()
    consumer = Consumer("planner", Inbox(database, HANDLERS), KafkaSettings(), proofs=PROOFS, tokens=VERIFIER)
    for begin, end in zip([0, *ends], [*ends, len(records)], strict=True):
        await consumer.take(records[begin:end])
    async with database.engine.connect() as connection:
        found = {name: (await connection.execute(text(query))).all() for name, query in _STATE.items()}
    return {name: list(rows) if name == "outbox" else sorted(rows, key=repr) for name, rows in found.items()}


@pytest.fixture
async def history(database: Database[PlannerTransaction]) -> list[Kept]:
    database.clock = StillClock(database.lane)
    return await _history(database)


@given(seed=st.integers(0, 2**32), batches=st.integers(0, 12))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_batch_does_what_its_messages_do_one_by_one(
    database: Database[PlannerTransaction], history: list[Kept], seed: int, batches: int
) -> None:
    chosen = random.Random(seed)
    ends = sorted(chosen.randrange(1, len(history)) for _ in range(batches))
    one_by_one = await _replayed(database, history, list(range(1, len(history))))
    assert len(one_by_one["runs"]) == 3
    assert await _replayed(database, history, ends) == one_by_one


async def test_memory_that_is_out_of_date_is_never_believed(database: Database[PlannerTransaction]) -> None:
    """Another process goes on with a Run that this one remembers."""
    ours = PlannerService(database)
    await ours.knows()
    run = await ours.started()
    other = PlannerService(Database("planner", database.url, PlannerTransaction))
    other.map = ours.map
    stale = ours.database.memory.recall(PROJECT)
    assert stale is not None
    assert run.id in stale.runs
    went_on = await other.step(run.id)
    assert went_on.stage == "apply"
    with pytest.raises(Outrun):
        async with database.transaction(from_memory=True) as tx:
            await tx.run(run.id, PROJECT)
    before = len(await ours.sent())
    assert (await ours.step(run.id)).stage == "migrate"
    assert len(await ours.sent()) == before + 2
    await other.database.close()
