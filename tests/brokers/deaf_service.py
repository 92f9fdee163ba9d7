"""A notifier that goes deaf as soon as it has its partitions, as aiokafka does after some rebalances.

Its partitions are paused: records wait at the broker, and none comes. Run as a program it is that service.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from services.processes import build, serve
from shared.messaging.consumer import Consumer
from tests.brokers.place import eventually


async def deafen(consumer: Consumer[Any]) -> None:
    """Returns once nothing comes to it any more, on any topic."""

    async def at_work() -> bool:
        return consumer._task is not None and all(
            one.consumer and one.consumer.assignment() for one in consumer._subscribers
        )

    await eventually(at_work, bool)
    for subscriber in consumer._subscribers:
        subscriber.consumer.pause(*subscriber.consumer.assignment())


async def main(port: int) -> None:
    service = build("notifier")
    serving = asyncio.create_task(serve([service], "127.0.0.1", port))
    await deafen(service.consumer)
    for subscriber in service.consumer._subscribers:
        await subscriber.consumer.seek_to_beginning()
    await serving


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(int(sys.argv[1])))
