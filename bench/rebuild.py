"""Rebuilding a service from a made-up history on Apache Kafka, against reading and copying the same bytes."""

import asyncio
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaProducer

from bench.histories import PLAN, PROJECT, RUN, Wire, history
from bench.result import Result, repeated
from local.kafka import ApacheKafka
from local.postgres import EmbeddedPostgres
from services.restorers import REBUILDABLE, restorer
from shared.contracts.topics import Topic
from shared.messaging.topic_admin import create_topics
from shared.messaging.topic_reader import read_batches
from shared.replay.rebuild import rebuild
from shared.settings import KafkaSettings

EVENTS = 200_000
REPEATS = 3
_CHUNK_PROJECTS = 200


async def measure(
    services: Sequence[str] = REBUILDABLE, events: int = EVENTS, repeats: int = REPEATS
) -> list[Result]:
    """Events a second, rebuilt and merely read and copied; CPU seconds of ours beside the brokers'."""
    results = []
    with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "postgres") as postgres:
            async with ApacheKafka(folder / "kafka") as kafka:
                settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
                await create_topics(settings)
                for service in services:
                    results += await _one(service, settings, postgres, events, repeats)
    return results


async def _one(
    service: str, settings: KafkaSettings, postgres: EmbeddedPostgres, events: int, repeats: int
) -> list[Result]:
    written = await _write(settings, await history(service), events)
    rates, floors, cpu_s = [], [], []
    for number in range(repeats):
        floor, target = f"floor_{service}_{number}", f"rebuilt_{service}_{number}"
        for database in (floor, target):
            await asyncio.to_thread(postgres.create_database, database)
        restoring = restorer(service, "memory:///")
        floors.append(written / await _floor(settings, restoring.writes, postgres.url(floor)))
        began_s = _cpu_s()
        done = await rebuild(settings, restoring, postgres.url(target))
        cpu_s.append((_cpu_s() - began_s) / done.events * 100_000)
        rates.append(done.events / done.seconds)
        assert done.events == written, f"{done.events} of {written} events were read"
    return [
        repeated(f"rebuild of {service}", rates, "events/s", sum(floors) / len(floors)),
        repeated(f"rebuild of {service}, CPU of ours", cpu_s, "s/100,000"),
    ]


async def _write(settings: KafkaSettings, template: Sequence[Wire], events: int) -> int:
    """As many Projects' events, each like the template; how many events they are."""
    projects = events // len(template)
    async with _producer(settings) as producer:
        for start in range(0, projects, _CHUNK_PROJECTS):
            sent = []
            for number in range(start, min(start + _CHUNK_PROJECTS, projects)):
                for topic, body, headers in (_renamed(wire, number) for wire in template):
                    key = b"portal-%06d" % number
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


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@asynccontextmanager
async def _producer(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, acks="all", max_batch_size=128 * 1024, linger_ms=5
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
