"""The floor: what eight durable stages and one record cost PostgreSQL alone, with nothing around them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

COMMITS_PER_RUN = 9


async def commits_per_second(url: str, runs: int, in_flight: int = 32) -> float:
    """Runs per second when a run is nothing but nine single-row commits, `in_flight` runs at a time."""
    pool = await asyncpg.create_pool(url, min_size=in_flight, max_size=in_flight)
    try:
        await pool.execute("drop table if exists floor")
        await pool.execute(
            "create table floor (run int primary key, stage int not null, state text not null)"
        )
        todo = iter(range(runs))

        async def work() -> None:
            for run in todo:
                async with pool.acquire() as connection:
                    await connection.execute("insert into floor values ($1, 0, $2)", run, "x" * 200)
                    for stage in range(1, COMMITS_PER_RUN):
                        await connection.execute("update floor set stage = $2 where run = $1", run, stage)

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(in_flight)))
        return runs / (time.perf_counter() - began)
    finally:
        await pool.close()


HOPS_PER_RUN = 26
"""What a lone run waits for, one after another: the request; eight commands and their eight answers; the
plan, the candidate and the end, each until a person reads of it, and the two answers that a person gives;
the map's hold and its record, and an answer to each."""

COMMITS_PER_LONE_RUN = 31
"""On the same way: the planner's thirteen decisions, two of a worker for each stage, two of the registry."""


@asynccontextmanager
async def lone_runs(url: str, bootstrap_servers: str) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """Gives what makes a lone run's raw hops and commits, one after another, and says in how many seconds."""
    topic = TopicPartition("floor", 0)
    settings: dict[str, Any] = {"bootstrap_servers": bootstrap_servers}
    admin = AIOKafkaAdminClient(**settings)
    await admin.start()
    await admin.create_topics([NewTopic(topic.topic, 1, 1)])
    await admin.close()
    consumer = AIOKafkaConsumer(**settings, auto_offset_reset="earliest", enable_auto_commit=False)
    async with AIOKafkaProducer(**settings, acks="all", enable_idempotence=True) as producer, consumer:
        consumer.assign([topic])
        connection = await asyncpg.connect(url)
        await connection.execute(
            "create table lone (number bigint generated always as identity primary key, state text not null)"
        )

        async def run() -> float:
            began = time.perf_counter()
            for commit in range(COMMITS_PER_LONE_RUN):
                await connection.execute("insert into lone (state) values ($1)", "x" * 200)
                if commit < HOPS_PER_RUN:
                    await producer.send(topic.topic, b"x" * 1000, partition=0)
                    await consumer.getone()
            return time.perf_counter() - began

        yield run
        await connection.close()
