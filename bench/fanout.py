"""One release to everybody whom it concerns: the notifier as a process, on Apache Kafka and PostgreSQL.

2,000,000 pins: 100,000 Projects with 20 Systems each. The floor, in the same run, is what the same bytes cost
alone: COPY into a table as the outbox is one, and raw keyed sends.
"""

import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.result import Result, repeated
from bench.system import cpu_s
from local.dev import service_databases
from local.kafka import ApacheKafka
from local.ports import free_port
from local.postgres import EmbeddedPostgres
from local.process import Child
from local.world import World
from services.notifier.store import NotifierTransaction
from shared.clock import utc_now
from shared.contracts.envelope import seal, to_body, to_headers
from shared.contracts.releases import Release, ReleasePublished
from shared.contracts.topics import NOTIFICATION_EVENTS, PROJECT_COMMANDS
from shared.identity.proofs import Signer
from shared.messaging.topic_admin import create_topics
from shared.settings import KafkaSettings
from shared.storage.database import Database
from shared.storage.migrations import migrate_async

PROJECTS, SYSTEMS, VERSIONS = 100_000, 20, 25
QUERIES = 25
REPEATS = 3
_WITHIN_S = 600.0
_BARE = "select project from pins where system = $1 and version = any($2::text[])"
_SCRATCH = PROJECT_COMMANDS
"""A topic that nobody reads here: for the floor."""

Raw = Any
"""A Kafka record."""


@dataclass
class Fanout:
    """The notifier as a process, what it stands on, and a producer."""

    kafka: ApacheKafka
    postgres: EmbeddedPostgres
    url: str
    notifier: Child
    producer: AIOKafkaProducer
    registry: Signer

    async def publish(self, version: str, revision: int) -> tuple[float, list[Raw]]:
        """Tell of a Release; seconds until every notification about it is on its topic, and these.

        `revision` names the event: one that comes twice is skipped.
        """
        before = await self._ends()
        known = sum(before.values())
        message = ReleasePublished(release=_release(version), change="minor", revision=revision)
        envelope = seal(message, source="/upgrades/registry", now=utc_now())
        began = time.perf_counter()
        await self.producer.send_and_wait(
            message.topic.name,
            to_body(message),
            message.key().encode(),
            headers=list(self.registry.signed(message.topic.name, to_body(message), to_headers(envelope))),
        )
        async with asyncio.timeout(_WITHIN_S):
            while True:
                if sum((await self._ends()).values()) >= known + PROJECTS:
                    break
                await asyncio.sleep(0.02)
        return time.perf_counter() - began, await self._events(before)

    async def _events(self, begin: dict[TopicPartition, int]) -> list[Raw]:
        """Those that have come since."""
        count = sum((await self._ends()).values()) - sum(begin.values())
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap_servers, enable_auto_commit=False)
        records: list[Raw] = []
        async with consumer:
            consumer.assign(list(begin))
            for partition, offset in begin.items():
                consumer.seek(partition, offset)
            while len(records) < count:
                for part in (await consumer.getmany(timeout_ms=1000)).values():
                    records += part
        return records

    async def forget(self) -> None:
        """Nobody has been told of anything: the next Release is a first one again."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute("truncate notifications, known_releases")
            await connection.execute("update inboxes set revision = 0")
            await connection.execute("vacuum analyze inboxes")
        finally:
            await connection.close()

    async def _ends(self) -> dict[TopicPartition, int]:
        partitions = await self.producer.partitions_for(NOTIFICATION_EVENTS.name)
        client = self._consumer
        ends: dict[TopicPartition, int] = await client.end_offsets(
            [TopicPartition(NOTIFICATION_EVENTS.name, number) for number in partitions]
        )
        return ends

    def __post_init__(self) -> None:
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap_servers)


def _release(version: str) -> Release:
    return Release.model_validate(
        {
            "system": "system-0",
            "version": version,
            "package": "0" * 64,
            "summary": "Sessions end after an hour without a request, wherever they were begun.",
            "migrations": [],
            "published_at": utc_now(),
            "published_by": "library@bench.example",
        }
    )


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[Fanout]:
    world = World.open(folder / "world")
    async with AsyncExitStack() as stack:
        postgres = EmbeddedPostgres(folder / "postgres")
        await asyncio.to_thread(postgres.start)
        stack.callback(postgres.stop)
        kafka = await stack.enter_async_context(ApacheKafka(folder / "kafka"))
        databases = await asyncio.to_thread(service_databases, postgres)
        await create_topics(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers))
        url = databases["notifier"]
        await migrate_async("notifier", url)
        await _fill(url)
        environment = {**os.environ, **world.environment(kafka.bootstrap_servers, databases, embedded=False)}
        argv = [sys.executable, "-m", "bench.noop", "notifier", str(free_port())]
        child = Child(argv, log=folder / "notifier.log", cwd=Path.cwd(), env=environment)
        stack.callback(child.stop, signal.SIGTERM, patience_s=10)
        producer = AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            # As the relay's: with smaller batches the floor would flatter us.
            max_batch_size=128 * 1024,
        )
        await stack.enter_async_context(producer)
        fanout = Fanout(kafka, postgres, url, child, producer, world.signer("registry"))
        await stack.enter_async_context(fanout._consumer)
        yield fanout


async def _fill(url: str) -> None:
    """Every Project pins every System, at one of some versions."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "insert into inboxes select 'project-' || n, 0, 1 from generate_series(1, $1::int) n", PROJECTS
        )
        await connection.execute(
            "insert into pins select 'project-' || n, 'system-' || s, '1.' || (n % $3::int) || '.0'"
            " from generate_series(1, $1::int) n, generate_series(0, $2::int - 1) s",
            PROJECTS,
            SYSTEMS,
            VERSIONS,
        )
        # As autovacuum would have done long before.
        await connection.execute("vacuum analyze pins")
        await connection.execute("vacuum analyze inboxes")
    finally:
        await connection.close()


