"""Whether a consumer gets anywhere: aiokafka can come out of a rebalance deaf, and says nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from shared.messaging.client_arguments import client_arguments
from shared.settings import KafkaSettings

_ANSWER_WITHIN_S = 10.0


class Stuck(Exception):
    """Records wait at the broker and none has come for a while: whoever consumes must be made anew.

    All of it, not the consumer alone: what made it deaf may lie in anything that the process holds.
    """


class Progress:
    """Looks, while nothing comes, whether there is something that ought to have come."""

    def __init__(
        self, consumer: AIOKafkaConsumer, stuck_after_s: float, broker_answers: Callable[[], Awaitable[bool]]
    ) -> None:
        self._consumer = consumer
        self._stuck_after_s = stuck_after_s
        self._broker_answers = broker_answers
        self._deaf = 0
        """How often in a row it got no answer when others did."""
        self._behind_at: dict[TopicPartition, int] = {}
        """Where each partition that had more stood at the last look."""
        self._looked_at_s = time.monotonic()

    async def check(self) -> None:
        """Raises `Stuck` when a partition had more at two looks, and stood still between them.

        Once is no sign: a record that arrives at this moment is on its way.
        """
        if time.monotonic() - self._looked_at_s < self._stuck_after_s:
            return
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await self._look()
        except TimeoutError:
            self._behind_at = {}
            await self.unanswered()
        else:
            self.answered()
        self._looked_at_s = time.monotonic()

    async def unanswered(self) -> None:
        """This consumer's connection got no answer. Raises `Stuck` the second time that others get one.

        A broker that is away answers nobody: that is no reason to give up a place in the group. Once is no
        sign: it may have come back at this moment.
        """
        self._deaf = self._deaf + 1 if await self._broker_answers() else 0
        if self._deaf > 1:
            raise Stuck("the broker answers others, and not this consumer")

    def answered(self) -> None:
        """This consumer's connection is alive."""
        self._deaf = 0

    async def _look(self) -> None:
        partitions = list(self._consumer.assignment())
        ends = await self._consumer.end_offsets(partitions) if partitions else {}
        behind_at: dict[TopicPartition, int] = {}
        for partition, end in ends.items():
            position = await self._consumer.position(partition)
            if position < end:
                behind_at[partition] = position
        for partition, position in behind_at.items():
            if self._behind_at.get(partition) == position:
                raise Stuck(
                    f"{partition.topic}/{partition.partition} stands at {position} of {ends[partition]}"
                )
        self._behind_at = behind_at


async def broker_answers(settings: KafkaSettings) -> bool:
    """Whether it does, over a new connection."""
    client = AIOKafkaClient(**client_arguments(settings))
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            await client.bootstrap()
    except (TimeoutError, KafkaError, OSError):
        return False
    finally:
        await client.close()
    return True
