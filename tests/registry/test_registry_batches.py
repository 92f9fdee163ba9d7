"""Law: what a batch of version-map commands does is what they do one by one, however they are cut."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.registry.domain.version_maps import Change
from shared.contracts.envelope import Envelope, to_body, to_headers
from shared.contracts.version_maps import HoldVersionMap, RecordVersionMap, ReleaseVersionMap
from shared.messaging.consumer import Consumer
from shared.settings import KafkaSettings
from shared.storage.clock import DatabaseClock
from tests.messaging.counting import Kept
from tests.registry.registry_world import PINS, SAM, Registry, project
from tests.registry.test_registry_version_maps import NEW, NOON, RUNS
from tests.support.proofs import PROOFS, signed

PROJECTS = ("acme-portal", "other-portal")
_STATE = {
    "version_maps": "select project, event_type, event::text, fence, holder from version_maps order by 1",
    "history": "select project, revision, event_type, event::text from version_map_history order by 1, 2",
    "inbox": "select source, id, digest, verdict::text from inbox where source = '/planner' order by 1, 2",
    "outbox": "select topic, key, body, headers::text from outbox order by id",
}


class StillClock(DatabaseClock):
    """It is always noon."""

    async def now(self) -> datetime:
        return NOON


@st.composite
def commands(draw: st.DrawFn) -> Change:
    on: dict[str, Any] = {
        "actor": SAM,
        "project": draw(st.sampled_from(PROJECTS)),
        "run_id": draw(st.sampled_from(RUNS)),
        "fence": draw(st.integers(1, 4)),
    }
    pins = draw(st.sampled_from((PINS, NEW)))
    kinds: tuple[type[Change], ...] = (HoldVersionMap, RecordVersionMap, ReleaseVersionMap)
    kind = draw(st.sampled_from(kinds))
    command: Change = kind.model_validate({**on, "expected_pins": pins, "pins": pins})
    return command


async def _state(registry: Registry) -> dict[str, list[Any]]:
    async with registry.database.engine.connect() as connection:
        return {name: list((await connection.execute(text(query))).all()) for name, query in _STATE.items()}


async def _replayed(registry: Registry, records: list[Kept], ends: list[int]) -> dict[str, list[Any]]:
    """The tables after both Projects were registered anew and the records taken in these batches."""
    async with registry.database.engine.begin() as connection:
        await connection.execute(text("truncate projects, version_maps, version_map_history, inbox, outbox"))
    for name in PROJECTS:
        await registry.register(project(name))
    await registry.sent()
    consumer = Consumer("registry", registry.inbox, KafkaSettings(), proofs=PROOFS)
    for begin, end in zip([0, *ends], [*ends, len(records)], strict=True):
        await consumer.take(records[begin:end])
    return await _state(registry)


def _record(command: Change, number: int) -> Kept:
    envelope = Envelope(
        id=f"{type(command).__name__}/{command.identity()}/{command.project}/{number % 7}",
        source="/upgrades/planner",
        type=command.type_name(),
        subject=command.project,
        time=NOON,
    )
    topic, body = command.topic, to_body(command)
    headers = signed("planner", topic, body, to_headers(envelope))
    return Kept(command.project.encode(), body, headers, number, topic.name)


@given(asked=st.lists(commands(), min_size=2, max_size=10), cuts=st.sets(st.integers(1, 9)))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_batch_does_what_its_commands_do_one_by_one(
    registry: Registry, asked: list[Change], cuts: set[int]
) -> None:
    registry.database.clock = StillClock(registry.database.lane)
    if not await registry.count("releases"):
        await registry.publish()
    records = [_record(command, number) for number, command in enumerate(asked)]
    one_by_one = await _replayed(registry, records, list(range(1, len(records))))
    batches = sorted(cut for cut in cuts if cut < len(records))
    assert await _replayed(registry, records, batches) == one_by_one
