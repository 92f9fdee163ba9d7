"""How long one hop takes: a command on a topic, a transaction, its answer on another. Not judged."""

from __future__ import annotations

import statistics
import time
from functools import partial

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from shared.contracts.topics import RELEASE_COMMANDS, RELEASE_EVENTS
from tests.brokers.place import Place, eventually

HOPS = 40


async def test_one_hop_after_another(place: Place) -> None:
    servers = place.settings.bootstrap_servers
    waits_ms = []
    answers = AIOKafkaConsumer(
        bootstrap_servers=servers, fetch_max_wait_ms=place.settings.fetch_max_wait_ms, group_id=None
    )
    async with (
        AIOKafkaProducer(bootstrap_servers=servers) as producer,
        answers,
        place.service().running() as service,
    ):
        answers.assign([TopicPartition(RELEASE_EVENTS.name, number) for number in range(4)])
        await answers.seek_to_end()
        await place.send(place.commands([0]))
        await eventually(partial(service.counted_at_least, place.name, 1), bool)
        await _answer(answers, place.name)
        for number in range(1, HOPS + 1):
            [(key, body, headers)] = place.commands([number])
            began = time.perf_counter()
            await producer.send(RELEASE_COMMANDS.name, body, key=key, headers=list(headers))
            await _answer(answers, place.name)
            waits_ms.append((time.perf_counter() - began) * 1000)
    waits_ms.sort()
    broker = "embedded" if place.settings.embedded else "Apache Kafka"
    p50, p95 = statistics.median(waits_ms), waits_ms[int(HOPS * 0.95)]
    print(f"\none hop, {broker}: p50 {p50:.1f} ms, p95 {p95:.1f} ms")
    # Only what polling or sleeping somewhere would give away.
    assert statistics.median(waits_ms) < 500


async def _answer(answers: AIOKafkaConsumer, system: str) -> None:
    """The embedded broker's end is the beginning of the last batch: answers to others may come first."""
    async for answer in answers:
        if answer.key == system.encode():
            return
