"""Many messages to the broker at once, by partition and in their order."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from shared.messaging.client_arguments import client_arguments
from shared.messaging.embedded_fetches import sent_to
from shared.messaging.partitions import partition_of
from shared.messaging.portions import Pauses
from shared.settings import KafkaSettings
from shared.storage.messages import Outgoing

_STOP_WITHIN_S = 2.0


class Publisher:
    """A producer that takes a round of messages. A round ends before the next one begins."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer

    async def publish(self, messages: Iterable[Outgoing]) -> None:
        """Send them, each key's in their order. Raises what the driver raises unless all are acknowledged.

        After an exception any of them may have been sent: all are to be sent again, and every reader has an
        inbox.
        """
        counts: dict[str, int] = {}
        batches: dict[tuple[str, int], list[Any]] = {}
        pauses = Pauses()
        for topic, key, body, headers in messages:
            await pauses.look()
            if topic not in counts:
                counts[topic] = len(await self.producer.partitions_for(topic))
            at = (topic, partition_of(key, counts[topic]))
            builders = batches.setdefault(at, [])
            if not builders or not _added(builders[-1], key, body, headers):
                builders.append(self.producer.create_batch())
                if not _added(builders[-1], key, body, headers):
                    raise ValueError(f"a message of {len(body or b'')} bytes does not fit into a batch")
        pending = [
            await self.producer.send_batch(builder, topic, partition=partition)
            for (topic, partition), builders in batches.items()
            for builder in builders
        ]
        for outcome in await asyncio.gather(*pending, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        sent_to(counts)


@asynccontextmanager
async def publishing(settings: KafkaSettings) -> AsyncIterator[Publisher]:
    """A publisher that is connected, and given up at the end without waiting for a broker that is away."""
    producer = AIOKafkaProducer(
        **client_arguments(settings),
        acks="all",
        enable_idempotence=not settings.embedded,
        linger_ms=0,
        max_batch_size=128 * 1024,
        max_request_size=4 * 1024 * 1024,
        request_timeout_ms=30_000,
    )
    try:
        await producer.start()
        yield Publisher(producer)
    finally:
        await _give_up(producer)


def _added(builder: Any, key: bytes | None, body: bytes | None, headers: Any) -> bool:
    return builder.append(timestamp=None, key=key, value=body, headers=list(headers)) is not None


async def _give_up(producer: AIOKafkaProducer) -> None:
    """What was not acknowledged is in the outbox."""
    stopping = asyncio.ensure_future(producer.stop())
    done, _ = await asyncio.wait([stopping], timeout=_STOP_WITHIN_S)
    if done:
        stopping.result()
        return
    stopping.cancel()
    sender: Any = producer._sender
    await sender.close()
    await producer.client.close()
