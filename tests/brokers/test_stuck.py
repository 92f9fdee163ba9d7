"""A consumer that has come to stand still: the process ends, or whoever keeps it builds it anew."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from local.ports import free_port
from services.notifier import app as notifier
from services.notifier.settings import NotifierSettings
from services.processes import kept_serving
from services.watchdog import EXIT_STUCK
from shared.application import Service
from shared.contracts.topics import RELEASE_COMMANDS, RELEASE_EVENTS
from shared.messaging.consumer import Consumer
from shared.messaging.progress import Progress, Stuck, broker_answers
from shared.settings import KafkaSettings
from tests.brokers.deaf_service import deafen
from tests.brokers.place import Place, eventually
from tests.conftest import PostgresServer
from tests.support.keys import JWKS
from tests.support.proofs import key_variables

ROOT = Path(__file__).resolve().parents[2]
SOON_S = 0.5


async def test_a_deaf_consumer_is_found_out_and_one_that_hears_is_not(kafka_place: Place) -> None:
    place = kafka_place
    place.settings = place.settings.model_copy(update={"stuck_after_s": SOON_S})
    async with place.service().running() as hears, place.service().running():
        await place.send(place.commands([0]))
        await eventually(lambda: hears.counted(place.name), lambda seen: len(seen) == 1)
    async with place.service().running() as deaf:
        await place.send(place.commands([1]))
        await eventually(lambda: deaf.counted(place.name), lambda seen: len(seen) == 2)
        broken = asyncio.create_task(deaf.consumer.until_broken())
        await deafen(deaf.consumer)
        await place.send(place.commands([2]))
        assert isinstance(await broken, Stuck)
        assert len(await deaf.counted(place.name)) == 2


async def test_a_record_that_is_on_its_way_is_no_standstill(kafka_place: Place) -> None:
    """Its consumer stood there before it came, as long as you like; what it has not moved since counts."""
    async with AIOKafkaConsumer(bootstrap_servers=kafka_place.settings.bootstrap_servers) as consumer:
        partitions = [TopicPartition(RELEASE_COMMANDS.name, number) for number in range(4)]
        consumer.assign(partitions)
        await consumer.seek_to_end()
        consumer.pause(*partitions)
        progress = Progress(consumer, 0, partial(broker_answers, kafka_place.settings))
        await progress.check()
        await kafka_place.send(kafka_place.commands([0]))
        await progress.check()
        with pytest.raises(Stuck):
            await progress.check()


async def test_the_process_of_a_stuck_consumer_ends_and_says_why(
    kafka_place: Place, postgres: PostgresServer, tmp_path: Path
) -> None:
    await kafka_place.send(kafka_place.commands([0]), RELEASE_EVENTS)
    environment = _environment(kafka_place.settings, kafka_place.name, postgres, tmp_path)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.brokers.deaf_service", str(free_port())),
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == EXIT_STUCK, said.decode()
    assert b"consuming stands still, the process ends to be started again: Stuck('upgrades." in said


async def test_whoever_keeps_services_builds_them_anew(
    kafka_place: Place, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Service] = []
    for name, value in _environment(kafka_place.settings, kafka_place.name, postgres, tmp_path).items():
        monkeypatch.setenv(name, value)

    def build_all() -> list[Service]:
        built.append(notifier.build(NotifierSettings()))
        return [built[-1]]

    async def hears() -> bool:
        return len(built) == 2 and _has_partitions(built[1].consumer)

    async with kept_serving(build_all, "127.0.0.1", free_port(), asyncio.Event()):
        await deafen(built[0].consumer)
        await kafka_place.send(kafka_place.commands([0]), RELEASE_EVENTS)
        await eventually(hears, bool)
        assert gc.get_freeze_count() > 0, "what was imported is not walked through while messages are handled"
    assert gc.get_freeze_count() == 0


def _has_partitions(consumer: Consumer[Any]) -> bool:
    return all(one.consumer and one.consumer.assignment() for one in consumer._subscribers)


def _environment(
    settings: KafkaSettings, name: str, postgres: PostgresServer, folder: Path
) -> dict[str, str]:
    database = f"{name}-notifier"
    postgres.create_database(database)
    return {
        "UPGRADES_KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "UPGRADES_KAFKA_STUCK_AFTER_S": str(SOON_S),
        "UPGRADES_CONTENT_URL": folder.as_uri(),
        "UPGRADES_TOKEN_PUBLIC_KEYS": JWKS,
        **key_variables("notifier"),
        "UPGRADES_INSTANCE": name,
        "UPGRADES_NOTIFIER_DATABASE_URL": postgres.url(database),
    }
