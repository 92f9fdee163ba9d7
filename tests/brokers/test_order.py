"""Two processes of a service write the same keys: one of them sends for both, and no key's order breaks."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack

from tests.brokers.place import Place, eventually
from tests.brokers.tiny_service import TinyService, publish


async def _write(service: TinyService, system: str) -> None:
    """One revision of a System, as a handler makes it: under the System's lock."""
    async with service.database.transaction() as tx:
        await service.publish(publish(system, random.randrange(1, 10_000)), tx)


async def test_what_two_processes_commit_keeps_the_order_of_every_key(place: Place) -> None:
    """The one that leads sends its own from memory, and reads the other's: an earlier one goes first."""
    systems = [f"{place.name}-{number}" for number in range(3)]
    first, second = place.service(), place.service()
    chance = random.Random(7)
    async with AsyncExitStack() as stack:
        for service in (first, second):
            stack.push_async_callback(service.database.close)
            await service.relay.start()
            stack.push_async_callback(service.relay.stop)

        async def write(service: TinyService) -> None:
            for _ in range(60):
                await _write(service, chance.choice(systems))

        await asyncio.gather(*(write(service) for service in (first, second, first, second)))
        leads = [service for service in (first, second) if service.database.outlet.epoch > 0]
        assert len(leads) == 1
        await leads[0].relay.stop()
        await asyncio.gather(*(write(service) for service in (first, second)))
        await eventually(first.unsent, lambda count: count == 0)

    seen = {system: [_revision(event.value) for event in await place.events(system)] for system in systems}
    assert sum(len(revisions) for revisions in seen.values()) >= 360
    for system, revisions in seen.items():
        once = list(dict.fromkeys(revisions))
        assert once == sorted(once) == list(range(1, len(once) + 1)), system


async def test_what_a_leader_commits_is_not_read_again(place: Place) -> None:
    service = place.service()
    await service.relay.start()
    try:
        await _write(service, place.name)
        await eventually(lambda: _idle(service), lambda idle: idle)
        for _ in range(20):
            await _write(service, place.name)
            assert not service.database.outlet.must_read
        events = await eventually(place.events, lambda events: len(events) >= 21)
        assert len(events) == 21, "each was sent once"
        await eventually(service.unsent, lambda count: count == 0)
    finally:
        await service.relay.stop()
        await service.database.close()


async def test_a_row_that_nobody_in_the_process_knows_of_is_found(place: Place) -> None:
    """As one is whose commit was not answered: it is the leader's own, and in no memory."""
    service = place.service()
    await service.relay.start()
    try:
        await eventually(lambda: _idle(service), lambda idle: idle)
        outlet = service.database.outlet
        taught, outlet.committed = outlet.committed, lambda *_: None  # type: ignore[method-assign]
        await _write(service, place.name)
        outlet.committed = taught  # type: ignore[method-assign]
        assert len(await eventually(place.events, lambda events: len(events) == 1)) == 1
    finally:
        await service.relay.stop()
        await service.database.close()


async def _idle(service: TinyService) -> bool:
    return service.database.outlet.epoch > 0 and not service.database.outlet.must_read


def _revision(body: bytes | None) -> int:
    revision: int = json.loads(body or b"{}")["revision"]
    return revision
