"""Whatever is killed, stopped or sent twice: every command counts once, in its order, and is answered."""

from __future__ import annotations

import asyncio
import random
import signal
from functools import partial

import pytest

from shared.contracts.releases import PublishRelease
from tests.brokers.place import Place, eventually, header, versions
from tests.brokers.tiny_service import TinyService, program, publish, wire


class Gate:
    """Holds a handler in the middle of its transaction."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, command: PublishRelease) -> None:
        self.reached.set()
        await self.open.wait()


async def test_every_command_is_counted_once_in_order_and_answered(place: Place) -> None:
    async with place.service().running() as service:
        await place.send(place.commands(range(300)))
        events = await eventually(place.events, lambda events: len(events) >= 300)
        assert await service.counted(place.name) == versions(range(300))
        assert len({header(event, "ce_id") for event in events}) == len(events) == 300
        assert [event.offset for event in events] == sorted(event.offset for event in events)
        await eventually(service.unsent, lambda count: count == 0)


async def test_order_is_kept_for_every_key(place: Place) -> None:
    systems = [f"{place.name}-{number}" for number in range(7)]
    mixed = [
        command
        for together in zip(*(place.commands(range(40), system) for system in systems), strict=True)
        for command in together
    ]
    async with place.service().running() as service:
        await place.send(mixed)
        for system in systems:
            await eventually(partial(service.counted, system), lambda seen: len(seen) == 40)
            assert await service.counted(system) == versions(range(40))


async def test_duplicates_are_skipped(place: Place) -> None:
    commands = place.commands(range(50))
    shuffled = commands * 3
    random.Random(1).shuffle(shuffled)
    async with place.service().running() as service:
        await place.send(shuffled)
        await place.send(place.commands([50]))
        await eventually(lambda: service.counted(place.name), lambda seen: versions([50])[0] in seen)
        assert sorted(await service.counted(place.name)) == sorted(versions(range(51)))
        # Once more when they are durable, in a batch of their own.
        await place.send([*shuffled, *place.commands([51])])
        await eventually(lambda: service.counted(place.name), lambda seen: versions([51])[0] in seen)
        assert sorted(await service.counted(place.name)) == sorted(versions(range(52)))
        events = await eventually(place.events, lambda events: len(events) >= 52)
        assert len(events) == 52


async def test_a_consumer_that_ends_in_the_middle_of_a_batch_has_done_nothing(place: Place) -> None:
    gate = Gate()
    before = await place.committed()
    async with place.service(gate).running() as ended:
        await place.send(place.commands(range(20)))
        await gate.reached.wait()
        await ended.consumer.stop()
        assert await ended.counted(place.name) == []
    assert await place.committed() == before
    async with place.service().running() as service:
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) == 20)
        assert await service.counted(place.name) == versions(range(20))
        await eventually(place.committed, lambda offsets: offsets == before + 20)


async def test_offsets_are_committed_only_after_the_database(place: Place) -> None:
    gate = Gate()
    before = await place.committed()
    async with place.service(gate).running() as service:
        await place.send(place.commands([0]))
        await gate.reached.wait()
        assert await place.committed() == before
        gate.open.set()
        await eventually(place.committed, lambda offsets: offsets == before + 1)
        assert await service.counted(place.name) == versions([0])


async def test_what_was_committed_and_not_sent_is_sent_by_the_next_relay(place: Place) -> None:
    service = place.service()
    await service.consumer.start()
    await place.send(place.commands(range(30)))
    await eventually(service.unsent, lambda count: count == 30)
    await service.consumer.stop()
    assert await place.events() == []
    await service.relay.start()
    events = await eventually(place.events, lambda events: len(events) >= 30)
    assert [header(event, "ce_subject") for event in events] == [place.name] * 30
    await eventually(service.unsent, lambda count: count == 0)
    await service.relay.stop()
    await service.database.close()


async def test_two_members_share_the_work_and_double_nothing(place: Place) -> None:
    systems = [f"{place.name}-{number}" for number in range(12)]

    async def counted(service: TinyService) -> int:
        return sum([len(await service.counted(system)) for system in systems])

    async with place.service().running() as one:
        async with place.service().running():
            for part in range(5):
                await place.send(
                    command
                    for system in systems
                    for command in place.commands(range(part * 10, part * 10 + 10), system)
                )
            await eventually(lambda: counted(one), lambda count: count >= 300)
        # The second is gone: the first takes over what it read.
        await eventually(lambda: counted(one), lambda count: count >= 600)
        for system in systems:
            assert await one.counted(system) == versions(range(50))


@pytest.mark.parametrize("seed", [1])
async def test_processes_that_are_killed_again_and_again_lose_nothing(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    reader = place.service()
    sent = 0
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(*program(place.name, place.url, place.settings))
        try:
            await place.send(place.commands(range(sent, sent + 200)))
            sent += 200
            some = chance.randrange(sent - 150, sent)
            await eventually(partial(reader.counted_at_least, place.name, some), bool)
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    async with place.service().running() as service:
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) >= sent)
        assert await service.counted(place.name) == versions(range(sent))
        events = await eventually(
            place.events, lambda events: len({header(event, "ce_id") for event in events}) == sent
        )
        # A crash between the broker's acknowledgement and the deletion sends a chunk again, as it was.
        firsts = list(dict.fromkeys(header(event, "ce_id") for event in events))
        assert len(firsts) == sent
        await eventually(service.unsent, lambda count: count == 0)
    await reader.database.close()


async def test_a_lone_command_over_a_topic_and_again_is_answered_with_the_same_bytes(place: Place) -> None:
    command = wire(publish(place.name, 1), place.name)
    async with place.service().running() as service:
        await place.send([command])
        first = await eventually(place.events, lambda events: len(events) == 1)
        await place.send([command])
        await place.send(place.commands([2]))
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) == 2)
        assert (await place.events())[0].value == first[0].value
