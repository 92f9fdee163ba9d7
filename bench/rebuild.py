"""Rebuilding a service from a made-up history on Apache Kafka, against reading and copying the same bytes."""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaProducer

from bench.histories import PLAN, PROJECT, PROOFS, RUN, Wire, history, signed
from bench.result import Result, repeated
from bench.system import cpu_s
from local.kafka import ApacheKafka
from local.postgres import EmbeddedPostgres
from services.restorers import REBUILDABLE, restorer
from shared.contracts.topics import Topic
from shared.messaging.client_arguments import client_arguments
from shared.messaging.topic_admin import create_topics
from shared.messaging.topic_reader import read_batches
from shared.replay.evidence import Evidence
from shared.replay.rebuild import rebuild
from shared.settings import KafkaSettings
from shared.storage.migrations import migrate_async

EVENTS = 200_000
REPEATS = 3
_CHUNK_PROJECTS = 200


async def measure(
    services: Sequence[str] = REBUILDABLE, events: int = EVENTS, repeats: int = REPEATS
) -> list[Result]:
    """Events a second, rebuilt and merely read and copied; and the CPU of everybody who had a part in it.

    Each service has a broker of its own, so that what is read is what it wrote.
    """
    results = []
    with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "postgres") as postgres:
            for service in services:
                async with ApacheKafka(folder / f"kafka-{service}") as kafka:
                    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
                    await create_topics(settings)
                    written = await _write(settings, service, events)
                    rounds = [
                        await _one(f"{service}_{number}", settings, postgres, kafka)
                        for number in range(repeats)
                    ]
                    assert all(one.events == written for one in rounds), f"{written} events are there"
                    results += _said(service, rounds)
    return results


@dataclass(frozen=True)
class _Round:
    """One rebuild, and beside it the floor, both in events a second; CPU in microseconds an event."""

    events: int
    rate: float
    floor: float
    cpu_us: dict[str, float]


async def _one(name: str, settings: KafkaSettings, postgres: EmbeddedPostgres, kafka: ApacheKafka) -> _Round:
    service, _, _ = name.partition("_")
    floor, target = f"floor_{name}", f"rebuilt_{name}"
    for database in (floor, target):
        await asyncio.to_thread(postgres.create_database, database)
    restoring = restorer(service, "memory:///")
    floor_s = await _floor(settings, restoring.writes, postgres.url(floor))
    # Its schema costs the same however much there is to read.
    await migrate_async(service, postgres.url(target))
    before = _cpu_s(postgres, kafka)
    done = await rebuild(settings, restoring, postgres.url(target), Evidence(PROOFS))
    after = _cpu_s(postgres, kafka)
    spent = {whose: (after[whose] - before[whose]) / done.events * 1e6 for whose in after}
    return _Round(done.events, done.events / done.seconds, done.events / floor_s, spent)


def _said(service: str, rounds: Sequence[_Round]) -> list[Result]:
    floor = statistics.median(one.floor for one in rounds)
    return [
        repeated(f"rebuild of {service}", [one.rate for one in rounds], "events/s", floor),
        repeated(f"rebuild of {service}, × its floor", [one.rate / one.floor for one in rounds], "×"),
        *(
            repeated(
                f"rebuild of {service}, CPU of {whose}", [one.cpu_us[whose] for one in rounds], "µs/event"
            )
            for whose in rounds[0].cpu_us
        ),
    ]


async def _write(settings: KafkaSettings, service: str, events: int) -> int:
    """As many Projects' events as make these, each with the same history; how many events they are."""
    template = await history(service)
    projects = events // len(template)
    async with _producer(settings) as producer:
        for start in range(0, projects, _CHUNK_PROJECTS):
            sent = []
            for number in range(start, min(start + _CHUNK_PROJECTS, projects)):
                key = b"portal-%06d" % number
                for topic, body, headers in signed(service, [_renamed(wire, number) for wire in template]):
                    sent.append(await producer.send(topic, body, key=key, headers=headers))
            await asyncio.gather(*sent)
    return projects * len(template)


def _renamed(wire: Wire, number: int) -> Wire:
    """The same of another Project, with a Run and a plan of its own."""
    topic, body, headers = wire

    def renamed(value: bytes) -> bytes:
        return value.replace(RUN.encode(), b"run-%012x" % number).replace(
            PROJECT.encode(), b"portal-%06d" % number
        )

    body = renamed(body).replace(PLAN.encode(), b"%064x" % number)
    return topic, body, [(name, renamed(value)) for name, value in headers]


async def _floor(settings: KafkaSettings, topics: Sequence[Topic], url: str) -> float:
    """Seconds to read the same records and to copy their bodies into a table."""
    connection = await asyncpg.connect(url)
    await connection.execute("create table told (key bytea, body text)")
    begun = time.monotonic()
    async for records in read_batches(settings, topics, most=5000):
        rows = [(record.key, (record.value or b"").decode()) for record in records]
        await connection.copy_records_to_table("told", records=rows)
    took_s = time.monotonic() - begun
    await connection.close()
    return took_s


def _cpu_s(postgres: EmbeddedPostgres, kafka: ApacheKafka) -> dict[str, float]:
    """CPU seconds so far."""
    return {
        "ours": cpu_s(os.getpid(), children=False),
        "postgres": cpu_s(postgres.pid),
        "kafka": cpu_s(kafka.pid),
    }


@asynccontextmanager
async def _producer(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **client_arguments(settings), acks="all", max_batch_size=128 * 1024, linger_ms=5
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