async def _who_is_affected(url: str) -> Result:
    """How long the names of everybody take whom a Release concerns; the floor is the bare query."""
    database = Database("notifier", url, NotifierTransaction)
    concerned = {f"1.{number}.0" for number in range(VERSIONS // 3)}
    took_ms, bare_ms, found = [], [], 0
    connection = await asyncpg.connect(url)
    for _ in range(QUERIES):
        async with database.transaction() as tx:
            began = time.perf_counter()
            pinned = [pin for pin in await tx.pinned_versions(["system-0"]) if pin[1] in concerned]
            pinning = await tx.who_pins(pinned, None)
            took_ms.append((time.perf_counter() - began) * 1000)
        found = sum(len(names) for names in pinning.values())
        began = time.perf_counter()
        rows = await connection.fetch(_BARE, "system-0", list(concerned))
        bare_ms.append((time.perf_counter() - began) * 1000)
        assert len(rows) == found
    await connection.close()
    await database.close()
    name = f"who is affected: {found:,} of {PROJECTS * SYSTEMS:,} pins"
    return repeated(name, took_ms, "ms", statistics.median(bare_ms))


async def _copied(url: str, events: list[Raw]) -> float:
    """Seconds that COPY takes for these events, as rows of an outbox."""
    rows = [(one.topic, one.key, one.value, repr(one.headers)) for one in events]
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "create table if not exists copied (topic text, key bytea, body bytea, headers text)"
        )
        began = time.perf_counter()
        await connection.copy_records_to_table("copied", records=rows)
        return time.perf_counter() - began
    finally:
        await connection.close()


async def _produced(producer: AIOKafkaProducer, events: list[Raw]) -> float:
    """Seconds that raw keyed sends of these events take."""
    began = time.perf_counter()
    sends = [
        await producer.send(_SCRATCH.name, one.value, one.key, headers=list(one.headers)) for one in events
    ]
    await asyncio.gather(*sends)
    return time.perf_counter() - began


async def measure() -> list[Result]:
    """Who is affected, and a first release told to all, against COPY and raw sends of the same bytes."""
    with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as name:
        async with _running(Path(name)) as fanout:
            affected = await _who_is_affected(fanout.url)
            rounds = []
            for number in range(REPEATS):
                rounds.append(await _told_to_all(fanout, number))
                await fanout.forget()
            memory = psutil.Process(fanout.notifier.pid).memory_info().rss / 1e6
    floor_s = statistics.median(one.floor_s for one in rounds)
    name = f"one release to {PROJECTS:,} Projects"
    return [
        affected,
        repeated(name, [one.took_s for one in rounds], "s", floor_s),
        repeated(f"{name}, × its floor", [one.took_s / one.floor_s for one in rounds], "×"),
        *(
            repeated(f"CPU of {whose} for it", [one.cpu_s[whose] for one in rounds], "s")
            for whose in rounds[0].cpu_s
        ),
        Result("memory of the notifier after it", memory, "MB"),
    ]


@dataclass(frozen=True)
class _Round:
    """A Release told to all, and beside it what the same bytes cost alone."""

    took_s: float
    floor_s: float
    cpu_s: dict[str, float]


async def _told_to_all(fanout: Fanout, number: int) -> _Round:
    pids = {
        "the notifier": fanout.notifier.pid,
        "PostgreSQL": fanout.postgres.pid,
        "Kafka": fanout.kafka.pid,
    }
    before = {whose: cpu_s(pid) for whose, pid in pids.items()}
    took_s, events = await fanout.publish(f"1.{90 + number}.0", revision=number + 1)
    spent = {whose: cpu_s(pid) - before[whose] for whose, pid in pids.items()}
    assert {one.key for one in events} == {b"project-%d" % number for number in range(1, PROJECTS + 1)}
    floor_s = await _copied(fanout.url, events) + await _produced(fanout.producer, events)
    return _Round(took_s, floor_s, spent)
