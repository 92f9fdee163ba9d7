"""The floor: what eight durable stages and one record cost PostgreSQL alone, with nothing around them."""

import asyncio
import time

import asyncpg

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
