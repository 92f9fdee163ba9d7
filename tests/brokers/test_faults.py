"""Brokers, databases and relays go away and come back; work waits for them and goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import text

from local.broker import EmbeddedBroker
from local.ports import free_port
from local.postgres import EmbeddedPostgres
from shared.contracts.topics import TOPICS
from shared.messaging.topic_admin import create_topics
from shared.settings import KafkaSettings
from tests.brokers.containers import Broker
from tests.brokers.place import Place, eventually, header, versions
from tests.brokers.tiny_service import TinyService, publish


@pytest.fixture
async def own_postgres() -> AsyncIterator[EmbeddedPostgres]:
    """A server of the test's own, to be killed: with fsync, or it would forget what it said was committed."""
    with (
        TemporaryDirectory(prefix="upgradepath-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
    ):
        yield server


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
async def test_a_database_that_is_away_pauses_consuming(
    place: Place, own_postgres: EmbeddedPostgres, crash: bool
) -> None:
    own_postgres.create_database(place.name)
    place.url = own_postgres.url(place.name)
    service = place.service()
    await service.create_tables()
    before = await place.committed() + 5
    async with service.running():
        await place.send(place.commands(range(5)))
        await eventually(place.events, lambda events: len(events) == 5)
        await eventually(place.committed, lambda offsets: offsets == before)
        await asyncio.to_thread(own_postgres.kill if crash else own_postgres.stop)
        await place.send(place.commands(range(5, 60)))
        with pytest.raises(AssertionError):
            await eventually(place.committed, lambda offsets: offsets > before, within_s=1.0)
        await asyncio.to_thread(own_postgres.start)
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) == 60)
        assert await service.counted(place.name) == versions(range(60))
        await eventually(lambda: _ids(place), lambda ids: len(ids) == 60)
        assert await place.dead() == []


async def _counted(service: TinyService, system: str) -> int:
    return len(await service.counted(system))


async def _ids(place: Place) -> set[str]:
    return {header(event, "ce_id") for event in await place.events()}


async def test_a_broker_that_is_killed_and_comes_back_loses_nothing(
    kafka: Broker, kafka_place: Place
) -> None:
    place = kafka_place
    async with place.service().running() as service:
        await place.send(place.commands(range(50)))
        await eventually(lambda: _counted(service, place.name), lambda count: count > 0)
        await kafka.kill()
        await kafka.start()
        await place.send(place.commands(range(50, 100)))
        await eventually(lambda: _counted(service, place.name), lambda count: count == 100)
        assert await service.counted(place.name) == versions(range(100))
        await eventually(lambda: _ids(place), lambda ids: len(ids) == 100)
        await eventually(service.unsent, lambda count: count == 0)


async def test_a_service_stops_while_its_broker_is_away(kafka: Broker, kafka_place: Place) -> None:
    place = kafka_place
    service = place.service()
    async with service.running():
        await place.send(place.commands([0]))
        await eventually(lambda: _counted(service, place.name), lambda count: count == 1)
        await kafka.kill()
        began = time.monotonic()
    assert time.monotonic() - began < 15
    await kafka.start()


async def test_a_service_that_starts_before_its_broker_waits_for_it(place: Place) -> None:
    port = free_port()
    settings = KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}", embedded=True, session_timeout_ms=2000)
    early = Place(settings, place.url, place.name)
    async with early.service().running() as service:
        assert not await service.consumer.broker.ping(timeout=0.2)
        async with EmbeddedBroker(port):
            await create_topics(settings)
            await early.send(early.commands([7]))
            await eventually(lambda: _counted(service, early.name), lambda count: count == 1)
            assert await service.consumer.broker.ping(timeout=2)
            # Asked for one that is not there yet, this broker makes it, without settings, which it cannot
            # alter. What must be right from the first moment is how many partitions it has.
            made = {state.topic: state.partitions for state in await create_topics(settings)}
            assert made == {topic: topic.partitions for topic in TOPICS}


async def test_only_one_relay_sends_and_the_other_takes_over(place: Place) -> None:
    first, second = place.service(), place.service()
    await first.relay.start()
    await first.consumer.start()
    await place.send(place.commands([0]))
    await eventually(place.events, lambda events: len(events) == 1)
    await second.relay.start()
    assert await _leaders(first) == 1
    await place.send(place.commands(range(1, 40)))
    await eventually(place.events, lambda events: len(events) == 40)
    await first.relay.stop()
    await place.send(place.commands(range(40, 60)))
    events = await eventually(place.events, lambda events: len(events) >= 60)
    assert len(events) == 60
    assert await _leaders(first) == 1
    await first.consumer.stop()
    await second.relay.stop()
    for service in (first, second):
        await service.database.close()


async def _leaders(service: TinyService) -> int:
    async with service.database.transaction() as tx:
        held = await tx.session.execute(
            text(
                "select count(*) from pg_locks where locktype = 'advisory' and granted and database ="
                " (select oid from pg_database where datname = current_database())"
            )
        )
        count: int = held.scalar_one()
        return count


async def test_a_notification_wakes_the_relay_long_before_its_poll(place: Place) -> None:
    service = place.service()
    await service.relay.start()
    waits = []
    for number in range(6):
        async with service.database.transaction() as tx:
            tx.send(publish(place.name, number), correlation_id=str(number))
        began = time.monotonic()
        await eventually(service.unsent, lambda count: count == 0)
        waits.append(time.monotonic() - began)
    await service.relay.stop()
    await service.database.close()
    # The first waits for the relay's start. The poll alone would need a second for most of them.
    assert sorted(waits[1:])[2] < 0.5, waits
